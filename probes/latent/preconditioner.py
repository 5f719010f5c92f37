"""Approximate inverses of the Hessians of many logistic problems, from one factorisation.

The Hessian of a problem with curvatures ``h`` and ridge ``r``, its intercept eliminated, is

    X' (diag(h) - hh' / sum h) X + r I,    close to    sum(h) G + r I

with ``G`` the covariance of the rows weighted by the problems' mean curvature.  How close decides how many steps
conjugate gradients need, never what they find.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from scipy.linalg.blas import dsyrk, ssyrk
from torch import Tensor

SMALL = 1 << 20
"""Elements up to which a matrix is worked on in float64 throughout."""
SLICE = 2048
"""Rows that are weighted at a time."""


class Preconditioner:
    """Approximate inverses of ``c G + r I`` for any ``r / c`` from one eigendecomposition of ``G = X' diag(w) X``.

    ``w`` is uniform to begin with and becomes the problems' mean curvature once the work that a worse ``G`` costs
    exceeds that of making another.  Labels, folds and strengths share it: they differ in ``r / c`` alone.
    """

    def __init__(self, matrix: Float[Tensor, "row d"]) -> None:
        small = matrix.numel() <= SMALL
        self.matrix = matrix.double() if small else matrix.float()
        self.exact = small or matrix.shape[1] <= 512
        self.refresh(torch.full((len(matrix),), 1 / max(1, len(matrix)), device=matrix.device))

    def refresh(self, weight: Float[Tensor, "row"]) -> None:
        """Take ``G`` for these row weights, which sum to one, about their mean (the intercept's share is left out)."""
        share = weight.clamp_min(0).to(self.matrix.dtype)
        gram = weighted_gram(self.matrix, share, share @ self.matrix)
        self.values, self.vectors = _decomposed(gram.double() if self.exact else gram)
        self.spent = 0

    def sharpen(self) -> None:
        """Go over to float64, for good; :attr:`matrix` with it."""
        if not self.exact or self.matrix.dtype != torch.float64:
            self.exact, self.matrix = True, self.matrix.double()
            self.values, self.vectors = self.values.double(), self.vectors.double()
            # Brings about a refresh at the next occasion.
            self.spent = 1 << 60

    def damped(self, rho: Float[Tensor, "problem"]) -> Float[Tensor, "problem d"]:
        """The eigenvalues of ``G + rho I`` for each problem."""
        # Below this an eigenvalue is rounding noise.
        least = float(self.values.amax()) * (1e-13 if self.exact else 1e-6) if len(self.values) else 0.0
        return self.values + rho.clamp_min(max(least, 1e-30)).to(self.values.dtype)[:, None]

    def __call__(
        self, residual: Float[Tensor, "problem d"], damped: Float[Tensor, "problem d"], total: Float[Tensor, "problem"]
    ) -> Float[Tensor, "problem d"]:
        """Apply the approximate inverse of each problem's Hessian ``total G + r I`` to its row."""
        inside = residual.to(self.vectors.dtype) @ self.vectors
        return ((inside / damped) @ self.vectors.T).to(residual.dtype) / total[:, None]


def _decomposed(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, none below zero, and eigenvectors; in float64 where float32 does not converge."""
    try:
        values, vectors = torch.linalg.eigh(gram)
    except torch.linalg.LinAlgError:
        values, vectors = (part.to(gram.dtype) for part in torch.linalg.eigh(gram.double()))
    return values.clamp_min(0), vectors


def weighted_gram(
    matrix: Float[Tensor, "row d"], weight: Float[Tensor, "row"], mean: Float[Tensor, "d"]
) -> Float[Tensor, "d d"]:
    """``sum_i w_i (x_i - m)(x_i - m)'``, a slice of rows at a time, in the matrix's own precision."""
    columns = matrix.shape[1]
    out = torch.zeros(columns, columns, dtype=matrix.dtype, device=matrix.device)
    root, large = weight.sqrt()[:, None], columns > 64 and matrix.device.type == "cpu"
    for part, own in zip(matrix.split(SLICE), root.split(SLICE), strict=True):
        side = (part - mean) * own
        if large:
            # The product is symmetric: half of it is enough.
            update = dsyrk if side.dtype == torch.float64 else ssyrk
            update(1.0, side.numpy().T, beta=1.0, c=out.numpy().T, overwrite_c=True, lower=False)
        else:
            out += side.T @ side
    # Of column-major storage the upper triangle was filled, which is the lower one of ours.
    return out.tril() + out.tril(-1).T if large else out
