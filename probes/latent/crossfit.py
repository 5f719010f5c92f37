"""Cross-fitted logistic probes: every label, fold and strength on one site in one batch of fits.

For an outer fold ``o`` the strength is chosen on inner folds ``j``: a fit without ``o`` and ``j`` is scored on ``j`` by
its log loss.  A fit without the pair serves both as ``(o, j)`` and as ``(j, o)``, so ``F`` outer folds need at most
``F (F - 1) / 2`` inner fits at each strength.  The rows of ``o`` then get the score of the fit without ``o``, at a
strength chosen without them.  What it does not show: choosing among *sites* by these scores is a choice too, see
:mod:`probes.latent.sweep`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.latent.logistic import ClassWeight, at_strengths, class_factors, path
from probes.latent.matrix import SiteMatrix

ELEMENTS = 24_000_000
"""Weights (problems x rows) in one batch of fits: bounds memory to some hundreds of megabytes."""


@dataclass(frozen=True, eq=False)
class CrossFit:
    """Out-of-fold scores of all labels at one site."""

    scores: Float[np.ndarray, "label row"]
    """Log-odds from a fit that never saw the row's fold; NaN where the label does not apply or nothing could be fit."""
    threshold: Float[np.ndarray, "label row"]
    """Log-odds of the training rows' share of positives: above it a row is called positive."""
    C: Float[np.ndarray, "label fold"]
    """The strength each outer fold chose."""
    coef: Float[np.ndarray, "label fold d"]
    """Coefficients of the outer fits, in the coordinates of the activations."""
    intercept: Float[np.ndarray, "label fold"]
    """Their intercepts."""
    inner: Float[np.ndarray, "label fold"]
    """AUROC on the inner folds at the chosen strength: what another choice (of a site) may use."""


def crossfit(
    site: SiteMatrix,
    labels: Float[np.ndarray, "label row"],
    folds: Int[np.ndarray, "row"],
    *,
    C: Float[np.ndarray, "C"],
    inner: int = 2,
    class_weight: ClassWeight = None,
) -> CrossFit:
    """Fit all labels at a site.

    Args:
        site: the activations.
        labels: 1, 0, or NaN where a label does not apply to the row.
        folds: the fold of each row, from 0.
        C: strengths to choose among.
        inner: folds on which each outer fold chooses its strength; with one strength nothing has to be chosen.
        class_weight: as in scikit-learn, by each fit's own training rows.

    Does not check for leaks; :func:`probes.latent.splits.check_no_leak` does.
    """
    number = int(folds.max()) + 1
    left_out: list[tuple[int, ...]] = [(one,) for one in range(number)] + inner_pairs(number, inner)
    rows, columns = labels.shape[1], len(site.mean)
    out = CrossFit(
        np.full(labels.shape, math.nan), np.full(labels.shape, math.nan), np.full((len(labels), number), math.nan),
        np.full((len(labels), number, columns), math.nan), np.full((len(labels), number), math.nan),
        np.full((len(labels), number), math.nan),
    )  # fmt: skip
    for own, kept in _scopes(labels):
        part = site.within(kept)
        size = max(1, ELEMENTS // (len(left_out) * max(1, len(part))))
        for at in range(0, len(own), size):
            some = own[at : at + size]
            found = _batch(part, labels[np.ix_(some, kept)], folds[kept], left_out, C, class_weight)
            place = np.ix_(some, np.arange(rows)[kept])
            out.scores[place], out.threshold[place] = found[0], found[1]
            out.C[some], out.coef[some], out.intercept[some], out.inner[some] = found[2:]
    return out


def crossfit_at(
    site: SiteMatrix,
    labels: Float[np.ndarray, "label row"],
    folds: Int[np.ndarray, "row"],
    C: Float[np.ndarray, "label fold"],
    *,
    class_weight: ClassWeight = None,
) -> Float[np.ndarray, "label row"]:
    """Out-of-fold scores at strengths that are given, for instance those another label chose."""
    number = C.shape[1]
    left_out: list[tuple[int, ...]] = [(one,) for one in range(number)]
    out = np.full(labels.shape, math.nan)
    for own, kept in _scopes(labels):
        part = site.within(kept)
        size = max(1, ELEMENTS // (number * max(1, len(part))))
        for at in range(0, len(own), size):
            some = own[at : at + size]
            values = labels[np.ix_(some, kept)]
            weight, target, scale = _problems(part, values, folds[kept], left_out, class_weight)
            strengths = torch.from_numpy(C[some].reshape(-1)).to(scale)
            # The penalties differ from problem to problem, so this is no path.
            fitted = at_strengths(part.matrix, weight, target, scale, strengths, part.preconditioner)
            logits = part.logits(fitted.coef, fitted.intercept).reshape(len(some), number, -1).cpu().numpy()
            out[np.ix_(some, np.flatnonzero(kept))] = logits[:, folds[kept], part.inverse]
    return out


def inner_pairs(number: int, inner: int) -> list[tuple[int, ...]]:
    """Pairs of folds left out together, such that every fold is in ``inner`` of them or, if odd, in one more.

    Folds stand in a ring; neighbours at distance one are paired first, then those at distance two, and so on.
    """
    # Without two folds there is nothing left to train on.
    wanted = min(inner, number - 1) if number > 2 else 0
    pairs: dict[tuple[int, ...], None] = {}
    for distance in range(1, number):
        if all(sum(fold in pair for pair in pairs) >= wanted for fold in range(number)):
            break
        pairs.update({tuple(sorted((fold, (fold + distance) % number))): None for fold in range(number)})
    return list(pairs)


def _problems(
    site: SiteMatrix, labels: np.ndarray, folds: np.ndarray, left_out: list[tuple[int, ...]], class_weight: ClassWeight
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, targets and column scales of (label x left-out folds), labels outermost; every label applies."""
    trains = np.stack([~np.isin(folds, out) for out in left_out]).astype(float)
    total = site.totals(trains)
    scale = site.scales(total)
    weights, targets = [], []
    for label in labels:
        own, above = total, site.totals(trains * label)
        if class_weight is not None:
            sides = torch.stack([above.sum(1), total.sum(1) - above.sum(1)], dim=1)
            kinds = torch.tensor([1.0, 0.0]).to(sides)
            factors = torch.stack([class_factors(kinds, side, class_weight) for side in sides])
            above = factors[:, :1] * above
            own = above + factors[:, 1:] * (total - site.totals(trains * label))
        weights.append(own)
        targets.append(above)
    return torch.cat(weights), torch.cat(targets), scale.repeat(len(labels), 1)


def _batch(
    site: SiteMatrix,
    labels: np.ndarray,
    folds: np.ndarray,
    left_out: list[tuple[int, ...]],
    C: np.ndarray,
    class_weight: ClassWeight,
) -> tuple[np.ndarray, ...]:
    number, many = sum(len(out) == 1 for out in left_out), len(labels)
    weight, target, scale = _problems(site, labels, folds, left_out, class_weight)
    fits = path(site.matrix, weight, target, scale, C, preconditioner=site.preconditioner)
    logits = torch.stack([site.logits(fit.coef, fit.intercept) for fit in fits]).cpu().numpy()
    logits = logits.reshape(len(C), many, len(left_out), len(site))
    cells = [_cells(site, label, folds, number) for label in labels]
    chosen = np.zeros((many, number), dtype=np.int64)
    inner = np.full((many, number), math.nan)
    for at in range(many):
        for outer in range(number):
            chosen[at, outer], inner[at, outer] = _choose(logits[:, at], cells[at], left_out, outer)
    place = np.arange(many)[:, None], np.arange(number)[None, :]
    scores = logits[chosen, place[0], place[1]][:, folds, site.inverse]
    pick = (place[0] * len(left_out) + place[1]).reshape(-1)
    coef = torch.stack([fits[c].coef[p] for c, p in zip(chosen.reshape(-1), pick, strict=True)])
    intercept = torch.stack([fits[c].intercept[p] for c, p in zip(chosen.reshape(-1), pick, strict=True)])
    outside, shift = site.raw(coef, intercept)
    shares = (target.sum(1) / weight.sum(1)).reshape(many, len(left_out))[:, :number]
    threshold = torch.logit(shares.clamp(1e-9, 1 - 1e-9)).cpu().numpy()[:, folds]
    fitted = (outside.reshape(many, number, -1).numpy(), shift.reshape(many, number).numpy())
    return (scores, threshold, C[chosen], *fitted, inner)


def _cells(site: SiteMatrix, label: np.ndarray, folds: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Positive and negative rows of each fold behind each distinct row."""
    inside = np.stack([folds == one for one in range(number)]).astype(float)
    positive = site.totals(inside * (label == 1)).cpu().numpy()
    return positive, site.totals(inside * (label == 0)).cpu().numpy()


def _choose(
    logits: np.ndarray, cells: tuple[np.ndarray, np.ndarray], left_out: list[tuple[int, ...]], outer: int
) -> tuple[int, float]:
    """The strength with the least log loss on the inner folds of ``outer``, and its AUROC there."""
    losses, areas = [], []
    for at, out in enumerate(left_out):
        if len(out) < 2 or outer not in out:
            continue
        fold = out[0] if out[1] == outer else out[1]
        positive, negative = cells[0][fold], cells[1][fold]
        rows = np.flatnonzero(positive + negative)
        z, above, below = logits[:, at, rows], positive[rows], negative[rows]
        losses.append(np.logaddexp(0, -z) @ above + np.logaddexp(0, z) @ below)
        areas.append([_area(one, above, below) for one in z])
    if not losses or np.isnan(losses).all():
        return len(logits) // 2, math.nan
    best = int(np.argmin(np.nansum(losses, axis=0)))
    at_best = np.array(areas)[:, best]
    return best, float(np.nanmean(at_best)) if not np.isnan(at_best).all() else math.nan


def _area(z: np.ndarray, above: np.ndarray, below: np.ndarray) -> float:
    """AUROC of distinct rows that stand for ``above`` positive and ``below`` negative rows."""
    if np.isnan(z).any() or not above.sum() or not below.sum():
        return math.nan
    order = np.argsort(z, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(z[order]) > 0])
    up, down = np.add.reduceat(above[order], starts), np.add.reduceat(below[order], starts)
    return float((up * (np.cumsum(down) - down / 2)).sum() / (up.sum() * down.sum()))


def _scopes(labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Numbers of the labels that apply to the same rows, and these rows.

    Labels of one scope are fit together on their rows alone: rows that do not count would make the matrix longer and
    its curvature that of other problems.
    """
    known = ~np.isnan(labels)
    groups: dict[bytes, list[int]] = {}
    for at, own in enumerate(known):
        if own.any():
            groups.setdefault(own.tobytes(), []).append(at)
    return [(np.array(members), known[members[0]]) for members in groups.values()]
