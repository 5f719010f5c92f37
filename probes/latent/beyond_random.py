r"""Does one vector do more than random vectors of its length, although it was chosen among several?

Of ``n`` problems, ``a`` is the share solved under the vector and :math:`a_1 \dots a_R` the shares under random ones.
Random vectors differ from each other: at one dose some do harm and some do none, and they do it to other problems too.

* One vector is exchangeable with random ones if it means nothing: :math:`p = (1 + \#\{a_i \ge a\}) / (1 + R)`.
* The best of ``K`` that were tried elsewhere is not: where random vectors differ much, the best of ``K`` of *them*
  beats ``R`` others with a chance of ``K / (K + R)``.  So ``p`` is then at least ``K`` times the chance that one more
  vector of their kind lies so high, :math:`t = (y - \bar y) / (s \sqrt{1 + 1/R})` on ``R - 1`` degrees of freedom,
  with :math:`y = \arcsin\sqrt{(na + 3/8) / (n + 3/4)}` (Anscombe 1948, Biometrika 35) and ``s`` the larger of the
  spread of the :math:`y_i` and of what drawing ``n`` problems does, :math:`1 / \sqrt{4n + 2}`.

The interval of ``a`` minus a random vector's share: for one vector, each draw takes problems and one of the random
vectors.  The best of ``K`` is set against where one more random vector would lie with a chance of
``1 - (1 - level) / K``: within :math:`\bar y \pm t_{R-1}\, s \sqrt{1 + 1/R}` on the scale of ``y``, and within what
the ``R`` did, so that the low end is above zero only where ``p`` is small.  Without that, up to a fifth of the best of
twelve random vectors seem to do more than random ones.

Assumes for the best of several that the transformed shares of random vectors are about normal.  It does not show why
the vector does more.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

from probes.stats import Estimate, bootstrap_weights, percentile_interval, stream


def beyond_random(value: float, random: Float[np.ndarray, "random"], *, n: int, tried: int = 1) -> float:
    """One-sided p-value of a vector beside random ones; NaN where something is not known.

    Args:
        value: the share of ``n`` problems under the vector.
        random: shares under random vectors of the same length.
        n: problems.
        tried: vectors and doses among which this one was the best, on other problems.

    It does not show that the direction is the model's own.
    """
    if math.isnan(value) or not len(random) or np.isnan(random).any():
        return math.nan
    rank = float((1 + (random >= value).sum()) / (1 + len(random)))
    if tried <= 1 or len(random) < 2:
        return rank
    centre, spread = _another(random, n)
    distance = (_stable(np.array([value]), n)[0] - centre) / spread
    return max(rank, min(1.0, tried * float(student.sf(distance, len(random) - 1))))


def over_random(
    values: Float[np.ndarray, "problem"],
    random: Float[np.ndarray, "random problem"],
    *,
    tried: int = 1,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean over problems under a vector minus that under a random vector of its kind, with the interval.

    A problem that is NaN under one of them is left out; NaN where nothing is left.

    Args:
        values: whether each problem was solved under the vector, 0 or 1.
        random: the same under random vectors of the same length.
        tried: vectors and doses among which this one was the best, on other problems; the interval allows for it.
        level: of the interval.
        n_boot: draws, where one vector was tried.
        seed: of the draws.

    It does not show the lead over the best of as many random vectors, which is smaller.
    """
    known = ~np.isnan(values) & ~np.isnan(random).any(0)
    values, random = values[known], random[:, known]
    apart = values - random
    n = apart.shape[1]
    if not apart.size:
        return Estimate(math.nan, math.nan, math.nan, n, "not measured: no random vector, or no graded problem")
    if tried > 1 and len(random) > 1:
        return _best_over_random(float(values.mean()), random.mean(1), n=n, tried=tried, level=level)
    drawn = bootstrap_weights(n, n_boot=n_boot, seed=seed) @ apart.T / n
    which = stream(seed, "which random vector").integers(len(random), size=n_boot)
    interval = percentile_interval(drawn[np.arange(n_boot), which], n=n, level=level)
    method = f"bootstrap over problems and {len(random)} random vectors, {n_boot} draws"
    return Estimate(float(apart.mean()), interval.low, interval.high, n, method, interval.level)


def _best_over_random(
    value: float, random: Float[np.ndarray, "random"], *, n: int, tried: int, level: float
) -> Estimate:
    centre, spread = _another(random, n)
    away = float(student.isf((1 - level) / (2 * tried), len(random) - 1)) * spread
    ends = np.clip([centre + away, centre - away], 0.0, math.pi / 2)
    # The way back from the stable scale to shares; and one more vector may do what one of these did.
    upper, lower = np.clip((np.sin(ends) ** 2 * (n + 3 / 4) - 3 / 8) / n, 0.0, 1.0)
    low, high = value - max(upper, random.max()), value - min(lower, random.min())
    method = f"where one more of {len(random)} random vectors would lie, best of {tried} tried"
    return Estimate(float(value - random.mean()), float(low), float(high), n, method, level)


def _another(random: Float[np.ndarray, "random"], n: int) -> tuple[float, float]:
    """Where one more random vector is expected on the stable scale, and the spread of it."""
    others = _stable(random, n)
    spread = max(float(others.std(ddof=1)), 1 / math.sqrt(4 * n + 2))
    return float(others.mean()), spread * math.sqrt(1 + 1 / len(random))


def _stable(shares: Float[np.ndarray, "_"], n: int) -> Float[np.ndarray, "_"]:
    return np.arcsin(np.sqrt((n * shares + 3 / 8) / (n + 3 / 4)))
