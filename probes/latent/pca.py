"""The axis along which matched rows differ most: PCA of paired differences.

    D_i = h(positive row i) - h(its negative row)        v = argmax over |v| = 1 of sum_i (D_i . v)^2

The differences are not centred: with the order of each pair random, as in Zou et al. 2023 (arXiv 2310.01405), their
mean is zero and the first principal component is this ``v``.  Its sign is fixed by the label: positive rows lie further
along it.  Pairs are one row under two models, or rows of one group (a problem) matched at random.

Unlike the difference of means it is not pulled by what sets whole groups apart, since that cancels in every pair.  A
large first component does not show that the label is what it carries: any axis along which pairs vary widely wins.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import eigh

from hooks.streams import stream


def paired_differences(
    matrix: Float[np.ndarray, "row d"],
    positive: Bool[np.ndarray, "row"],
    groups: Int[np.ndarray, "row"],
    *,
    seed: int = 0,
) -> Float[np.ndarray, "pair d"]:
    """Positive minus negative rows of the same group, each row used once; float64, no row where no group has both.

    Args:
        matrix: activations.
        positive: which rows have the label.
        groups: number of each row's group.
        seed: names the stream by which rows of a group are matched.

    Does not show whether the rows matched are alike in anything but their group.
    """
    first, second = [], []
    for group in np.unique(groups):
        rng = stream(seed, "pairs", int(group))
        have, lack = np.flatnonzero((groups == group) & positive), np.flatnonzero((groups == group) & ~positive)
        n = min(len(have), len(lack))
        first.append(rng.permutation(have)[:n])
        second.append(rng.permutation(lack)[:n])
    if not first:
        return np.empty((0, matrix.shape[1]))
    there, here = np.concatenate(first), np.concatenate(second)
    found: np.ndarray = matrix[there].astype(np.float64) - matrix[here]
    return found


def principal_axis(differences: Float[np.ndarray, "pair d"]) -> Float[np.ndarray, "d"]:
    """The unit vector with the largest sum of squared projections, turned so that the mean projection is positive.

    Raises:
        ValueError: without a difference that is not zero.

    Does not show how much of the spread it carries.
    """
    if not len(differences) or not differences.any():
        raise ValueError("PCA of paired differences needs pairs: no group has rows with and without the label")
    n, d = differences.shape
    if n < d:
        # The other side of the same decomposition, which is the smaller matrix.
        axis = differences.T @ eigh(differences @ differences.T, subset_by_index=[n - 1, n - 1])[1][:, 0]
    else:
        axis = eigh(differences.T @ differences, subset_by_index=[d - 1, d - 1])[1][:, 0]
    axis = axis / np.linalg.norm(axis)
    turned: np.ndarray = -axis if float((differences @ axis).mean()) < 0 else axis
    return turned
