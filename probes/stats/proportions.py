"""Intervals for a count out of a number, and p-values of many tests read together."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from probes.stats.intervals import Estimate
from probes.stats.problems import Column, as_floats

SHARE, GAP = (0.0, 1.0), (-1.0, 1.0)
"""Bounds of a share, and of the difference of two."""


def wilson(successes: int | float, n: int, *, level: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927, JASA 22), which stays honest at 0 and at 1.

    Raises:
        ValueError: if there are more successes than trials, or fewer than none.

    Assumes independent trials: not for several samples of one problem.
    """
    if not 0 <= successes <= n:
        raise ValueError(
            f"{successes} successes out of {n} trials; the count must lie between 0 and the number of trials"
        )
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0, "no trials", level)
    z = float(ndtri((1 + level) / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(share, low, high, n, "Wilson", level)


def alike(value: float, n: int | float, within: tuple[float, float], *, level: float = 0.95) -> tuple[float, float]:
    """The ends of an interval where all ``n`` problems gave one value, which no resampling can widen.

    One problem in so many may differ unseen, by Wilson's bound for none in ``n``, and it may differ as far as
    ``within`` goes: a share of 0 in 60 problems has the ends 0 and 0.06.  NaN where ``within`` is not finite.

    It does not show how likely such a problem is, only that none was drawn.
    """
    least, largest = within
    if not math.isfinite(least + largest):
        return math.nan, math.nan
    differ = wilson(0, max(1, math.floor(n)), level=level).high
    # A mean of ones may lie a rounding error above 1, and no share does.
    return max(least, value - differ * (value - least)), min(largest, value + differ * (largest - value))


def benjamini_hochberg(p_values: Column) -> Float[np.ndarray, "row"]:
    """Adjusted p-values: calling all below ``q`` keeps the expected share of false calls under ``q``.

    Benjamini and Hochberg 1995, JRSS B 57.  NaN stays NaN and does not count as a test.

    Raises:
        ValueError: if a p-value lies outside 0 to 1.

    Assumes independent or positively dependent tests; does not bound the chance of one false call.
    """
    p = as_floats(p_values)
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    if np.any((p[tested] < 0) | (p[tested] > 1)):
        raise ValueError("a p-value lies outside 0 to 1")
    order = tested[np.argsort(p[tested], kind="stable")]
    stepped = p[order] * len(order) / np.arange(1, len(order) + 1)
    adjusted[order] = np.minimum(np.minimum.accumulate(stepped[::-1])[::-1], 1.0)
    return adjusted
