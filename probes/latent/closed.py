"""Ridge and mass-mean probes of many labels, folds and strengths at one site, in closed form.

Problem ``p`` has row weights ``s`` and weighted targets ``t`` (the part of each weight that is positive), as in
:mod:`probes.latent.newton`.  *Ridge* is least squares on -1 and +1 about the weighted means,

    v = (G_p + diag(r_p))^-1 X_c' diag(s) y,        G_p = X_c' diag(s) X_c,        r_p = scale_p / C,

so all problems with one set of weights share a Gram matrix and, at one strength, its Cholesky factor; the Gram matrices
of folds are sums of the same few blocks of rows.  *Mass-mean* points from one class mean to the other on standardised
columns (Marks and Tegmark 2023, arXiv 2310.06824) and has no strength.  Both get scale and threshold as log-odds from a
one-dimensional logistic fit on the training rows, as :class:`probes.latent.probe.LinearProbe` does.

Problems without weight on both sides come back as NaN.  What it does not show: anything about held-out rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.latent.matrix import SiteMatrix
from probes.latent.preconditioner import weighted_gram

SLOPE = 100.0
"""Inverse strength of the one-dimensional fit: its mild penalty keeps separated classes finite."""


def ridge(
    site: SiteMatrix,
    weight: Float[Tensor, "problem row"],
    target: Float[Tensor, "problem row"],
    scale: Float[Tensor, "problem d"],
    C: Float[Tensor, "problem strength"],
) -> list[tuple[Float[Tensor, "problem d"], Float[Tensor, "problem"]]]:
    """Coefficients and intercepts of the log-odds, a pair a strength, in the coordinates of the site's matrix."""
    coef = torch.zeros(C.shape[1], *scale.shape, dtype=torch.float64, device=scale.device)
    # Labels that apply to the same rows with the same weights are right-hand sides of one system.
    kinds, which = torch.unique(weight, dim=0, return_inverse=True)
    narrow = len(site) >= scale.shape[1]
    systems = _grams(site.matrix, kinds) if narrow else ((None, None) for _ in kinds)
    for kind, (gram, _) in enumerate(systems):
        own = (which == kind).nonzero()[:, 0]
        share = kinds[kind] / kinds[kind].sum().clamp_min(1e-300)
        # With weights s and positive parts t the weighted target s y is 2t - s; its mean is taken out.
        pull = 2 * target[own] - kinds[kind]
        pull = pull - pull.sum(1, keepdim=True) * share
        for strength in C[own].unique():
            at = C[own] == strength
            chosen = at.any(1).nonzero()[:, 0]
            penalty = scale[own[0]] / float(strength)
            if gram is not None:
                found = _primal(site.matrix, gram, penalty, pull[chosen])
            else:
                found = _dual(site.matrix, kinds[kind], penalty, pull[chosen])
            for place, row in enumerate(chosen.tolist()):
                coef[at[row].nonzero()[:, 0], own[row]] = found[place]
    return [(own, level) for own, level in (calibrated(site, one, weight, target) for one in coef)]


def mass_mean(
    site: SiteMatrix,
    weight: Float[Tensor, "problem row"],
    target: Float[Tensor, "problem row"],
    scale: Float[Tensor, "problem d"],
) -> tuple[Float[Tensor, "problem d"], Float[Tensor, "problem"]]:
    """Coefficients and intercepts of the log-odds, in the coordinates of the site's matrix."""
    sides = [part / part.sum(1, keepdim=True).clamp_min(1e-300) for part in (target, weight - target)]
    above, below = (_times(site.matrix, part) for part in sides)
    return calibrated(site, (above - below) / scale, weight, target)


def calibrated(
    site: SiteMatrix,
    coef: Float[Tensor, "problem d"],
    weight: Float[Tensor, "problem row"],
    target: Float[Tensor, "problem row"],
) -> tuple[Float[Tensor, "problem d"], Float[Tensor, "problem"]]:
    """Scale and threshold of a direction, so that its projection is the log-odds of the label on the rows with weight.

    The projection, in units of its standard deviation, is the one column of a logistic fit at the strength
    :data:`SLOPE`, for all problems at once.
    """
    total = weight.sum(1, keepdim=True).clamp_min(1e-300)
    score = torch.cat([coef @ part.double().T for part in site.matrix.split(2048)], dim=1)
    mean = (weight * score).sum(1, keepdim=True) / total
    spread = ((weight * (score - mean) ** 2).sum(1, keepdim=True) / total).sqrt()
    spread = torch.where(spread > 0, spread, 1.0)
    slope, level = _line((score - mean) / spread, weight, target)
    slope = slope / spread[:, 0]
    positive = target.sum(1)
    proper = (positive > 0) & (positive < weight.sum(1))
    slope, level = torch.where(proper, slope, torch.nan), torch.where(proper, level - slope * mean[:, 0], torch.nan)
    return slope[:, None] * coef, level


def _line(score: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Slope (penalised by 1 / (2 SLOPE)) and intercept of each problem's one-dimensional fit, by damped Newton."""
    slope = torch.zeros(len(score), dtype=torch.float64, device=score.device)
    share = (target.sum(1) / weight.sum(1).clamp_min(1e-300)).clamp(1e-12, 1 - 1e-12)
    level = torch.logit(share)

    def value(slope: Tensor, level: Tensor) -> Tensor:
        z = slope[:, None] * score + level[:, None]
        loss = weight * torch.nn.functional.softplus(z, threshold=40.0) - target * z
        return loss.sum(1) + 0.5 * slope**2 / SLOPE

    here = value(slope, level)
    for _ in range(60):
        chance = torch.sigmoid(slope[:, None] * score + level[:, None])
        residual, bend = weight * chance - target, weight * chance * (1 - chance)
        g0, g1 = residual.sum(1), (residual * score).sum(1) + slope / SLOPE
        h0, h1 = bend.sum(1).clamp_min(1e-300), (bend * score).sum(1)
        h2 = (bend * score**2).sum(1) + 1 / SLOPE
        # The intercept is eliminated; what is left of the slope's curvature is at least its penalty.
        rest = (h2 - h1**2 / h0).clamp_min(1 / SLOPE)
        up = -(g1 - h1 * g0 / h0) / rest
        over = -(g0 + h1 * up) / h0
        size, gain = torch.ones_like(up), -(g1 * up + g0 * over)
        for _ in range(40):
            there = value(slope + size * up, level + size * over)
            bad = ~(there <= here - 1e-4 * size * gain + 1e-13 * here.abs())
            if not bad.any():
                break
            size = torch.where(bad, size / 2, size)
        slope, level, here = slope + size * up, level + size * over, there
        if bool((gain <= 1e-14 * here.abs()).all()):
            break
    return slope, level


def _times(matrix: Tensor, weight: Tensor) -> Tensor:
    """``weight @ matrix`` in float64, a slice of rows at a time."""
    parts = zip(weight.split(2048, dim=1), matrix.split(2048), strict=True)
    return torch.stack([own @ part.double() for own, part in parts]).sum(0)


def _grams(matrix: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each set of row weights its Gram matrix about its mean, and that mean, float64.

    Rows whose weights are proportional over all the sets (those of one fold, say) form a block; each set's Gram matrix
    is a sum of blocks.  Where this saves nothing, each is made on its own.
    """
    blocks, pattern, size = _blocks(weights)
    means = _times(matrix, weights / weights.sum(1, keepdim=True).clamp_min(1e-300))
    parts = []
    for block in range(pattern.shape[1]) if pattern is not None else ():
        rows = (blocks == block).nonzero()[:, 0]
        parts.append(_gram(matrix, rows, size[rows], torch.zeros_like(means[0])))
    for at, (weight, mean) in enumerate(zip(weights, means, strict=True)):
        if pattern is None:
            rows = weight.nonzero()[:, 0]
            yield _gram(matrix, rows, weight[rows], mean), mean
            continue
        gram = -weight.sum() * torch.outer(mean, mean)
        for share, part in zip(pattern[at].tolist(), parts, strict=True):
            if share:
                gram.add_(part, alpha=share)
        yield gram, mean


def _blocks(weights: Tensor) -> tuple[Int[Tensor, "row"], Tensor | None, Tensor]:
    """The block of each row, each set's share of each block, and the largest weight of each row."""
    size = weights.amax(0)
    # Rounded, because proportional weights differ in their last digits.
    shares = (weights / size.clamp_min(1e-300)).mul(1e12).round().div(1e12)
    pattern, blocks = torch.unique(shares, dim=1, return_inverse=True)
    worth = pattern.shape[1] <= max(2, 2 * len(weights))
    return blocks, pattern if worth else None, size


def _gram(matrix: Tensor, rows: Tensor, weight: Tensor, mean: Tensor) -> Tensor:
    out = torch.zeros(matrix.shape[1], matrix.shape[1], dtype=torch.float64, device=matrix.device)
    for own, part in zip(rows.split(2048), weight.split(2048), strict=True):
        out += weighted_gram(matrix[own].double(), part, mean)
    return out


def _primal(matrix: Tensor, gram: Tensor, penalty: Tensor, pull: Tensor) -> Tensor:
    damped = gram.clone()
    damped.diagonal().add_(penalty)
    factor = torch.linalg.cholesky(damped)
    inner = torch.linalg.solve_triangular(factor, _times(matrix, pull).T, upper=False)
    return torch.linalg.solve_triangular(factor.T, inner, upper=True).T


def _dual(matrix: Tensor, weight: Tensor, penalty: Tensor, pull: Tensor) -> Tensor:
    """With fewer rows than columns the system has the size of the rows: ``(s^1/2 K s^1/2 + I) a = s^-1/2 pull``."""
    rows = weight.nonzero()[:, 0]
    own = weight[rows]
    mean = (own / own.sum().clamp_min(1e-300)) @ matrix[rows].double()
    side = (matrix[rows].double() - mean) * own.sqrt()[:, None]
    inside = side / penalty
    kernel = inside @ side.T
    kernel.diagonal().add_(1.0)
    found = torch.cholesky_solve((pull[:, rows] / own.sqrt()).T, torch.linalg.cholesky(kernel))
    return found.T @ inside
