r"""What is the chance that one of k samples is right, and where do two such curves meet?

For a problem with ``c`` correct of ``n`` samples the unbiased estimate of the chance that one of ``k`` is correct is

.. math:: \mathrm{pass@}k = 1 - \binom{n-c}{k} \Big/ \binom{n}{k} = 1 - \prod_{j=n-c+1}^{n} (1 - k/j)

and 1 where ``n - c < k`` (Chen et al. 2021, arXiv 2107.03374). Problems may have different ``n``. Assumes samples that
were drawn independently. What it does not show: anything about k beyond the samples that were drawn.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def pass_at_k(n: Int[np.ndarray, "problem"], c: Int[np.ndarray, "problem"], k: int) -> Float[np.ndarray, "problem"]:
    """Unbiased pass@k of each problem from its counts; NaN where fewer than ``k`` samples were drawn.

    The product is taken over at most ``c`` factors in logarithms, so it neither overflows nor cancels.

    Raises:
        ValueError: k below 1, or counts with c outside 0 to n.
    """
    return pass_at_ks(n, c, np.array([k]))[:, 0]


def pass_at_ks(
    n: Int[np.ndarray, "problem"], c: Int[np.ndarray, "problem"], ks: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "problem k"]:
    """:func:`pass_at_k` for several k at once; problems with equal counts are computed once."""
    if np.any(ks < 1):
        raise ValueError(f"k counts tries and begins at 1, not {int(ks.min())}.")
    if np.any((c < 0) | (c > n)):
        raise ValueError("A problem has more correct samples than samples, or fewer than none; look at its counts.")
    pairs, back = np.unique(np.stack([n, c], axis=1), axis=0, return_inverse=True)
    out = np.full((len(pairs), len(ks)), np.nan)
    for row, (total, right) in enumerate(pairs):
        drawn = ks <= total
        sure = drawn & (total - right < ks)
        unsure = drawn & ~sure
        out[row, sure] = 1.0
        factors = np.arange(total - right + 1, total + 1, dtype=float)
        out[row, unsure] = -np.expm1(np.log1p(-ks[unsure, None] / factors).sum(axis=1))
    return out[back.reshape(-1)]


def crossings(difference: Float[np.ndarray, "draw k"]) -> Float[np.ndarray, "draw"]:
    """Where RL minus base first falls to zero, linear between whole k; 1 if it starts there, infinite if it never does.

    It does not show whether the two curves part again.
    """
    behind = difference <= 0
    first = np.where(behind.any(axis=1), behind.argmax(axis=1), -1)
    rows, out = np.arange(len(difference)), np.full(len(difference), np.inf)
    out[first == 0] = 1.0
    inside = rows[first > 0]
    at = first[inside]
    before, after = difference[inside, at - 1], difference[inside, at]
    out[inside] = at + before / (before - after)
    return out
