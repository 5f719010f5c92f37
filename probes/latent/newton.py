"""Many weighted logistic regressions on one matrix, advanced together to the optimum.

Problem ``p`` has row weights ``s``, weighted targets ``t`` (``0 <= t <= s``) and a diagonal penalty ``r``; it minimises

    f_p(v, b) = sum_i [ s_pi softplus(z_pi) - t_pi z_pi ] + 1/2 sum_j r_pj v_pj^2,    z_pi = x_i . v_p + b_p

over the coefficients and an unpenalised intercept.  Labels, folds, strengths, class weights and repeated rows are all
choices of ``s``, ``t`` and ``r``, so one matrix serves them all.  Every Newton system is solved by conjugate gradients
with the intercept eliminated exactly and preconditioned by one shared eigendecomposition
(:mod:`probes.latent.preconditioner`); a product with the Hessians of all problems is two matrix products.  Of large
matrices curvature is taken in float32; the gradients that decide when to stop are always float64.

Assumptions: each problem has weight on both sides (else its optimum is infinite and it is returned as NaN).
Method: Lin, Weng and Keerthi, "Trust region Newton method for large-scale logistic regression", JMLR 2008.
What it does not show: anything about held-out rows; this is an optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.latent.preconditioner import Preconditioner

CHUNK = 3 << 17
"""Elements of the matrix that are converted to float64 at a time: few enough to stay in the processor's cache."""
LONGEST = 100
"""Steps of conjugate gradients at most; Newton goes on from what they found."""


@dataclass(frozen=True)
class Solution:
    """Optima of a batch of problems, on the CPU or the device of the matrix, in float64."""

    coef: Float[Tensor, "problem d"]
    """Coefficients in the coordinates of the matrix that was given."""
    intercept: Float[Tensor, "problem"]
    """Unpenalised intercepts."""
    objective: Float[Tensor, "problem"]
    """Value of the penalised objective that was reached."""
    converged: Bool[Tensor, "problem"]
    """Whether the estimated relative distance to the optimum fell below the tolerance."""
    products: int
    """Products of the matrix with one vector, over all problems: the work that was done."""

    def part(self, problems: slice) -> Solution:
        """The optima of some of the problems (``products`` still counts all)."""
        kept = (self.coef[problems], self.intercept[problems], self.objective[problems], self.converged[problems])
        return Solution(*kept, self.products)

    @staticmethod
    def join(parts: Sequence[Solution]) -> Solution:
        """One batch of several, in their order."""
        names = ("coef", "intercept", "objective", "converged")
        coef, intercept, objective, converged = (torch.cat([getattr(one, name) for one in parts]) for name in names)
        return Solution(coef, intercept, objective, converged, parts[0].products)


def solve(
    matrix: Float[Tensor, "row d"],
    weight: Float[Tensor, "problem row"],
    target: Float[Tensor, "problem row"],
    penalty: Float[Tensor, "problem d"],
    *,
    start: tuple[Float[Tensor, "problem d"], Float[Tensor, "problem"]] | None = None,
    preconditioner: Preconditioner | None = None,
    tolerance: float = 3e-7,
    max_iter: int = 100,
) -> Solution:
    """Minimise every problem of a batch; shapes as in the module's equation.

    Args:
        matrix: rows, columns roughly centred (centring changes the intercept alone).  Given in float64, the optimum is
            that of the float64 numbers.
        weight: row weights ``s``; zero leaves a row out.
        target: ``t``, the part of each row's weight that is positive.
        penalty: ``r``, positive; best conditioned when its mean over problems is the same for each column.
        start: coefficients and intercepts to begin from, for instance the optimum at another strength.
        preconditioner: made from the same matrix, to share between calls.
        tolerance: estimated relative gap of the objective at which a problem stops.
        max_iter: Newton steps at most.

    Problems without weight on both sides come back as NaN.
    """
    batch, columns = penalty.shape
    total, positive = weight.sum(1, dtype=torch.float64), target.sum(1, dtype=torch.float64)
    proper = (positive > 0) & (positive < total)
    coef = torch.zeros(batch, columns, dtype=torch.float64, device=matrix.device)
    intercept = torch.logit((positive / total.clamp_min(1e-300)).clamp(1e-15, 1 - 1e-15))
    if start is not None:
        coef, intercept = start[0].double().clone(), start[1].double().clone()
    state = _Batch(matrix, preconditioner or Preconditioner(matrix), tolerance)
    objective = torch.full((batch,), math.nan, dtype=torch.float64, device=matrix.device)
    converged = torch.zeros(batch, dtype=torch.bool, device=matrix.device)
    active, near, trust = proper.clone(), torch.zeros_like(proper), torch.ones_like(intercept)
    for _ in range(2 * max_iter):
        if not active.any():
            break
        # Problems near their optimum wait for the others, so that float64 gradients are taken by all of them at once.
        exact = not bool((active & ~near).any())
        turn = (active if exact else active & ~near).nonzero()[:, 0]
        step = state.newton(weight[turn], target[turn], penalty[turn], coef[turn], intercept[turn], trust[turn], exact)
        trust[turn] = step.trust
        coef[turn], intercept[turn], objective[turn] = step.coef, step.intercept, step.objective
        converged[turn], near[turn] = step.done, near[turn] | step.near
        active[turn] = ~(step.done | step.stuck)
    coef[~proper], intercept[~proper] = math.nan, math.nan
    return Solution(coef, intercept, objective, converged, state.products)


@dataclass(frozen=True)
class _Step:
    coef: Tensor
    intercept: Tensor
    objective: Tensor
    trust: Tensor
    near: Tensor
    done: Tensor
    stuck: Tensor


class _Batch:
    """One Newton step of all active problems on one matrix."""

    def __init__(self, matrix: Tensor, preconditioner: Preconditioner, tolerance: float) -> None:
        self.matrix = matrix
        self.preconditioner, self.tolerance, self.products = preconditioner, tolerance, 0

    @property
    def quick(self) -> Tensor:
        """The matrix that curvature is taken with."""
        return self.preconditioner.matrix

    def _logits(self, coef: Tensor, exact: bool) -> Tensor:
        """``coef @ matrix.T``; in float64 a slice of rows at a time, so that no second copy of the matrix exists."""
        self.products += len(coef)
        if not exact:
            return coef.to(self.quick.dtype) @ self.quick.T
        rows = max(1, CHUNK // max(1, self.matrix.shape[1]))
        return torch.cat([coef @ part.double().T for part in self.matrix.split(rows)], dim=1)

    def _gradient(self, residual: Tensor, exact: bool) -> Tensor:
        """``residual @ matrix``, as :meth:`_logits`."""
        self.products += len(residual)
        if not exact:
            return (residual.to(self.quick.dtype) @ self.quick).double()
        rows = max(1, CHUNK // max(1, self.matrix.shape[1]))
        parts = zip(residual.split(rows, dim=1), self.matrix.split(rows))
        return torch.stack([r @ part.double() for r, part in parts]).sum(0)

    def newton(
        self,
        weight: Tensor,
        target: Tensor,
        penalty: Tensor,
        coef: Tensor,
        intercept: Tensor,
        trust: Tensor,
        exact: bool,
    ) -> _Step:
        """Gradient (in float64 if ``exact``), conjugate gradients, line search.

        ``trust`` is the smallest eigenvalue seen so far of the preconditioned Hessian: it turns the length of a
        residual into the gain that is left in it.
        """
        kind = torch.float64 if exact else self.quick.dtype
        weight, target = weight.to(kind), target.to(kind)
        logits = self._logits(coef, exact).add_(intercept[:, None])
        value = _objective(logits, weight, target, penalty, coef)
        chance = torch.sigmoid(logits)
        residual = weight * chance - target
        curvature = weight * chance * torch.sigmoid(-logits)
        total = curvature.sum(1, dtype=torch.float64).clamp_min(1e-300)
        offset = residual.sum(1, dtype=torch.float64) / total
        gradient = self._gradient(residual - curvature * offset[:, None].to(residual.dtype), exact) + penalty * coef
        direction, left, trust = self._conjugate(curvature, total, penalty, gradient, value, trust)
        change = self._logits(direction, False)
        shift = -offset - (curvature * change).sum(1, dtype=torch.float64) / total
        change += shift[:, None]
        # What the quadratic model promises; the intercept's own part is exact.
        decrement = 0.5 * (offset**2 * total - (gradient * direction).sum(1))
        size, trial, slack = torch.ones_like(value), value, 1e-12 if kind == torch.float64 else 1e-7
        for _ in range(40):
            reach = size[:, None]
            moved = torch.addcmul(logits, reach.to(logits.dtype), change)
            trial = _objective(moved, weight, target, penalty, coef + reach * direction)
            # Rounding of the sum must not look like a rise.
            bad = ~(trial <= value - 2e-4 * size * decrement + slack * value)
            if not bad.any():
                break
            size = torch.where(bad, size / 2, size)
        whole = size == 1
        # A model that foretold the gain well foretells the rest: what it missed bounds what a further step could win.
        foretold = left + (decrement - (value - trial)).abs() <= self.tolerance * value
        # At the limit of float64 the difference of two values says nothing, but a tiny promise does.
        tiny = left + decrement <= 0.1 * self.tolerance * value
        stuck = size < 1e-10
        size = torch.where(stuck, 0.0, size)
        return _Step(
            coef + size[:, None] * direction,
            intercept + size * shift,
            torch.where(stuck, value, trial),
            trust,
            near=whole & (decrement <= 1e-2 * value) | stuck,
            done=whole & (tiny | foretold & (decrement <= 1e-3 * value)) & exact,
            stuck=stuck & exact,
        )

    def _conjugate(
        self, curvature: Tensor, total: Tensor, penalty: Tensor, gradient: Tensor, value: Tensor, trust: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Solve ``H p = -gradient`` with the intercept eliminated; returns p, the gain left over, and ``trust``."""
        shared = self.preconditioner
        if shared.spent > 4 * self.quick.shape[1]:
            shared.refresh((curvature / total[:, None]).mean(0))
            trust = torch.full_like(trust, 0.5)
        damped = shared.damped(penalty.mean(1) / total)
        kind = self.quick.dtype
        heavy, ridge, mean = curvature.to(kind), penalty.to(kind), total.to(kind)
        # Unit length keeps float32 away from underflow; the solution is scaled back at the end.
        norm = gradient.norm(dim=1, keepdim=True).clamp_min(1e-300)
        residual = (-gradient / norm).to(kind)
        z = shared(residual, damped, mean)
        out, search = torch.zeros_like(residual), z
        rho = (residual * z).double().sum(1).abs()
        # Solve to a fraction that leaves less than the tolerance once the quadratic model is good.
        enough = 0.3 * self.tolerance * value * trust / (rho * norm[:, 0] ** 2).clamp_min(1e-300)
        goal = rho * enough.clamp(1e-10, 0.1)
        active, lengths, ratios = rho > goal, [], []
        for _ in range(LONGEST):
            if not active.any():
                break
            image = search @ self.quick.T
            image -= ((heavy * image).sum(1, dtype=torch.float64) / total).to(kind)[:, None]
            image = (heavy * image) @ self.quick + ridge * search
            shared.spent += 2 * len(search)
            self.products += 2 * int(active.sum())
            bend = (search * image).double().sum(1)
            active = active & (bend > 0)
            length = torch.where(active, rho / bend.clamp_min(1e-300), 0.0)
            out += length.to(kind)[:, None] * search
            residual -= length.to(kind)[:, None] * image
            z = shared(residual, damped, mean)
            following = torch.where(active, (residual * z).double().sum(1).abs(), rho)
            ratio = torch.where(active, following / rho.clamp_min(1e-300), 0.0)
            search = z + ratio.to(kind)[:, None] * search
            lengths.append(length)
            ratios.append(ratio)
            rho, active = following, active & (following > goal)
        if active.any():
            # Directions this weak are lost in float32.
            shared.sharpen()
        trust = torch.minimum(trust, _smallest_eigenvalue(lengths, ratios)) if lengths else trust
        return out.double() * norm, rho * norm[:, 0] ** 2 / (2 * trust), trust


def _smallest_eigenvalue(lengths: list[Tensor], ratios: list[Tensor]) -> Tensor:
    """Of the preconditioned matrix, as far as conjugate gradients met it: its Lanczos matrix, problem by problem."""
    length, ratio = torch.stack(lengths, 1), torch.stack(ratios, 1)
    done = length <= 0
    inverse = 1 / torch.where(done, 1.0, length)
    diagonal = inverse + torch.nn.functional.pad(ratio * inverse, (1, 0))[:, :-1]
    side = torch.where(done, 0.0, ratio.clamp_min(0).sqrt() * inverse)[:, :-1]
    # A problem that stopped early has its remaining places cut off from the rest and out of the way.
    diagonal = torch.where(done, diagonal.amax(1, keepdim=True), diagonal)
    side = torch.where(done[:, 1:], 0.0, side)
    lanczos = torch.diag_embed(diagonal) + torch.diag_embed(side, 1) + torch.diag_embed(side, -1)
    return torch.linalg.eigvalsh(lanczos)[:, 0].clamp(1e-8, 1.0)


def _objective(logits: Tensor, weight: Tensor, target: Tensor, penalty: Tensor, coef: Tensor) -> Tensor:
    loss = torch.nn.functional.softplus(logits, threshold=40.0).mul_(weight).addcmul_(target, logits, value=-1)
    return loss.sum(1, dtype=torch.float64) + 0.5 * (penalty * coef**2).sum(1)
