"""Approximate inverses of the Hessians of many logistic problems, from few factorisations.

The Hessian of a problem with curvatures ``h`` and ridge ``r``, its intercept eliminated, is

    X' (diag(h) - hh' / sum h) X + r I,    close to    sum(h) G + r I

with ``G`` the covariance of the rows weighted by the problems' mean curvature.  How close decides how many steps
conjugate gradients need, never what they find.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy.linalg.blas import dsyrk, ssyrk
from torch import Tensor

SMALL = 1 << 20
"""Elements up to which a matrix is worked on in float64 throughout."""
SLICE = 2048
"""Rows that are weighted at a time."""


class Preconditioner:
    """Approximate inverses of ``c G + r I`` for many ``r / c`` from few Cholesky factors, ``G = X' diag(w) X``.

    ``w`` is uniform to begin with and becomes the problems' mean curvature once the work that a worse ``G`` costs
    exceeds that of making another.  ``rho = r / c`` is rounded to powers of three: its condition
    pays at most that factor, and labels and folds share factors.
    """

    STEP = math.log(3.0)

    def __init__(self, matrix: Float[Tensor, "row d"]) -> None:
        small = matrix.numel() <= SMALL
        self.matrix = matrix.double() if small else matrix.float()
        self.exact = small or matrix.shape[1] <= 512
        self.refresh(torch.full((len(matrix),), 1 / max(1, len(matrix)), device=matrix.device))

    def refresh(self, weight: Float[Tensor, "row"]) -> None:
        """Take ``G`` for these row weights, which sum to one, about their mean (the intercept's share is left out)."""
        share = weight.clamp_min(0).to(self.matrix.dtype)
        gram = weighted_gram(self.matrix, share, share @ self.matrix)
        self.gram = gram.double() if self.exact else gram
        self.factors: dict[int, Tensor] = {}
        self.spent = 0

    def sharpen(self) -> None:
        """Go over to float64, for good; :attr:`matrix` with it."""
        if not self.exact or self.matrix.dtype != torch.float64:
            self.exact, self.matrix, self.gram = True, self.matrix.double(), self.gram.double()
            # Brings about a refresh at the next occasion.
            self.spent = 1 << 60

    def _factor(self, key: int) -> Tensor:
        if key not in self.factors:
            damped = self.gram.clone()
            # Below this the factor would be rounding noise in the weak directions.
            least = float(self.gram.diagonal().max()) * (1e-13 if self.exact else 1e-6)
            damped.diagonal().add_(max(math.exp(key * self.STEP), least))
            factor, failed = torch.linalg.cholesky_ex(damped)
            if failed:
                damped.diagonal().mul_(1 + (1e-10 if self.exact else 1e-4))
                factor, failed = torch.linalg.cholesky_ex(damped)
            self.factors[key] = torch.diag(self.gram.diagonal().clamp_min(1e-30).sqrt()) if failed else factor
        return self.factors[key]

    def keys(self, rho: Float[Tensor, "problem"]) -> list[int]:
        """The factor that each problem uses."""
        return [round(math.log(max(value, 1e-30)) / self.STEP) for value in rho.tolist()]

    def __call__(
        self, residual: Float[Tensor, "problem d"], keys: list[int], total: Float[Tensor, "problem"]
    ) -> Float[Tensor, "problem d"]:
        """Apply the approximate inverse of each problem's Hessian ``total G + r I`` to its row."""
        out = torch.empty_like(residual)
        for key in set(keys):
            chosen = torch.tensor([i for i, k in enumerate(keys) if k == key], device=residual.device)
            factor, part = self._factor(key), residual[chosen].to(self.gram.dtype).T
            # cholesky_solve would copy the factor at every call, which costs more than all the rest of the solver.
            inner = torch.linalg.solve_triangular(factor, part, upper=False)
            out[chosen] = torch.linalg.solve_triangular(factor.T, inner, upper=True).T.to(residual.dtype)
        return out / total[:, None]


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
