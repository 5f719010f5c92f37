r"""How early is it settled?  What a probe says of the next strategy k tokens before the last one read at the choice.

A strategy's first token is chosen from the activations at position ``p`` (:func:`probes.latent.spans.decisions`); k
tokens ahead means position ``p - k``, for k = 0, 1, … 16.  At each k a logistic probe is fitted anew, and scored on
other problems, beside the same probe on what stands there: the last tokens up to ``p - k`` and the place.  A row
counts at k only if its k tokens exist: inside the completion, so that ``p - k`` is a generated token
(``within="completion"``), or anywhere in the text (``within="text"``, for choices that are made at the prompt's end).
Folds belong to problems and are the same at every k.  Since rows drop out as k grows, ``now`` gives the probe at k = 0
on the rows that are left.

Assumes exchangeable problems; strength and site are given, not chosen.
What it does not show: how early the model itself settles it; that a choice comes exactly k tokens later is given away
by the way rows are picked; and what stands before may already say what comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int

from hooks.positions import Positions
from hooks.rollouts import Rollouts
from hooks.sites import Site
from probes.latent.controls import last_tokens, position_features, token_features
from probes.latent.crossfit import crossfit
from probes.latent.labels import Labels, label_table
from probes.latent.matrix import SiteMatrix, whole
from probes.latent.ranking import Wins, assess, assess_difference
from probes.latent.splits import grouped_folds
from probes.results import Result, manifest
from probes.stats import benjamini_hochberg
from probes.stats.problems import problem_codes

Within = Literal["completion", "text"]
REACH = tuple(range(17))
"""Tokens ahead."""
FEWEST = 10
"""Rows of either class below which nothing is fitted."""


@dataclass(frozen=True, repr=False, eq=False)
class Ahead(Result):
    """What is read k tokens ahead."""

    frame: pd.DataFrame
    """A row a label and k: ``site``, ``within``, ``rows``, ``positive``, ``problems``; ``auroc`` with interval, p and q
    (over all rows of the table); ``baseline`` (last tokens and place, at the same k), ``over_baseline`` with interval
    and p; ``now``, the AUROC at k = 0 on the same rows."""

    def headline(self) -> str:
        """How far ahead each label is read beyond its baseline."""
        told = self.frame[(self.frame["q"] < 0.05) & (self.frame["over_baseline_low"] > 0)]
        far = told.groupby("label")["k"].max()
        words = ", ".join(f"{label} {k}" for label, k in far.items()) or "none"
        return f"Ahead: most tokens ahead at which a label is read beyond the last tokens: {words}"

    def plot(self) -> go.Figure:
        """AUROC by k, a line a label, with intervals."""
        figure = go.Figure()
        for label, part in self.frame.groupby("label", sort=True):
            error = {"array": part["high"] - part["auroc"], "arrayminus": part["auroc"] - part["low"]}
            figure.add_scatter(x=part["k"], y=part["auroc"], error_y=error, name=str(label), mode="lines+markers")
        return figure.update_layout(xaxis_title="tokens ahead", yaxis_title="AUROC")


def places_before(rollouts: Rollouts, decisions: pd.DataFrame, *, reach: int = REACH[-1]) -> Positions:
    """The places of each decision and up to ``reach`` tokens before it, for a capture over the same rollouts.

    ``decisions`` has ``problem``, ``sample`` and ``position``.
    """
    order = {key: at for at, key in enumerate(zip(rollouts.frame["problem"], rollouts.frame["sample"], strict=True))}
    chosen = [np.zeros(len(ids), dtype=bool) for ids, _ in rollouts.sequences()]
    for problem, sample, position in zip(decisions["problem"], decisions["sample"], decisions["position"], strict=True):
        chosen[order[problem, sample]][max(0, int(position) - reach) : int(position) + 1] = True
    return Positions.mask(chosen)


def ahead(
    acts: Mapping[str, Any],
    decisions: pd.DataFrame,
    labels: Labels,
    *,
    tokens: Rollouts,
    site: str | Site | Mapping[str, str],
    within: Within | Mapping[str, Within] = "completion",
    ks: Sequence[int] = REACH,
    C: float = 0.1,
    folds: int = 5,
    n_boot: int = 1000,
    seed: int = 0,
) -> Ahead:
    """Probe every label at every distance before its decision.

    Args:
        acts: activations at the decisions and before them (see :func:`places_before`), with their table ``rows``.
        decisions: a row a decision: ``problem``, ``sample``, ``position`` (absolute).
        labels: one value a decision; see :data:`probes.latent.labels.Labels`.
        tokens: the texts the decisions are in.
        site: one for all labels, or one for each.
        within: where the k tokens must lie; one for all labels, or one for each.
        ks: distances; 0 is the decision itself.
        C: inverse strength, on standardised columns.
        folds: parts of the problems, the same at every distance.
        n_boot: bootstrap draws over problems.
        seed: of folds and draws.

    Returns:
        the table; at a distance with fewer than ten rows of either class everything is NaN.

    Raises:
        ValueError: for a decision whose own place was not captured, or labels that do not fit the decisions.

    Does not show when the model makes up its mind.
    """
    names, values = label_table(labels, len(decisions))
    codes = problem_codes(decisions["problem"], len(decisions))[1]
    setup = _Setup(values, codes, grouped_folds(decisions["problem"], folds=folds, seed=seed), C, n_boot, seed)
    places = _Places(acts, decisions)
    sites = {name: str(site) if isinstance(site, (str, Site)) else str(site[name]) for name in names}
    rules = {name: within if isinstance(within, str) else within[name] for name in names}
    nows: dict[str, Float[np.ndarray, "row"]] = {}
    table = []
    for k in sorted({0, *ks}):
        at, generated = places.before(k)
        told = {name: at >= 0 if k == 0 or rules[name] == "text" else (at >= 0) & generated for name in names}
        mask = np.stack([np.where(told[name], values[one], np.nan) for one, name in enumerate(names)])
        used = np.flatnonzero((at >= 0) & ~np.isnan(mask).all(0))
        own = acts.rows.iloc[at[used]]  # type: ignore[attr-defined]
        beside = np.column_stack([token_features(last_tokens(tokens, own)), *position_features(own).values()])
        plain = setup.fit(beside, mask, used)
        for one_site in sorted(set(sites.values())):
            members = [one for one, name in enumerate(names) if sites[name] == one_site]
            rows = whole(acts[one_site])[torch.from_numpy(at[used])].float().numpy()
            read = setup.fit(rows, mask[members], used)
            for scores, one in zip(read, members, strict=True):
                nows.setdefault(names[one], scores)
                if k in ks:
                    line = setup.line(scores, plain[one], nows[names[one]], mask[one])
                    table.append({"label": names[one], "k": k, "site": one_site, "within": rules[names[one]]} | line)
    frame = pd.DataFrame(table).sort_values(["label", "k"], kind="stable").reset_index(drop=True)
    frame["q"] = np.asarray(benjamini_hochberg(frame["p"]))
    made = manifest(what="ahead", ks=[int(k) for k in ks], C=C, folds=folds, n_boot=n_boot, seed=seed)
    return Ahead(frame, manifest=made)


class _Places:
    """Where the activations of each decision, and of the tokens before it, stand among the rows."""

    def __init__(self, acts: Mapping[str, Any], decisions: pd.DataFrame) -> None:
        rows: pd.DataFrame = acts.rows  # type: ignore[attr-defined]
        keys = zip(rows["problem"].astype(str), rows["sample"], rows["pos"], strict=True)
        self._row = {key: at for at, key in enumerate(keys)}
        self._generated = rows["index"].to_numpy() >= 0
        self._keys = list(
            zip(decisions["problem"].astype(str), decisions["sample"], decisions["position"], strict=True)
        )
        missing = [key for key in self._keys if key not in self._row]
        if missing:
            raise ValueError(
                f"{len(missing)} decisions were not captured, first {missing[0]}; capture at places_before(...)"
            )

    def before(self, k: int) -> tuple[Int[np.ndarray, "row"], np.ndarray]:
        """The row k tokens before each decision, -1 where there is none, and whether a generated token stands there."""
        at = np.array([self._row.get((problem, sample, pos - k), -1) for problem, sample, pos in self._keys])
        return at, (at >= 0) & self._generated[at]


@dataclass(frozen=True, eq=False)
class _Setup:
    """What stays the same at every distance."""

    values: Float[np.ndarray, "label row"]
    problems: Int[np.ndarray, "row"]
    parts: Int[np.ndarray, "row"]
    C: float
    n_boot: int
    seed: int

    def fit(self, rows: np.ndarray, values: np.ndarray, used: np.ndarray) -> Float[np.ndarray, "label row"]:
        """Held-out scores of the decisions in ``used``, NaN elsewhere and where a class is too small."""
        out = np.full(values.shape, np.nan)
        counts = np.stack([(values == 1).sum(1), (values == 0).sum(1)])
        enough = np.flatnonzero(counts.min(0) >= FEWEST)
        if len(enough) and rows.shape[1]:
            some = values[np.ix_(enough, used)]
            fitted = crossfit(SiteMatrix.of(rows), some, self.parts[used], C=np.array([self.C]), inner=0)
            out[np.ix_(enough, used)] = fitted.scores
        return out

    def line(self, scores: np.ndarray, plain: np.ndarray, now: np.ndarray, label: np.ndarray) -> dict[str, Any]:
        """One label at one distance."""
        known = ~np.isnan(label)
        counts = {"rows": int(known.sum()), "positive": int((label == 1).sum())}
        counts["problems"] = len(np.unique(self.problems[known]))
        wins, base, first = (Wins.of(one, label, self.problems, self.parts) for one in (scores, plain, now))
        settings: dict[str, Any] = {"n_boot": self.n_boot, "seed": self.seed, "cross_fitted": True}
        found, lead = assess(wins, **settings), assess_difference(base, wins, **settings)
        return counts | {
            "auroc": found.estimate.value, "low": found.estimate.low, "high": found.estimate.high, "p": found.p,
            "baseline": base.value, "over_baseline": lead.estimate.value,
            "over_baseline_low": lead.estimate.low, "over_baseline_high": lead.estimate.high,
            "over_baseline_p": lead.p, "now": first.value if not math.isnan(wins.value) else math.nan,
        }  # fmt: skip
