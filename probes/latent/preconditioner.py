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
from torch import Tensor

SMALL = 1 << 24
"""Elements up to which a Gram matrix is made in float64."""


class Preconditioner:
    """Approximate inverses of ``c G + r I`` for many ``r / c`` from few factorisations, ``G = X' diag(w) X``.

    ``w`` is uniform to begin with and becomes the problems' mean curvature once the work that a worse ``G`` costs
    exceeds that of making another.  With at least as many rows as columns ``G + rho I`` is factored, with fewer rows
    its Woodbury counterpart, so that the side is never larger than the smaller dimension.  ``rho`` is rounded to powers
    of three: the preconditioned system's condition pays at most that factor, and labels and folds share factors.
    """

    STEP = math.log(3.0)

    def __init__(self, matrix: Float[Tensor, "row d"]) -> None:
        self.matrix = matrix.float()
        self.refresh(torch.full((len(matrix),), 1 / max(1, len(matrix)), device=matrix.device))

    def refresh(self, weight: Float[Tensor, "row"]) -> None:
        """Take ``G`` for these row weights, which sum to one, about their mean (the intercept's share is left out)."""
        root = weight.clamp_min(0).float().sqrt()[:, None]
        scaled = (self.matrix - weight.float() @ self.matrix) * root
        self.tall = scaled.shape[0] >= scaled.shape[1]
        self.scaled = scaled
        side = scaled.double() if min(scaled.shape) <= 512 and scaled.numel() <= SMALL else scaled
        self.gram = side.T @ side if self.tall else side @ side.T
        if self.tall:
            del self.scaled
        self.factors: dict[int, Tensor] = {}
        self.spent = 0

    def _factor(self, key: int) -> Tensor:
        if key not in self.factors:
            damped = self.gram.clone()
            damped.diagonal().add_(math.exp(key * self.STEP))
            factor, failed = torch.linalg.cholesky_ex(damped)
            if failed:
                # float32 rounding can make a nearly singular Gram matrix indefinite.
                damped = damped.double()
                damped.diagonal().mul_(1 + 1e-6)
                factor, _ = torch.linalg.cholesky_ex(damped)
            self.factors[key] = factor.float()
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
            part = residual[chosen]
            if self.tall:
                solved = torch.cholesky_solve(part.T, self._factor(key)).T
            else:
                inner = torch.cholesky_solve((part @ self.scaled.T).T, self._factor(key)).T
                solved = (part - inner @ self.scaled) / math.exp(key * self.STEP)
            out[chosen] = solved
        return out / total[:, None]
