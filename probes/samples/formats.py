r"""Does RL collapse a model onto one format of its pretraining?  Formats over checkpoints.

Each text is put into one format by a classifier (:mod:`probes.samples.formats_of_texts`, or any function of a text). At
each checkpoint, over the problems that all checkpoints have,

.. math:: p_f = \mathrm{mean}_{problems}\,\mathrm{mean}_{samples}\,1[\text{format} = f], \quad
          \mathrm{acc}_f = \frac{\mathrm{mean}\,1[f,\ \text{correct}]}{\mathrm{mean}\,1[f,\ \text{graded}]}, \quad
          H = -\sum_f p_f \ln p_f

and the step of collapse is the first at which the largest share is 0.9 or more. The bar is ours; the question and the
metrics are those of arXiv 2504.07912. The winner is the largest format of the last checkpoint; its *lead* is its
accuracy at the first checkpoint minus the best that any other format had there.

Intervals resample problems, the same draw for all checkpoints. A draw that never collapses has an infinite step. The
plug-in entropy is low by about (formats - 1) / (2 texts). A lead over the best of several others is a little low.

What it does not show: why a format won, nor what the format is worth to the model that did not choose it: accuracies of
formats are on the texts that chose them. One run is one run, however many problems.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.samples.formats_counted import Counted, Drawn
from probes.samples.formats_of_texts import CLASSIFIERS, Classifier
from probes.stats import GAP, SHARE, Estimate, bootstrap_weights, percentile_interval
from probes.stats.contrast import Measured, beside

COLLAPSED = 0.9
"""Share from which on one format is called dominant."""
FEWEST = 3
"""Checkpoints below which shares are compared, but no collapse is looked for."""
AT_START = 0.02
"""Share of the first checkpoint's texts below which a format has no accuracy there worth comparing."""
METHOD = "paired bootstrap over problems"


@dataclass(frozen=True, repr=False, eq=False)
class Formats(Result):
    """Formats of the texts of several checkpoints of one run."""

    frame: pd.DataFrame
    """A row a step and format: ``step``, ``format``, ``share``, ``share_low``, ``share_high``, ``accuracy`` (of its
    texts; missing where it has none), ``accuracy_low``, ``accuracy_high``, ``texts``."""
    steps: pd.DataFrame
    """A row a step: ``step``, ``entropy`` (nats), ``dominant`` (name), ``dominant_share``, ``accuracy``, each number
    with ``_low`` and ``_high``."""
    collapse: Estimate | None
    """The first step whose dominant share is at least the bar; None where there is none, or fewer than three steps."""
    note: str
    """What is known about the collapse in words."""
    winner: str
    """The largest format of the last checkpoint."""
    best_at_start: str | None
    """The format with the highest accuracy at the first checkpoint; None where nothing was graded."""
    lead: Estimate
    """Accuracy of the winner at the start minus the best of the other formats there."""
    winner_share: Estimate
    """Share of the winner at the last checkpoint."""
    rise: Estimate
    """That share minus the winner's share at the first checkpoint, paired."""
    n_problems: int
    """Problems that all checkpoints have."""
    contrasts: pd.DataFrame | None = None
    """The winner's share and rise in each contrast's run and ours minus it, see
    :data:`probes.stats.contrast.COLUMNS`; None where no contrast was given."""

    def headline(self) -> str:
        """Winner, its share and the collapse in a sentence."""
        best = (
            ""
            if self.best_at_start is None
            else f"; {'it was' if self.best_at_start == self.winner else f'{self.best_at_start} was'} the best at first"
        )
        return f"{self.note}; {self.winner} ends at {self.winner_share:.0%} (rise {self.rise:+.0%}){best}"

    def plot(self) -> go.Figure:
        """Share of each format over the steps, with its interval."""
        figure = go.Figure()
        for name in dict.fromkeys(self.frame["format"]):
            rows = self.frame[self.frame["format"] == name]
            bars = {
                "type": "data", "symmetric": False,
                "array": list(rows["share_high"] - rows["share"]),
                "arrayminus": list(rows["share"] - rows["share_low"]),
            }  # fmt: skip
            figure.add_trace(
                go.Scatter(x=list(rows["step"]), y=list(rows["share"]), error_y=bars, mode="lines+markers", name=name)
            )
        if self.collapse is not None:
            figure.add_vline(x=self.collapse.value, line_dash="dot", annotation_text="one format dominates")
        return figure.update_layout(
            template="plotly_white", xaxis={"title": "step"}, yaxis={"title": "share of texts", "range": [0, 1.02]},
            title=self.note,
        )  # fmt: skip


def formats(
    series: Mapping[int | float, Rollouts],
    *,
    classifier: str | Classifier = "general",
    collapsed: int | float = COLLAPSED,
    contrast: Mapping[str, Mapping[int | float, Rollouts]] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Formats:
    """Share, accuracy and entropy of formats along a run, and when one of them took over.

    Args:
        series: rollouts of the same problems by training step, the base at the smallest step (0).
        classifier: ``general``, ``echo``, or any function from a text to the name of its format (an organism's
            strategies, say; see :func:`probes.samples.formats_of_texts.opening`).
        collapsed: share from which on one format counts as dominant.
        contrast: series of other runs from the same base by name ("random reward", "SFT"), read in the same way.
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: fewer than two checkpoints, no problem that all of them have, or an unknown classifier.

    It does not show why a format won.
    """
    if len(series) < 2:
        raise ValueError(f"Formats over training need the base and at least one checkpoint, not {len(series)} in all.")
    classify = _classifier(classifier)
    table = Counted.of(series, classify)
    weights = bootstrap_weights(len(table.problems), n_boot=n_boot, seed=seed) / len(table.problems)
    whole = np.full((1, len(table.problems)), 1 / len(table.problems))
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    found = _read(
        table, Drawn.of(table, whole), Drawn.of(table, weights), collapsed=collapsed, level=level,
        record=manifest(
            measure="samples.formats", steps=table.steps, collapsed=collapsed, **options,
            classifier=classifier if isinstance(classifier, str) else getattr(classifier, "__name__", "own"),
        ),
    )  # fmt: skip
    if not contrast:
        return found
    others = {name: _figures(Counted.of(run, classify), found.winner) for name, run in contrast.items()}
    return replace(found, contrasts=beside(_figures(table, found.winner), others, **options))


def _classifier(classifier: str | Classifier) -> Classifier:
    if not isinstance(classifier, str):
        return classifier
    if classifier not in CLASSIFIERS:
        raise ValueError(f"There is no classifier {classifier!r}; there are {', '.join(CLASSIFIERS)}.")
    return CLASSIFIERS[classifier]


def _read(
    table: Counted, seen: Drawn, drawn: Drawn, *, collapsed: float, level: float, record: dict[str, Any]
) -> Formats:
    n = len(table.problems)

    def estimate(value: float, draws: np.ndarray, within: tuple[float, float] | None = None) -> Estimate:
        inside = percentile_interval(draws, n=n, level=level, within=within)
        return Estimate(float(value), inside.low, inside.high, n, METHOD, level)

    winner = int(seen.shares[0, -1].argmax())
    usual = [place for place in range(len(table.formats)) if seen.shares[0, 0, place] >= AT_START]
    first = np.where(np.isin(np.arange(len(table.formats)), usual), seen.accuracies[0, 0], np.nan)
    others = [place for place in usual if place != winner]
    step = float(seen.collapse(table.steps, collapsed)[0])
    found = estimate(step, drawn.collapse(table.steps, collapsed))
    start = winner in usual
    lead = (
        estimate(seen.lead(winner, others)[0], drawn.lead(winner, others))
        if start and others
        else Estimate(math.nan, math.nan, math.nan, n, "the winner has no rival at the start, or was not there", level)
    )
    return Formats(
        frame=_by_format(table, seen, drawn, estimate),
        steps=_by_step(table, seen, drawn, estimate),
        collapse=found if math.isfinite(step) and len(table.steps) >= FEWEST else None,
        note=_words(found, table, seen, collapsed),
        winner=table.formats[winner],
        best_at_start=None if np.isnan(first).all() else table.formats[int(np.nanargmax(first))],
        lead=lead,
        winner_share=estimate(seen.shares[0, -1, winner], drawn.shares[:, -1, winner], SHARE),
        rise=estimate(
            seen.shares[0, -1, winner] - seen.shares[0, 0, winner],
            drawn.shares[:, -1, winner] - drawn.shares[:, 0, winner],
            GAP,
        ),
        n_problems=n,
        manifest=record,
    )


def _figures(table: Counted, name: str) -> dict[str, Measured]:
    """Share at the end and rise of one format; a run that never writes it has a share of zero."""
    shares = np.zeros((len(table.problems), 2))
    if name in table.formats:
        shares = table.shares[[0, -1], :, table.formats.index(name)].T
    last = Measured.of_means(table.problems, shares[:, 1:], within=SHARE)
    return {
        f"share of {name}": last,
        f"rise of {name}": Measured.of_means(table.problems, shares, lambda first, end: end - first, within=GAP),
    }


def _words(found: Estimate, table: Counted, seen: Drawn, collapsed: float) -> str:
    if len(table.steps) < FEWEST:
        return f"the step of collapse needs >= {FEWEST} checkpoints"
    if math.isinf(found.value):
        maybe = f" (the interval begins at step {found.low:g})" if math.isfinite(found.low) else ""
        return f"no collapse: no format reaches {collapsed:.0%} by step {table.steps[-1]}{maybe}"
    name = table.formats[int(seen.shares[0, table.steps.index(found.value)].argmax())]
    if found.value == table.steps[0]:
        return f"{name} has {collapsed:.0%} or more from the start, so there is nothing left to collapse"
    return f"{name} reaches {collapsed:.0%} at step {found:.0f}"


def _row(name: str, value: Estimate) -> dict[str, float]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


def _by_format(table: Counted, seen: Drawn, drawn: Drawn, estimate: Any) -> pd.DataFrame:
    rows = []
    for at, step in enumerate(table.steps):
        for place, name in enumerate(table.formats):
            share = estimate(seen.shares[0, at, place], drawn.shares[:, at, place], SHARE)
            accuracy = estimate(seen.accuracies[0, at, place], drawn.accuracies[:, at, place])
            rows.append(
                {"step": step, "format": name, **_row("share", share), **_row("accuracy", accuracy),
                 "texts": int(table.texts[at, place])}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _by_step(table: Counted, seen: Drawn, drawn: Drawn, estimate: Any) -> pd.DataFrame:
    rows = []
    for at, step in enumerate(table.steps):
        largest = int(seen.shares[0, at].argmax())
        entropy = estimate(seen.entropy[0, at], drawn.entropy[:, at], (0.0, math.log(len(table.formats))))
        dominant = estimate(seen.shares[0, at, largest], drawn.shares[:, at].max(axis=1), SHARE)
        accuracy = estimate(seen.accuracy[0, at], drawn.accuracy[:, at], SHARE)
        rows.append(
            {"step": step, **_row("entropy", entropy), "dominant": table.formats[largest],
             **_row("dominant_share", dominant), **_row("accuracy", accuracy)}
        )  # fmt: skip
    return pd.DataFrame(rows)
