"""The spectrum of an update: is it low-rank, and is its rank more than sparse noise would give?

For a matrix ``D = W_rl - W_base`` with singular values ``s_1 >= s_2 >= ...``:

* numerical rank: how many ``s_i > max(m, n) * eps * s_1`` with ``eps`` of float32 (the default of
  ``torch.linalg.matrix_rank``), as a share of ``min(m, n)``; the measure of Mukherjee et al. 2025 (arXiv 2505.11711);
* stable rank: ``sum s_i^2 / s_1^2`` (Rudelson and Vershynin 2007, arXiv math/0503442), never above the rank;
* entropy rank: ``exp(-sum p_i log p_i)`` with ``p_i = s_i / sum s`` (Roy and Vetterli 2007, "The effective rank");
* energy: the share of ``sum s_i^2`` in the largest one per cent of singular values (at least one).

The null is the same matrix with its entries shuffled: the same values at the same density in random places. A random
mask with five per cent of the entries is already of full numerical rank, so "full rank" alone says little; the stable
and entropy ranks beside their nulls say whether the update has a direction.

What it does not show: that an update of high rank needs its high rank; most of the energy may still be dispensable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.streams import stream


@dataclass(frozen=True)
class Spectrum:
    """Rank measures of one matrix; all NaN where the matrix is zero except the rank, which is then 0.

    A matrix that did not move has no directions to count, so that it may not pull down a mean over those that did.
    """

    rank: int
    """Numerical rank."""
    rank_share: float
    """Numerical rank over ``min(rows, columns)``."""
    stable_rank: float
    """Squared Frobenius norm over the squared largest singular value."""
    entropy_rank: float
    """Exponential of the entropy of the normalised singular values."""
    energy_top: float
    """Share of the squared norm in the largest one per cent of singular values."""


def singular_values(delta: Float[Tensor, "row column"]) -> Float[Tensor, "rank"]:
    """Singular values in descending order, in float64, from the smaller Gram matrix.

    The Gram matrix in float64 resolves values down to about ``sqrt(n * 2e-16)`` of the largest, far below the tolerance
    ``n * 1.2e-7`` of the float32 rank test, so the count is that of a full decomposition at a fraction of its cost for
    a matrix much longer than wide.

    They do not show directions, only sizes.
    """
    wide = delta.double()
    gram = wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(0)


def spectrum(delta: Float[Tensor, "row column"]) -> Spectrum:
    """Rank measures of an update; formulas and sources stand at the head of this file.

    Raises:
        ValueError: the matrix is empty or holds a value that is not finite.

    It does not show that an update of high rank needs it.
    """
    if delta.numel() == 0 or not bool(torch.isfinite(delta).all()):
        raise ValueError(f"An update of shape {tuple(delta.shape)} is empty or not finite; its spectrum is undefined.")
    values = singular_values(delta)
    largest = float(values[0])
    if largest == 0.0:
        return Spectrum(rank=0, rank_share=math.nan, stable_rank=math.nan, entropy_rank=math.nan, energy_top=math.nan)
    tolerance = max(delta.shape) * torch.finfo(torch.float32).eps * largest
    rank = int((values > tolerance).sum())
    squares = values.square()
    # Below the resolution of the Gram matrix values are rounding noise; they must not add to the entropy.
    resolution = math.sqrt(max(delta.shape) * torch.finfo(torch.float64).eps)
    clean = torch.where(values > resolution * largest, values, torch.zeros_like(values))
    p = clean / clean.sum()
    top = max(1, math.ceil(0.01 * len(values)))
    return Spectrum(
        rank=rank,
        rank_share=rank / min(delta.shape),
        stable_rank=float(squares.sum() / squares[0]),
        entropy_rank=float(torch.exp(-torch.special.xlogy(p, p).sum())),
        energy_top=float(squares[:top].sum() / squares.sum()),
    )


def shuffled(delta: Float[Tensor, "row column"], *, seed: int = 0, label: str = "") -> Float[Tensor, "row column"]:
    """The null update: the same entries in random places, drawn from the stream ``(seed, "shuffle", label)``.

    Same density and same sizes of change, no structure of rows, columns or directions.

    It does not show how noise with rows of unequal size would look.
    """
    order = torch.from_numpy(stream(seed, "shuffle", label).permutation(delta.numel()))
    return delta.flatten()[order].unflatten(0, delta.shape)
