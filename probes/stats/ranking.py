r"""AUROC: how well does a score rank the rows where something happens above those where it does not.

:math:`\mathrm{AUROC} = P(s^+ > s^-) + P(s^+ = s^-)/2` for a positive and a negative row drawn at random, by weight
(Mann and Whitney 1947; Hanley and McNeil 1982).  0.5 is chance.  Intervals resample whole problems, since rows of one
text lean on each other.

An AUROC says nothing about calibration, nor about how many of the rows are positive.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, Shaped

from probes.stats.bootstrap import bootstrap_weights, percentile_interval
from probes.stats.intervals import Estimate
from probes.stats.problems import Column, as_floats, problem_codes

_CHUNK = 4_000_000
"""Weights (draws x rows) held at a time: bounds memory to some tens of megabytes."""
_FEW = 1500
"""Up to this many problems the table of wins between problems is small, and cheaper than passing over the rows."""


def auroc(scores: Column, labels: Column, *, weights: Column | None = None) -> float:
    """Area under the ROC curve, with ties counted half and optional row weights.

    Rows whose score or label is missing are left out; NaN if only one class is left.

    Raises:
        ValueError: on unequal lengths, labels other than 0 and 1, or negative weights.
    """
    ranked = _Ranked.of(scores, labels)
    rows = np.ones(len(scores)) if weights is None else as_floats(weights)
    if len(rows) != len(scores):
        raise ValueError(f"{len(rows)} weights for {len(scores)} scores; give one weight a row")
    if np.any(rows < 0):
        raise ValueError("a weight is negative; weights count how often a row stands")
    return float(ranked.area(rows[None, ranked.kept])[0])


def auroc_interval(
    scores: Column,
    labels: Column,
    problems: Column | None = None,
    *,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    label: str = "bootstrap",
) -> Estimate:
    """AUROC with a bootstrap interval over problems; NaN where only one class is present.

    Does not show the spread over training runs of whatever made the scores: they are taken as given.
    """
    return _interval([_Ranked.of(scores, labels)], problems, n_boot=n_boot, level=level, seed=seed, label=label)


def auroc_difference(
    first: Column,
    second: Column,
    labels: Column,
    problems: Column | None = None,
    *,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    label: str = "bootstrap",
) -> Estimate:
    """AUROC of ``second`` minus that of ``first`` on the same rows, with a paired bootstrap interval over problems."""
    first, second = as_floats(first), as_floats(second)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores against {len(second)}; both must score the same rows")
    both = ~np.isnan(first) & ~np.isnan(second)
    sides = [_Ranked.of(np.where(both, side, np.nan), labels) for side in (first, second)]
    return _interval(sides, problems, n_boot=n_boot, level=level, seed=seed, label=label)


class _Ranked:
    """Rows sorted by score once, so that the area under any weighting is one pass of sums."""

    def __init__(
        self, kept: Int[np.ndarray, "kept"], positive: Float[np.ndarray, "kept"], starts: Int[np.ndarray, "tie"], n: int
    ) -> None:
        self.kept, self.positive, self.starts, self.n_rows = kept, positive, starts, n

    @classmethod
    def of(cls, scores: Column, labels: Column) -> _Ranked:
        s, y = as_floats(scores), as_floats(labels)
        if len(s) != len(y):
            raise ValueError(f"{len(s)} scores for {len(y)} labels; give one label a score")
        kept = np.flatnonzero(~np.isnan(s) & ~np.isnan(y))
        if not np.isin(y[kept], (0.0, 1.0)).all():
            raise ValueError("labels must be 0 or 1 (or missing); an AUROC compares two classes")
        kept = kept[np.argsort(s[kept], kind="stable")]
        starts = np.flatnonzero(np.r_[True, np.diff(s[kept]) > 0]) if len(kept) else np.zeros(0, dtype=np.int64)
        return cls(kept, y[kept], starts, len(s))

    def area(self, weights: Shaped[np.ndarray, "draw kept"]) -> Float[np.ndarray, "draw"]:
        if len(self.kept) == 0:
            return np.full(len(weights), np.nan)
        # Rows of equal score fall into one bin first: a positive beats all bins below and half of its own.
        above = np.add.reduceat(weights * self.positive, self.starts, axis=1).astype(float)
        below = np.add.reduceat(weights * (1 - self.positive), self.starts, axis=1).astype(float)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _interval(
    sides: list[_Ranked], problems: Column | None, *, n_boot: int, level: float, seed: int, label: str
) -> Estimate:
    # Problems all of whose rows were left out are no part of the resampling.
    present, codes = np.unique(problem_codes(problems, sides[0].n_rows)[1][sides[0].kept], return_inverse=True)
    n = len(present)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, "no row has a score and a label", level)
    position = np.full(sides[0].n_rows, -1)
    position[sides[0].kept] = codes
    value, draws = 0.0, np.zeros(n_boot)
    counts = bootstrap_weights(n, n_boot=n_boot, seed=seed, label=label)
    for sign, side in zip((1.0, -1.0), reversed(sides)):
        value += sign * float(side.area(np.ones((1, len(side.kept))))[0])
        draws += sign * _areas(side, position[side.kept], counts)
    if math.isnan(value):
        return Estimate(value, math.nan, math.nan, n, "undefined: only one class is present", level)
    interval = percentile_interval(draws, n=n, level=level)
    return Estimate(value, interval.low, interval.high, n, f"bootstrap over problems, {n_boot} draws", level)


def _areas(
    side: _Ranked, codes: Int[np.ndarray, "kept"], counts: Int[np.ndarray, "draw problem"]
) -> Float[np.ndarray, "draw"]:
    """The area under each draw of problems, over problems where they are few and over rows where they are many."""
    if counts.shape[1] <= _FEW:
        return _areas_by_problem(side, codes, counts)
    step = max(1, _CHUNK // len(side.kept))
    return np.concatenate([side.area(counts[at : at + step][:, codes]) for at in range(0, len(counts), step)])


def _areas_by_problem(
    side: _Ranked, codes: Int[np.ndarray, "kept"], counts: Int[np.ndarray, "draw problem"]
) -> Float[np.ndarray, "draw"]:
    """The same areas from a table of wins between problems: its quadratic form in the counts, not a pass over rows."""
    n = counts.shape[1]
    tie = np.repeat(np.arange(len(side.starts)), np.diff(np.r_[side.starts, len(side.kept)]))
    positive = side.positive == 1.0
    ranks, owners = tie[positive], codes[positive]
    wins = np.zeros((n, n))
    for problem in range(n):
        beaten = tie[~positive & (codes == problem)]
        if len(beaten):
            won = np.searchsorted(beaten, ranks, "left") + np.searchsorted(beaten, ranks, "right")
            wins[:, problem] = np.bincount(owners, weights=won / 2, minlength=n)
    drawn = counts.astype(float)
    pairs = (drawn @ np.bincount(owners, minlength=n)) * (drawn @ np.bincount(codes[~positive], minlength=n))
    won = ((drawn @ wins) * drawn).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
