"""From labelled spans to what a probe is asked: which rows, at which positions, with which labels.

A decision is a span's start; it is read at the token before it, the last one a model has seen when it chooses. The
first decision of a text and those inside it are different questions, because what can be chosen differs, and a probe
that only knew where it stands would look good on both together.

What this does not show: that the choice was made at that token; it may have been settled earlier.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from hooks.rollouts import Rollouts
from hooks.sites import Positions
from probes.latent.spans import KEY, OTHER, Spans, decisions

FEWEST = 30
"""Decisions for and against a strategy below which no probe is fitted."""


def decision_rows(texts: Rollouts, spans: Spans) -> pd.DataFrame:
    """The decisions in some texts in the order in which a capture reads them; ``row`` counts the texts.

    Args:
        texts: what is read; spans of other texts are left out.
        spans: labelled spans, see :func:`probes.latent.annotate`.

    Returns:
        the table of :func:`probes.latent.decisions` with a column ``row``.

    Raises:
        ValueError: a span that reaches beyond its text.

    It does not show that a choice was made where its span starts.
    """
    order = {key: at for at, key in enumerate(_keys(texts.frame))}
    keys = _keys(spans.frame)
    found = decisions(replace(spans, frame=spans.frame[[key in order for key in keys]]), texts)
    row = [order[key] for key in _keys(found)]
    return found.assign(row=row).sort_values(["row", "position"], kind="stable").reset_index(drop=True)


def _keys(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(zip(*(frame[name] for name in KEY), strict=True))


def decision_mask(texts: Rollouts, found: pd.DataFrame) -> Positions:
    """The decisions of :func:`decision_rows` as positions of a capture: one activation a decision, in its order."""
    chosen = [[False] * len(ids) for ids, _ in texts.sequences()]
    for row, position in zip(found["row"], found["position"], strict=True):
        chosen[row][position] = True
    return Positions.mask(chosen)


def decision_labels(found: pd.DataFrame, *, fewest: int = FEWEST) -> pd.DataFrame:
    """A column for each strategy and place that is common enough: 1 chosen, 0 not chosen, missing elsewhere.

    Args:
        found: the table of :func:`decision_rows`.
        fewest: decisions for and against a strategy below which it gets no column.

    It does not show that a strategy was the only one that could have been chosen.
    """
    columns = {}
    for place in ("start", "inner"):
        here = found["place"] == place
        for strategy in sorted(set(found.loc[here, "strategy"]) - {OTHER}):
            chosen = (found["strategy"] == strategy) & here
            if min(chosen.sum(), here.sum() - chosen.sum()) >= fewest:
                columns[f"{strategy} ({place})"] = chosen.astype(float).where(here)
    return pd.DataFrame(columns, index=found.index)
