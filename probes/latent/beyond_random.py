r"""Does one vector do more than random vectors of its length, although it was chosen among several?

Of ``n`` problems, ``a`` is the share solved under the vector and :math:`a_1 \dots a_R` the shares under random ones.
Random vectors differ from each other: at one dose some do harm and some do none, and they do it to other problems too.

* One vector is exchangeable with random ones if it means nothing: :math:`p = (1 + \#\{a_i \ge a\}) / (1 + R)`.
* The best of ``K`` that were tried elsewhere is not: where random vectors differ much, the best of ``K`` of *them*
  beats ``R`` others with a chance of ``K / (K + R)``.  So ``p`` is then at least ``K`` times the chance that one more
  vector of their kind lies so high, :math:`t = (y - \bar y) / (s \sqrt{1 + 1/R})` on ``R - 1`` degrees of freedom,
  with :math:`y = \arcsin\sqrt{(na + 3/8) / (n + 3/4)}` (Anscombe 1948, Biometrika 35) and ``s`` the larger of the
  spread of the :math:`y_i` and of what drawing ``n`` problems does, :math:`1 / \sqrt{4n + 2}`.

The interval of ``a`` minus a random vector's share draws problems and the random vector, each draw one of them.

Assumes for the second that the transformed shares of random vectors are about normal.  It does not show why the vector
does more, and the interval leaves the choice among several out of account.
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
    here, others = _stable(np.array([value]), n)[0], _stable(random, n)
    spread = max(float(others.std(ddof=1)), 1 / math.sqrt(4 * n + 2))
    distance = (here - others.mean()) / (spread * math.sqrt(1 + 1 / len(random)))
    return max(rank, min(1.0, tried * float(student.sf(distance, len(random) - 1))))


def over_random(
    values: Float[np.ndarray, "problem"],
    random: Float[np.ndarray, "random problem"],
    *,
    n_boot: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean over problems under a vector minus that under a random vector of its kind, with the interval.

    A problem that is NaN under one of them is left out; NaN where nothing is left.  The choice among several vectors
    is not in it.
    """
    apart = values - random
    apart = apart[:, ~np.isnan(apart).any(0)]
    n = apart.shape[1]
    if not apart.size:
        return Estimate(math.nan, math.nan, math.nan, n, "not measured: no random vector, or no graded problem")
    drawn = bootstrap_weights(n, n_boot=n_boot, seed=seed) @ apart.T / n
    which = stream(seed, "which random vector").integers(len(random), size=n_boot)
    interval = percentile_interval(drawn[np.arange(n_boot), which], n=n)
    method = f"bootstrap over problems and {len(random)} random vectors, {n_boot} draws"
    return Estimate(float(apart.mean()), interval.low, interval.high, n, method, interval.level)


def _stable(shares: Float[np.ndarray, "_"], n: int) -> Float[np.ndarray, "_"]:
    return np.arcsin(np.sqrt((n * shares + 3 / 8) / (n + 3 / 4)))
