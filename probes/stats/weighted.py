r"""A mean over problems that count to different parts: how far would it move, if only a few of them carry it?

Problem ``i`` belongs to a group with weight :math:`w_i` (a difficulty bin, say) and brings :math:`x_i`, its value times
that weight. The mean of the group and the deviations that its spread is told from are

.. math:: \theta = \frac{\sum_i x_i}{\sum_i w_i}, \qquad z_i = x_i - \theta w_i, \qquad
          s^2 = \frac{n}{n-1} \frac{\sum_i z_i^2}{(\sum_i w_i)^2}.

Of 60 problems a bin may hold 15, and of those perhaps five deviate at all: the spread is then told from five numbers,
and the percentiles of a bootstrap, which draws the same five again, are too narrow. The interval is Student's,
:math:`\theta \pm t_{\nu}\, s`, with

.. math:: \nu = \max\Big(1, \tfrac{3}{2} \frac{(\sum_i z_i^2)^2}{\sum_i z_i^4} - 1\Big),

about half the number of problems if deviations are normal, and 1 where one problem makes all of the spread. (It lies
between the degrees of freedom that Satterthwaite 1946, Biometrics Bulletin 2, gives with the kurtosis of the sample,
which few numbers make too small, and two thirds of ours; the factor is chosen by simulation.) Where nothing deviates
the interval is Wilson's over :math:`(\sum w)^2 / \sum w^2` problems.

Assumes independent problems. It does not show deviations that none of the problems made: below five problems in a group
there is too little to go by, and the shares of a group near 0 or 1 are still too sure with fewer than ten.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from probes.stats.intervals import Estimate
from probes.stats.proportions import alike

FACTOR = 1.5
"""Degrees of freedom for each problem that effectively deviates."""


def weighted_mean(
    part: Float[np.ndarray, "problem"],
    weight: Float[np.ndarray, "problem"],
    *,
    within: tuple[float, float] = (-math.inf, math.inf),
    level: float = 0.95,
) -> Estimate:
    """Sum of ``part`` over sum of ``weight``, with Student's interval on the problems that effectively deviate.

    Args:
        part: each problem's value times its weight.
        weight: how far each problem belongs to the group, 0 or more.
        within: least and largest value possible; the interval is cut to it, and where nothing deviates and both ends
            are finite, Wilson's interval is told on that scale.
        level: of the interval.

    Returns:
        the estimate; ``n`` counts the problems with a weight. NaN without any weight; no interval below two problems,
        nor where nothing deviates and no bounds are known.

    Raises:
        ValueError: a negative weight, or unequal lengths.

    It does not show deviations that none of these problems made.
    """
    if len(part) != len(weight):
        raise ValueError(f"{len(part)} values for {len(weight)} weights; give one weight a problem.")
    kept = ~np.isnan(part) & ~np.isnan(weight)
    part, weight = part[kept], weight[kept]
    if np.any(weight < 0):
        raise ValueError("A weight is negative; weights say how far a problem belongs to a group.")
    n, total = int((weight > 0).sum()), float(weight.sum())
    if not total > 0:
        return Estimate(math.nan, math.nan, math.nan, 0, "no problem has a weight", level)
    value = float(part.sum() / total)
    z = part - value * weight
    squares = float(z @ z)
    if n < 2:
        return Estimate(value, math.nan, math.nan, n, "one problem", level)
    # Rounding leaves a trace where all values are equal.
    if squares <= 1e-24 * total:
        low, high = alike(value, total**2 / float(weight @ weight), within, level=level)
        return Estimate(value, low, high, n, "Wilson over problems: every one is alike", level)
    freedom = max(1.0, FACTOR * squares**2 / float((z**4).sum()) - 1)
    half = -float(stdtrit(freedom, (1 - level) / 2)) * math.sqrt(n / (n - 1) * squares) / total
    low, high = max(within[0], value - half), min(within[1], value + half)
    return Estimate(value, low, high, n, f"Student over problems, {freedom:.1f} degrees of freedom", level)
