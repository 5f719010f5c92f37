"""Logistic regression along a path of strengths, at scikit-learn's optimum, all strengths in one go.

    minimise over (w, b):   C sum_i s_i log(1 + exp(-y_i (x_i . w + b))) + 1/2 |w|^2,      y_i = -1 or +1

This is ``sklearn.linear_model.LogisticRegression(C=C)`` (L2, intercept not penalised); the contract is a relative gap
of this objective of at most 1e-6, on well- and ill-conditioned, separable, imbalanced and degenerate data, with fewer
rows than columns too.  Strengths are solved from the strongest penalty on, each beginning where a stronger one ended
(:mod:`probes.latent.newton` does the work).
What it does not show: a good fit on the rows it was given says nothing about others; see :mod:`probes.latent.sweep`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from probes.latent.newton import Preconditioner, Solution, solve

ClassWeight = Literal["balanced"] | Mapping[int, float] | None
"""``"balanced"``: both classes weigh half; a mapping gives the factor of class 0 and of class 1."""

STRENGTHS: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Default values of C, weights summed over rows as in scikit-learn."""


@dataclass(frozen=True, eq=False)
class LogisticPath:
    """One fit for each strength."""

    C: Float[np.ndarray, "C"]
    """Inverse strengths of the penalty, in the order they were asked for."""
    coef: Float[np.ndarray, "C d"]
    """Coefficients in the coordinates of X."""
    intercept: Float[np.ndarray, "C"]
    """Unpenalised intercepts."""
    objective: Float[np.ndarray, "C"]
    """Value of the equation above that was reached."""
    converged: Bool[np.ndarray, "C"]
    """Whether the stopping rule was met."""

    def decision_function(self, X: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "C row"]:
        """Log-odds of the positive class, for each strength and row."""
        return self.coef @ np.asarray(X, dtype=float).T + self.intercept[:, None]


def logistic_path(
    X: Float[np.ndarray, "row d"] | Float[Tensor, "row d"],
    y: Shaped[np.ndarray, "row"] | Shaped[Tensor, "row"] | Sequence[bool] | Sequence[int],
    *,
    C: Sequence[float] | Float[np.ndarray, "C"] = STRENGTHS,
    class_weight: ClassWeight = None,
    sample_weight: Shaped[np.ndarray, "row"] | Sequence[float] | None = None,
    tolerance: float = 3e-7,
    device: str | torch.device | None = None,
) -> LogisticPath:
    """Fit one label at every strength in ``C``.

    Args:
        X: rows as they are; nothing is standardised here.  Float64 input is solved as float64.
        y: 0 and 1 (or False and True).
        C: inverse strengths, in any order.
        class_weight: see :data:`ClassWeight`; as in scikit-learn.
        sample_weight: one non-negative weight a row; a weight of 2 is the row twice.
        tolerance: estimated relative gap of the objective at which a fit stops.
        device: where to compute; the device of ``X`` by default.

    Raises:
        ValueError: for values that are not finite, labels of one class only, or strengths that are not positive.

    A coefficient is no measure of what a network uses.
    """
    matrix = torch.as_tensor(X) if device is None else torch.as_tensor(X).to(device)
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    positive, weight = _checked(matrix, y, sample_weight)
    weight = weight * class_factors(positive, weight, class_weight)
    strengths = np.asarray(C, dtype=float)
    if not len(strengths) or not (np.isfinite(strengths) & (strengths > 0)).all():
        raise ValueError(f"C needs at least one positive number, not {C}")
    kept = weight > 0
    mean = matrix[kept].double().mean(0)
    matrix = (matrix - mean).to(matrix.dtype)
    scale = torch.ones(1, matrix.shape[1], device=matrix.device)
    solutions = path(matrix, weight[None], (weight * positive)[None], scale, strengths, tolerance=tolerance)
    coef = torch.cat([one.coef for one in solutions])
    intercept = torch.cat([one.intercept for one in solutions]) - coef @ mean
    objective = torch.cat([one.objective for one in solutions]).cpu().numpy() * strengths
    converged = torch.cat([one.converged for one in solutions]).cpu().numpy()
    return LogisticPath(strengths, coef.cpu().numpy(), intercept.cpu().numpy(), objective, converged)


def path(
    matrix: Float[Tensor, "row d"],
    weight: Float[Tensor, "problem row"],
    target: Float[Tensor, "problem row"],
    scale: Float[Tensor, "problem d"],
    C: Float[np.ndarray, "C"],
    *,
    preconditioner: Preconditioner | None = None,
    tolerance: float = 3e-7,
) -> list[Solution]:
    """Many problems on one matrix (see :func:`probes.latent.newton.solve`), each at every strength, in C's order.

    ``scale`` is the squared length of a column in the coordinates in which the problem is penalised, so that folds
    standardised by their own rows share one matrix: the penalty is ``scale_j v_j^2 / (2 C)``.
    """
    if len(matrix) < matrix.shape[1]:
        return _wide_path(matrix, weight, target, scale, C, tolerance)
    shared = preconditioner or Preconditioner(matrix)
    order, problems = np.argsort(C, kind="stable"), len(weight)
    # A product with a handful of vectors costs nearly what one with sixty does: small batches take several strengths.
    at_once = max(1, 64 // problems)
    coef = torch.zeros_like(scale, dtype=torch.float64)
    intercept = torch.zeros(problems, dtype=torch.float64, device=matrix.device)
    found: dict[int, Solution] = {}
    for first in range(0, len(order), at_once):
        block = order[first : first + at_once]
        start = (coef.repeat(len(block), 1), intercept.repeat(len(block))) if first else None
        ridge = torch.cat([scale.double() / float(C[at]) for at in block])
        together = solve(
            matrix, weight.repeat(len(block), 1), target.repeat(len(block), 1), ridge,
            start=start, preconditioner=shared, tolerance=tolerance,
        )  # fmt: skip
        for place, at in enumerate(block.tolist()):
            found[at] = together.part(slice(place * problems, (place + 1) * problems))
        coef, intercept = found[int(block[-1])].coef.nan_to_num(), found[int(block[-1])].intercept.nan_to_num()
    return [found[at] for at in range(len(C))]


def at_strengths(
    matrix: Float[Tensor, "row d"],
    weight: Float[Tensor, "problem row"],
    target: Float[Tensor, "problem row"],
    scale: Float[Tensor, "problem d"],
    C: Float[Tensor, "problem"],
    preconditioner: Preconditioner | None = None,
) -> Solution:
    """As :func:`path`, but with one strength for each problem; a strength that is NaN counts as 1."""
    strengths = C.nan_to_num(1.0)
    if len(matrix) >= matrix.shape[1]:
        return solve(matrix, weight, target, scale / strengths[:, None], preconditioner=preconditioner)
    kept: list[Solution | None] = [None] * len(weight)
    for strength in strengths.unique():
        own = (strengths == strength).nonzero()[:, 0]
        found = path(matrix, weight[own], target[own], scale[own], np.array([float(strength)]))[0]
        for place, at in enumerate(own.tolist()):
            kept[at] = found.part(slice(place, place + 1))
    return Solution.join([one for one in kept if one is not None])


def _wide_path(
    matrix: Tensor, weight: Tensor, target: Tensor, scale: Tensor, C: np.ndarray, tolerance: float
) -> list[Solution]:
    """With fewer rows than columns the optimum lies in the span of the rows, which differs with the columns' scales.

    Each set of problems of one scale is solved in orthonormal coordinates of that span, as wide as there are rows.
    """
    coef = torch.zeros(len(C), *scale.shape, dtype=torch.float64, device=matrix.device)
    kept = torch.zeros(3, len(C), len(scale), dtype=torch.float64, device=matrix.device)
    products = 0
    kinds, which = torch.unique(scale, dim=0, return_inverse=True)
    for kind, squares in enumerate(kinds.double()):
        own = (which == kind).nonzero()[:, 0]
        basis, inside = torch.linalg.qr((matrix.double() / squares.sqrt()).T)
        square = inside.T.contiguous()
        ones = torch.ones(len(own), square.shape[1], device=matrix.device)
        for at, fit in enumerate(path(square, weight[own], target[own], ones, C, tolerance=tolerance)):
            coef[at, own] = fit.coef @ basis.T / squares.sqrt()
            kept[0, at, own], kept[1, at, own], kept[2, at, own] = fit.intercept, fit.objective, fit.converged.double()
            products += fit.products
    return [Solution(coef[at], kept[0, at], kept[1, at], kept[2, at] > 0, products) for at in range(len(C))]


def class_factors(
    positive: Float[Tensor, "row"], weight: Float[Tensor, "row"], class_weight: ClassWeight
) -> Float[Tensor, "row"]:
    """The factor that ``class_weight`` puts on each row's weight.

    Raises:
        ValueError: for a word other than "balanced" or a mapping without both classes.
    """
    if class_weight is None:
        return torch.ones_like(weight)
    if class_weight == "balanced":
        total, above = weight.sum(), (weight * positive).sum()
        zero, one = total / (2 * (total - above)), total / (2 * above)
    elif isinstance(class_weight, Mapping) and set(class_weight) >= {0, 1}:
        zero, one = (torch.tensor(float(class_weight[side]), device=weight.device) for side in (0, 1))
    else:
        raise ValueError(f"class_weight is None, 'balanced' or {{0: ..., 1: ...}}, not {class_weight!r}")
    return torch.where(positive > 0, one, zero).to(weight.dtype)


def _checked(matrix: Tensor, y: object, sample_weight: object) -> tuple[Tensor, Tensor]:
    rows = len(matrix)
    labels = np.asarray(y.cpu() if isinstance(y, Tensor) else y)
    if labels.shape != (rows,):
        raise ValueError(f"X has {rows} rows and y has the shape {labels.shape}; give one label a row")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 and 1; fit one label at a time, or use LinearProbe for other names")
    if not bool(matrix.isfinite().all()):
        raise ValueError("X has entries that are not finite; leave those rows out")
    weight = np.ones(rows) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if weight.shape != (rows,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("sample_weight needs one finite, non-negative number a row")
    present = {int(value) for value in labels[weight > 0]}
    if len(present) < 2:
        raise ValueError(f"y has {len(present)} class(es) among the rows with weight; a logistic fit needs both")
    device = matrix.device
    return torch.tensor(labels.astype(float), device=device), torch.tensor(weight, device=device)
