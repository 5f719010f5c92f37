r"""How far would this number move with other problems of the same kind?  The bootstrap over problems.

Of ``n`` problems, ``n`` are drawn with replacement, ``n_boot`` times; a draw is a row of multinomial counts, so that
all draws of a mean are one matrix product, ``counts @ means / n``.  Samples of one problem stay together, and the
columns of one problem (two models, say) stay together: that is what makes a comparison paired.

The interval is the *expanded percentile* interval (Hesterberg 2015, "What teachers should know about the bootstrap",
American Statistician 69): the percentiles are moved outwards to
:math:`\Phi(-\sqrt{n/(n-1)}\,t_{n-1,\alpha/2})`, which repairs the plain percentile's narrowness at few problems.

Where few problems differ from the rest, resampling draws the same few again and knows of no others: the percentiles
are too narrow.  For a figure with known bounds (``within``) the distance of each end from the mean is then

.. math:: \sqrt{(\text{percentile's})^2 + (\text{unseen problem's})^2},

where the second is that of :func:`probes.stats.proportions.alike`, one problem that none of these showed.  For shares
this comes close to Wilson's interval: over true shares of 0.015 to 0.17 a nominal 5 % misses are up to 4 % with 20
problems, 4 % with 60 and 9 % with 200 (at worst; 1, 2 and 5 % in the mean), where percentiles alone miss up to 74, 42
and 17 %.  Ordinary intervals are left as they are; shares and differences in equal steps count as such only from a
dozen problems that differ, so that a share of 20 problems always gets wider, one of a half by 5 %.

Assumes that problems are exchangeable.  It does not show what another *kind* of problem would give, nor another
training run; and without bounds an interval is too narrow where few problems differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import ndtr, stdtrit

from hooks.streams import stream
from probes.stats.intervals import Estimate, Interval
from probes.stats.problems import Column, problem_means
from probes.stats.proportions import alike, wilson

Statistic = Callable[..., Float[np.ndarray, "draw"]]
"""A function of the columns' means, each an array over draws, given in the columns' order."""
SAME = 1e-12
"""Spread of draws up to which they count as alike; rounding leaves a trace."""
COMMON = 0.12
"""Share of draws of one value from which few problems differ: a draw holds none of k with a chance of about e to the
-k, so this holds for any two problems that differ, and for a dozen that differ by one step."""
OUTERMOST = 0.011
"""The same of the least or the largest value, where problems differ to one side only: up to four, by whatever sizes."""


def bootstrap_weights(
    n_problems: int, *, n_boot: int = 2000, seed: int = 0, label: str = "bootstrap"
) -> Int[np.ndarray, "draw problem"]:
    """How often each problem is drawn, draw by draw; a row sums to the number of problems.

    For statistics that are no function of means: give each row the weight of its problem.
    """
    if n_boot < 1:
        raise ValueError(f"n_boot must be at least 1, not {n_boot}")
    if n_problems == 0:
        return np.zeros((n_boot, 0), dtype=np.int64)
    drawn = stream(seed, label, n_problems).integers(n_problems, size=(n_boot, n_problems))
    drawn += np.arange(n_boot)[:, None] * n_problems
    return np.bincount(drawn.ravel(), minlength=n_boot * n_problems).reshape(n_boot, n_problems)


def percentile_interval(
    draws: Float[np.ndarray, "draw"], *, n: int, level: float = 0.95, within: tuple[float, float] | None = None
) -> Interval:
    """The expanded percentile interval of bootstrap draws that rest on ``n`` problems.

    Draws that are NaN (a statistic that a draw leaves undefined) are left out; with fewer than two problems, or more
    than a tenth of the draws undefined, there is no interval: both ends are NaN.  Draws that are all alike say nothing
    of what was not drawn: given the bounds of the figure, ``within``, the ends are those of
    :func:`probes.stats.proportions.alike`; and where few problems differ they are moved outwards, as this file's head
    says.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    defined = draws[~np.isnan(draws)]
    if n < 2 or len(defined) < 0.9 * len(draws):
        return Interval(math.nan, math.nan, level)
    if within is not None and np.ptp(defined) <= SAME:
        return Interval(*alike(float(defined[0]), n, within, level=level), level)
    tail = ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 - level) / 2))
    if np.isinf(defined).any():
        low, high = np.quantile(defined, [tail, 1 - tail], method="inverted_cdf")
    else:
        low, high = np.quantile(defined, [tail, 1 - tail])
        if within is not None and _few_differ(defined):
            low, high = _outwards(float(low), float(high), float(defined.mean()), n, within, level)
    return Interval(float(low), float(high), level)


def _few_differ(draws: Float[np.ndarray, "draw"]) -> bool:
    """Whether so many draws are alike that few problems can differ from the others."""
    span = np.ptp(draws)
    if span == 0:
        return True
    # Sums in another order differ by a rounding error.
    times = np.unique(np.round((draws - draws.min()) / span, 9), return_counts=True)[1]
    # Among few draws the outermost one alone would be a common one.
    return bool(times.max() >= COMMON * len(draws) or max(times[0], times[-1]) >= max(3, OUTERMOST * len(draws)))


def _outwards(
    low: float, high: float, mean: float, n: int, within: tuple[float, float], level: float
) -> tuple[float, float]:
    """Ends moved by what one problem that none of these showed could do, but not beyond the bounds."""
    below, above = alike(mean, n, within, level=level)
    if math.isnan(below + above):
        return low, high
    below, above = mean - math.hypot(mean - low, mean - below), mean + math.hypot(high - mean, above - mean)
    return min(low, max(within[0], below)), max(high, min(within[1], above))


def bootstrap_problems(
    values: Column | Mapping[str, Column],
    problems: Column | None = None,
    *,
    statistic: Statistic | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    label: str = "bootstrap",
) -> Estimate:
    """A mean over problems of the means over their samples, or a function of several such means, with its interval.

    Args:
        values: one column, or named columns of equal length (``{"base": ..., "rl": ...}``) that are read row by row.
        problems: the problem of each row; None if each row is a problem of its own.
        statistic: vectorised function of the columns' means, ``lambda base, rl: rl - base``; None for a lone mean.
        n_boot: draws.
        level: of the interval.
        seed: of the draws.
        label: name of the random stream.  The same problems, seed and label give the same draws, so that two calls can
            be compared draw by draw.

    Returns:
        the estimate; its ``n`` counts the problems that have a value in every column, others are left out.  NaN
        without any problem.  Truth values that are all alike, which no draw could change, get Wilson's interval over
        problems instead.

    Raises:
        ValueError: if columns and problems differ in length, or several columns come without a statistic.

    Does not show anything about a population that the problems are not a sample of.
    """
    columns = dict(values) if isinstance(values, Mapping) else {"value": values}
    if statistic is None and len(columns) != 1:
        raise ValueError(f"{len(columns)} columns ({', '.join(columns)}) need a statistic that says what is wanted")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"columns differ in length: {lengths}; every column needs the same rows")
    table = np.stack([problem_means(column, problems)[1] for column in columns.values()], axis=1)
    if statistic is None and _all_alike(next(iter(columns.values()))):
        n = int((~np.isnan(table)).sum())
        alike = wilson(n if np.nanmax(table) == 1.0 else 0, n, level=level)
        return replace(alike, method="Wilson over problems: every sample is alike")
    return bootstrap_table(table, statistic, n_boot=n_boot, level=level, seed=seed, label=label)


def _all_alike(column: Column) -> bool:
    """Whether a column holds truth values only, and one of the two only."""
    present = pd.Series(column, dtype=object).dropna()
    return len(present) > 0 and all(isinstance(v, (bool, np.bool_)) for v in present) and present.nunique() == 1


def bootstrap_table(
    table: Float[np.ndarray, "problem column"],
    statistic: Statistic | None = None,
    *,
    within: tuple[float, float] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    label: str = "bootstrap",
) -> Estimate:
    """The same as :func:`bootstrap_problems` for values that are already one a problem and column.

    ``within`` are the bounds of the figure, see :func:`percentile_interval`.
    """
    table = table[~np.isnan(table).any(axis=1)]
    n = len(table)
    method = f"bootstrap over problems, {n_boot} draws"
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, "no problem has a value", level)
    draws = bootstrap_weights(n, n_boot=n_boot, seed=seed, label=label) @ table / n
    apply = statistic or (lambda mean: mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.asarray(apply(*table.mean(axis=0, keepdims=True).T))[0])
        interval = percentile_interval(np.asarray(apply(*draws.T), dtype=float), n=n, level=level, within=within)
    return Estimate(value, interval.low, interval.high, n, method, level)


def paired_difference(
    first: Column,
    second: Column,
    first_problems: Column | None = None,
    second_problems: Column | None = None,
    *,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    label: str = "bootstrap",
) -> Estimate:
    """Mean of ``second`` minus mean of ``first`` over the problems that both have, with its paired interval.

    The two sides may hold different numbers of samples; they are matched by the names of their problems (by place, if
    no names are given), and problems that only one side has are left out.

    Does not show whether a difference is large, only whether it is there.
    """
    if (first_problems is None) != (second_problems is None):
        raise ValueError("give the problems of both sides or of neither")
    if first_problems is None and len(first) != len(second):
        raise ValueError(f"{len(first)} values against {len(second)}: name the problems so that they can be matched")
    names, means = problem_means(first, first_problems)
    other_names, other_means = problem_means(second, second_problems)
    _, here, there = np.intersect1d(names, other_names, assume_unique=True, return_indices=True)
    table = np.stack([means[here], other_means[there]], axis=1)
    return bootstrap_table(table, lambda a, b: b - a, n_boot=n_boot, level=level, seed=seed, label=label)
