"""Cross-fitted linear probes: every label, fold and strength on one site in one batch of fits.

For an outer fold ``o`` the strength is chosen on inner folds ``j``: a fit without ``o`` and ``j`` is scored on ``j`` by
its log loss.  A fit without the pair serves both as ``(o, j)`` and as ``(j, o)``, so ``F`` outer folds need at most
``F (F - 1) / 2`` inner fits at each strength.  The rows of ``o`` then get the score of the fit without ``o``, at a
strength chosen without them.  What it does not show: choosing among *sites* by these scores is a choice too, see
:mod:`probes.latent.sweep`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.latent.closed import mass_mean, ridge
from probes.latent.logistic import ClassWeight, at_strengths, class_factors, path
from probes.latent.matrix import SiteMatrix

Linear = Literal["logistic", "ridge", "mass_mean"]
"""The kinds of :class:`probes.latent.probe.LinearProbe`; ``mass_mean`` has no strength, its ``C`` is NaN."""
Choice = tuple[int, float]
"""The number of a strength, and its AUROC on the inner folds."""
Cell = Float[np.ndarray, "fold distinct"]
Cells = tuple[Cell, Cell, Cell, Cell]
"""Positive and negative rows of each fold behind each distinct row: how many, and their weights."""

ELEMENTS = 1_000_000
"""Weights (problems x rows) in one batch of fits, or a sixteenth of the site's matrix: a dozen such arrays are at work
at once, and they should need no more memory than the matrix does."""


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
    weight: Float[np.ndarray, "row"] | None = None,
    kind: Linear = "logistic",
) -> CrossFit:
    """Fit all labels at a site.

    Args:
        site: the activations.
        labels: 1, 0, or NaN where a label does not apply to the row.
        folds: the fold of each row, from 0.
        C: strengths to choose among.
        inner: folds on which each outer fold chooses its strength; with one strength nothing has to be chosen.
        class_weight: as in scikit-learn, by each fit's own training rows.
        weight: of each row, in the fits and in the choice of strength (not in the AUROC).
        kind: which probe.

    Does not check for leaks; :func:`probes.latent.splits.check_no_leak` does.
    """
    number = int(folds.max()) + 1
    C = np.array([math.nan]) if kind == "mass_mean" else C
    left_out: list[tuple[int, ...]] = [(one,) for one in range(number)] + inner_pairs(number, inner)
    rows, columns = labels.shape[1], len(site.mean)
    out = CrossFit(
        np.full(labels.shape, math.nan), np.full(labels.shape, math.nan), np.full((len(labels), number), math.nan),
        np.full((len(labels), number, columns), math.nan), np.full((len(labels), number), math.nan),
        np.full((len(labels), number), math.nan),
    )  # fmt: skip
    for own, kept in _scopes(labels):
        part = site.within(kept)
        setup = Weights(folds[kept], left_out, class_weight, None if weight is None else weight[kept])
        size = _at_once(part, len(left_out))
        for at in range(0, len(own), size):
            some = own[at : at + size]
            found = _batch(part, labels[np.ix_(some, kept)], setup, C, kind)
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
    weight: Float[np.ndarray, "row"] | None = None,
    kind: Linear = "logistic",
) -> Float[np.ndarray, "label row"]:
    """Out-of-fold scores at strengths that are given, for instance those another label chose."""
    number = C.shape[1]
    left_out: list[tuple[int, ...]] = [(one,) for one in range(number)]
    out = np.full(labels.shape, math.nan)
    for own, kept in _scopes(labels):
        part = site.within(kept)
        setup = Weights(folds[kept], left_out, class_weight, None if weight is None else weight[kept])
        size = _at_once(part, number)
        for at in range(0, len(own), size):
            some = own[at : at + size]
            problems = setup.problems(part, labels[np.ix_(some, kept)])
            strengths = torch.from_numpy(C[some].reshape(-1)).to(problems[2])
            logits = part.logits(*_at(part, problems, strengths, kind)).reshape(len(some), number, -1).cpu().numpy()
            out[np.ix_(some, np.flatnonzero(kept))] = logits[:, folds[kept], part.inverse]
    return out


def _at_once(site: SiteMatrix, fits: int) -> int:
    """Labels in one batch."""
    return max(1, max(ELEMENTS, site.matrix.numel() // 16) // (fits * max(1, len(site))))


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


@dataclass(frozen=True, eq=False)
class Weights:
    """Which rows count how much in which fit."""

    folds: Int[np.ndarray, "row"]
    """The fold of each row."""
    left_out: list[tuple[int, ...]]
    """The folds that each fit does not see."""
    class_weight: ClassWeight
    """As in scikit-learn."""
    weight: Float[np.ndarray, "row"] | None
    """Of each row; None is one."""

    def problems(self, site: SiteMatrix, labels: Float[np.ndarray, "label row"]) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, targets and column scales of (label x left-out folds), labels outermost; every label applies."""
        trains = np.stack([~np.isin(self.folds, out) for out in self.left_out]).astype(float)
        trains = trains if self.weight is None else trains * self.weight
        total = site.totals(trains)
        scale = site.scales(total)
        weights, targets = [], []
        for label in labels:
            own, above = total, site.totals(trains * label)
            if self.class_weight is not None:
                sides = torch.stack([above.sum(1), total.sum(1) - above.sum(1)], dim=1)
                kinds = torch.tensor([1.0, 0.0]).to(sides)
                factors = torch.stack([class_factors(kinds, side, self.class_weight) for side in sides])
                above = factors[:, :1] * above
                own = above + factors[:, 1:] * (total - site.totals(trains * label))
            weights.append(own)
            targets.append(above)
        return torch.cat(weights), torch.cat(targets), scale.repeat(len(labels), 1)


def _along(
    site: SiteMatrix, problems: tuple[Tensor, Tensor, Tensor], C: np.ndarray, kind: Linear
) -> list[tuple[Tensor, Tensor]]:
    """Coefficients and intercepts of all problems, strength by strength."""
    if kind == "logistic":
        return [
            (fit.coef, fit.intercept) for fit in path(site.matrix, *problems, C, preconditioner=site.preconditioner)
        ]
    if kind == "ridge":
        return ridge(site, *problems, torch.from_numpy(C).to(problems[2]).repeat(len(problems[0]), 1))
    return [mass_mean(site, *problems)]


def _at(site: SiteMatrix, problems: tuple[Tensor, Tensor, Tensor], C: Tensor, kind: Linear) -> tuple[Tensor, Tensor]:
    """The same with one strength for each problem: the penalties differ, so this is no path."""
    if kind == "logistic":
        fitted = at_strengths(site.matrix, *problems, C, site.preconditioner)
        return fitted.coef, fitted.intercept
    return ridge(site, *problems, C.nan_to_num(1.0)[:, None])[0] if kind == "ridge" else mass_mean(site, *problems)


def _batch(site: SiteMatrix, labels: np.ndarray, setup: Weights, C: np.ndarray, kind: Linear) -> tuple[np.ndarray, ...]:
    left_out, folds = setup.left_out, setup.folds
    number, many = sum(len(out) == 1 for out in left_out), len(labels)
    problems = setup.problems(site, labels)
    fits = _along(site, problems, C, kind)
    logits = torch.stack([site.logits(*fit) for fit in fits]).cpu().numpy()
    logits = logits.reshape(len(C), many, len(left_out), len(site))
    chosen = np.zeros((many, number), dtype=np.int64)
    inner = np.full((many, number), math.nan)
    for at, label in enumerate(labels):
        cells = cells_of(label, folds, number, setup.weight, site)
        for outer in range(number):
            chosen[at, outer], inner[at, outer] = choose(logits[:, at], cells, left_out, outer)
    place = np.arange(many)[:, None], np.arange(number)[None, :]
    scores = logits[chosen, place[0], place[1]][:, folds, site.inverse]
    pick = (place[0] * len(left_out) + place[1]).reshape(-1)
    coef, intercept = (
        torch.stack([fits[c][part][p] for c, p in zip(chosen.reshape(-1), pick, strict=True)]) for part in (0, 1)
    )
    outside, shift = site.raw(coef, intercept)
    shares = (problems[1].sum(1) / problems[0].sum(1)).reshape(many, len(left_out))[:, :number]
    threshold = torch.logit(shares.clamp(1e-9, 1 - 1e-9)).cpu().numpy()[:, folds]
    fitted = (outside.reshape(many, number, -1).numpy(), shift.reshape(many, number).numpy())
    return (scores, threshold, C[chosen], *fitted, inner)


def cells_of(
    label: Float[np.ndarray, "row"],
    folds: Int[np.ndarray, "row"],
    number: int,
    weight: Float[np.ndarray, "row"] | None = None,
    site: SiteMatrix | None = None,
) -> Cells:
    """What stands behind each distinct row of a site, or behind each row without one."""
    inside = np.stack([folds == one for one in range(number)]).astype(float)

    def added(rows: np.ndarray) -> np.ndarray:
        return rows if site is None else site.totals(rows).cpu().numpy()

    above, below = added(inside * (label == 1)), added(inside * (label == 0))
    if weight is None:
        return above, below, above, below
    return above, below, added(inside * (label == 1) * weight), added(inside * (label == 0) * weight)


def choose(
    logits: Float[np.ndarray, "C fit distinct"],
    cells: Cells,
    left_out: list[tuple[int, ...]],
    outer: int,
    *,
    by_area: bool = False,
) -> Choice:
    """The strength with the least log loss (or the largest AUROC) on the inner folds of ``outer``, and its AUROC."""
    losses, areas = [], []
    for at, out in enumerate(left_out):
        if len(out) < 2 or outer not in out:
            continue
        fold = out[0] if out[1] == outer else out[1]
        positive, negative, heavy, light = (cell[fold] for cell in cells)
        rows = np.flatnonzero(positive + negative)
        z = logits[:, at, rows]
        with np.errstate(invalid="ignore"):
            losses.append(np.logaddexp(0, -z) @ heavy[rows] + np.logaddexp(0, z) @ light[rows])
        areas.append([_area(one, positive[rows], negative[rows]) for one in z])
    if not losses or np.isnan(losses).all():
        return len(logits) // 2, math.nan
    if by_area:
        losses = [[-one for one in row] for row in areas]
    total = np.nansum(losses, axis=0)
    best = int(np.argmin(total))
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
