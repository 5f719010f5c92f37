r"""What share of a gap is covered?  Intervals for a ratio of two means over the same problems.

For means :math:`x` (what was gained) and :math:`y` (the gap) over ``n`` problems with covariance :math:`S/n`, Fieller's
set (Fieller 1954, JRSS B 16) holds every :math:`r` with

.. math:: (x - r y)^2 \le t^2 (S_{xx} - 2 r S_{xy} + r^2 S_{yy})/n.

Where the gap itself cannot be told from zero the set is unbounded, and so is what can be said about the ratio: the
value is then NaN and the interval the whole line.  Nothing is clipped: a share can be negative or above one.

Assumes paired problems and means that are close to normal (tens of problems).  It does not show that the gap was made
by what the numerator measures.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from probes.stats.bootstrap import bootstrap_table
from probes.stats.intervals import Estimate
from probes.stats.problems import Column, problem_means


def ratio(
    numerator: Column,
    denominator: Column,
    problems: Column | None = None,
    *,
    method: Literal["fieller", "bootstrap"] = "fieller",
    n_boot: int = 2000,
    level: float = 0.95,
    slack: float = 0.0,
    seed: int = 0,
    label: str = "bootstrap",
) -> Estimate:
    """Mean of the numerator over mean of the denominator, paired by problem, with its interval.

    Args:
        numerator: a value a row, for instance mixed minus base.
        denominator: a value for the same row, for instance RL minus base.
        problems: the problem of each row; None if each row is a problem.
        method: Fieller's set, or percentiles of the bootstrapped ratio.
        n_boot: draws, for the bootstrap.
        level: of the interval, and of the test whether the denominator is there at all.
        slack: added to the numerator's sum of squares in Fieller's set: deviations that so few problems may not have
            shown yet, where a numerator counts rare events.
        seed: of the draws.
        label: of the random stream.

    Returns:
        the estimate.  If the denominator's own interval covers zero, the value is NaN, the interval is the whole line
        and the method says so.

    Does not show causes: both means may move for one reason.
    """
    if len(numerator) != len(denominator):
        raise ValueError(f"{len(numerator)} numerators for {len(denominator)} denominators; they are read row by row")
    table = np.stack([problem_means(column, problems)[1] for column in (numerator, denominator)], axis=1)
    table = table[~np.isnan(table).any(axis=1)]
    n = len(table)
    if n < 2:
        return Estimate(math.nan, math.nan, math.nan, n, "fewer than two problems", level)
    undefined = Estimate(
        math.nan, -math.inf, math.inf, n, "undefined: the interval of the denominator covers zero", level
    )
    if method == "fieller":
        ends = _fieller(table, level, slack)
        if ends is None:
            return undefined
        value = float(table[:, 0].mean() / table[:, 1].mean())
        return Estimate(value, *ends, n, "Fieller, paired by problem", level)
    gap = bootstrap_table(table[:, 1:], n_boot=n_boot, level=level, seed=seed, label=label)
    if not gap.excludes_zero:
        return undefined
    return bootstrap_table(table, lambda x, y: x / y, n_boot=n_boot, level=level, seed=seed, label=label)


def _fieller(table: Float[np.ndarray, "problem 2"], level: float, slack: float) -> tuple[float, float] | None:
    n = len(table)
    x, y = table.mean(axis=0)
    covariance = np.cov(table, rowvar=False) / n
    covariance[0, 0] += slack / (n * (n - 1))
    squared_t = stdtrit(n - 1, (1 + level) / 2) ** 2
    # The set is a r^2 - 2 b r + c <= 0; it is an interval exactly when a, the gap's own test, is positive.
    a = y * y - squared_t * covariance[1, 1]
    b = x * y - squared_t * covariance[0, 1]
    c = x * x - squared_t * covariance[0, 0]
    if a <= 0:
        return None
    half = math.sqrt(max(b * b - a * c, 0.0))
    return float((b - half) / a), float((b + half) / a)
