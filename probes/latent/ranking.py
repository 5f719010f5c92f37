r"""How well do out-of-fold scores rank rows, and could that be chance?

Scores of different folds come from different fits and are not comparable, and pooling them biases a null below one
half.  So a pair of rows counts only if both lie in one fold:

.. math:: \mathrm{AUROC} = \sum_f W_f \Big/ \sum_f n^+_f n^-_f ,

with :math:`W_f` the wins (ties half) of fold ``f``.  Wins are kept as a table between problems, so that a bootstrap
over problems is a quadratic form, and a difference of two scores on the same rows is a difference of two tables.  The
p-value is a t-test on the problems' influence (the clustered variance of Obuchowski 1997, Biometrics 53).

That variance takes the fits as given.  Of *cross-fitted* scores it is too small: under the null and to first order the
wins of fold ``f`` are a sum over the other folds ``g`` of a form :math:`B_{fg}` in the labels of both, and fold ``g``
has the same :math:`B_{fg}` (who trains whom does not matter).  So every :math:`B_{fg}` enters twice, whatever the
number of folds, and the variance under the null is twice the one with fits as given.  ``cross_fitted=True`` doubles it
for the p-value (Bengio and Grandvalet 2004, JMLR 5, on why folds cannot be treated as independent).  The test is then
a bit conservative where the fit is far from linear in its labels.

Assumes exchangeable problems; intervals take the fits as given.  It shows that something can be read, not what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtr
from scipy.stats import rankdata

from probes.stats import Estimate, bootstrap_weights, percentile_interval


@dataclass(frozen=True, eq=False)
class Wins:
    """Wins of positive over negative rows within folds, between problems.

    Tables are square and kept fold by fold, since pairs across folds do not count.
    """

    tables: tuple[Float[np.ndarray, "_ _"], ...]
    """For each fold, wins of the positives of a problem (rows) over the negatives of another (columns)."""
    positive: tuple[Float[np.ndarray, "_"], ...]
    """For each fold, positive rows of each problem."""
    negative: tuple[Float[np.ndarray, "_"], ...]
    """For each fold, negative rows of each problem."""
    members: tuple[Int[np.ndarray, "_"], ...]
    """For each fold, the numbers of its problems."""
    n_problems: int
    """Problems in all."""

    @classmethod
    def of(
        cls,
        scores: Float[np.ndarray, "row"],
        labels: Float[np.ndarray, "row"],
        problems: Int[np.ndarray, "row"],
        folds: Int[np.ndarray, "row"],
    ) -> Wins:
        """Count wins; rows whose score or label is NaN are left out, ``problems`` are numbers from 0."""
        kept = ~np.isnan(scores) & ~np.isnan(labels)
        rows = [np.flatnonzero(kept & (folds == one)) for one in np.unique(folds)]
        parts = [_fold_wins(scores[own], labels[own], problems[own]) for own in rows]
        tables, positive, negative, members = zip(*parts, strict=True) if parts else ((), (), (), ())
        return cls(tables, positive, negative, members, int(problems.max(initial=-1)) + 1)

    def _folds(self) -> Iterator[tuple[np.ndarray, ...]]:
        yield from zip(self.tables, self.positive, self.negative, self.members, strict=True)

    @property
    def pairs(self) -> float:
        """Pairs that are compared."""
        return float(sum(p.sum() * n.sum() for p, n in zip(self.positive, self.negative, strict=True)))

    @property
    def value(self) -> float:
        """The AUROC within folds; NaN if no fold has both classes."""
        return float(sum(table.sum() for table in self.tables)) / self.pairs if self.pairs else math.nan

    def draws(self, counts: Float[np.ndarray, "draw problem"]) -> Float[np.ndarray, "draw"]:
        """The AUROC when problem ``g`` is there ``counts[:, g]`` times."""
        won, pairs = np.zeros(len(counts)), np.zeros(len(counts))
        for table, positive, negative, member in self._folds():
            drawn = counts[:, member]
            won += ((drawn @ table) * drawn).sum(1)
            pairs += (drawn @ positive) * (drawn @ negative)
        return np.divide(won, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)

    def influence(self) -> Float[np.ndarray, "problem"]:
        """The pull of each problem on the value; they sum to zero."""
        out, value = np.zeros(self.n_problems), self.value
        for table, positive, negative, member in self._folds():
            won = table.sum(1) + table.sum(0)
            out[member] += won - value * (positive * negative.sum() + negative * positive.sum())
        return out / self.pairs if self.pairs else np.full(self.n_problems, np.nan)

    def present(self) -> int:
        """Problems that have a row."""
        return sum(int(((p + n) > 0).sum()) for p, n in zip(self.positive, self.negative, strict=True))


def _fold_wins(scores: np.ndarray, labels: np.ndarray, problems: np.ndarray) -> tuple[np.ndarray, ...]:
    member, codes = np.unique(problems, return_inverse=True)
    size = len(member)
    order = np.argsort(scores, kind="stable")
    above, codes, ranked = labels[order] > 0, codes[order], scores[order]
    starts = np.flatnonzero(np.r_[True, np.diff(ranked) > 0]) if len(ranked) else np.zeros(0, dtype=np.int64)
    tie = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(ranked)]))
    table = np.zeros((size, size))
    winners, owners = tie[above], codes[above]
    for problem in range(size):
        beaten = tie[~above & (codes == problem)]
        if len(beaten) and len(winners):
            won = np.searchsorted(beaten, winners, "left") + np.searchsorted(beaten, winners, "right")
            table[:, problem] = np.bincount(owners, weights=won / 2, minlength=size)
    positive = np.bincount(owners, minlength=size).astype(float)
    negative = np.bincount(codes[~above], minlength=size).astype(float)
    return table, positive, negative, member


def within_folds(
    scores: Float[np.ndarray, "row"], labels: Float[np.ndarray, "row"], folds: Int[np.ndarray, "row"]
) -> float:
    """The AUROC within folds alone, quickly; equals ``Wins.of(...).value``."""
    kept = ~np.isnan(scores) & ~np.isnan(labels)
    won = pairs = 0.0
    for one in np.unique(folds[kept]):
        own = kept & (folds == one)
        ranks, above = rankdata(scores[own]), labels[own] > 0
        n, m = int(above.sum()), int((~above).sum())
        won += float(ranks[above].sum()) - n * (n + 1) / 2
        pairs += n * m
    return won / pairs if pairs else math.nan


@dataclass(frozen=True)
class Tested:
    """An estimate with the one-sided p-value of exceeding its null."""

    estimate: Estimate
    """Value and bootstrap interval."""
    p: float
    """Chance of a value this large if the truth were the null; NaN if there is no value."""


def assess(
    wins: Wins,
    *,
    null: float = 0.5,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    cross_fitted: bool = False,
) -> Tested:
    """The AUROC with its interval, and whether it exceeds ``null``.

    ``cross_fitted`` says that the rows' own labels trained the fits that scored the other folds.
    """
    return _tested([(1.0, wins)], null, n_boot, seed, level, cross_fitted)


def assess_difference(
    first: Wins,
    second: Wins,
    *,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    cross_fitted: bool = False,
) -> Tested:
    """``second`` minus ``first`` on the same rows, with the paired interval, and whether it exceeds zero."""
    return _tested([(1.0, second), (-1.0, first)], 0.0, n_boot, seed, level, cross_fitted)


def _tested(
    sides: list[tuple[float, Wins]], null: float, n_boot: int, seed: int, level: float, cross_fitted: bool
) -> Tested:
    value = sum(sign * wins.value for sign, wins in sides)
    n = sides[0][1].present()
    if math.isnan(value) or n < 2:
        nothing = Estimate(math.nan, math.nan, math.nan, n, "undefined: only one class is present", level)
        return Tested(nothing, math.nan)
    counts = bootstrap_weights(sides[0][1].n_problems, n_boot=n_boot, seed=seed).astype(float)
    draws = sum((sign * wins.draws(counts) for sign, wins in sides), np.zeros(n_boot))
    interval = percentile_interval(draws, n=n, level=level)
    pull = sum((sign * wins.influence() for sign, wins in sides), np.zeros(sides[0][1].n_problems))
    error = math.sqrt((2 if cross_fitted else 1) * n / (n - 1) * float((pull**2).sum()))
    distance = value - null
    p = float(stdtr(n - 1, -distance / error)) if error > 0 else float(0.5 if distance == 0 else distance < 0)
    method = f"within folds, bootstrap over problems, {n_boot} draws"
    estimate = Estimate(value, interval.low, interval.high, n, method, level)
    return Tested(estimate, p)
