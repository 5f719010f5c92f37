"""Steering vectors from labelled activations: where does the model's stream point when a strategy is about to come?

``mean``: the mean activation of the rows that have the label minus that of the rows that have not (Venhoff et al. 2025,
arXiv 2506.18167, with the other rows in place of the overall mean).  ``logistic``: the coefficients of an L2-penalised
logistic probe on standardised activations, put back into the coordinates of the stream.  ``lda``: the difference of
means times the inverse of the covariance within the two kinds of rows, shrunk (Ledoit and Wolf 2004, Journal of
Multivariate Analysis 88).  The last two are given the length of the difference of means, so that doses compare.

The held-out score is the AUROC of the projection on problems that the vector was not made from (two halves, each scored
by the other's vector).  The shipped vector is made from all rows.

What it does not show: that adding the vector brings the strategy about; :mod:`probes.latent.steering` measures that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from sklearn.covariance import ledoit_wolf

from hooks.direction import Direction
from hooks.sites import Site
from probes.latent.labels import label_table
from probes.latent.logistic import logistic_path
from probes.latent.matrix import whole
from probes.latent.splits import grouped_folds
from probes.stats import Column, auroc

Kind = Literal["mean", "logistic", "lda"]


def direction(
    acts: Mapping[str, Any],
    mask: Any,
    *,
    site: str | Site,
    kind: Kind = "mean",
    C: float = 0.1,
    label: str = "",
    origin: str = "base activations, base text",
    groups: Column | None = None,
    seed: int = 0,
) -> Direction:
    """A direction from the rows of ``acts`` that have a label to those that have not.

    Args:
        acts: activations in memory or an open store; its manifest names the model.
        mask: truth values, one a row; missing leaves a row out.
        site: where.
        kind: difference of means, logistic, or linear discriminant.
        C: inverse strength of the logistic probe.
        label: what the direction is of.
        origin: whose activations on whose text.
        groups: the problem of each row, for the held-out score; the column ``problem`` of ``acts.rows`` by default.
        seed: of the halves.

    Raises:
        ValueError: a label of one class only, or one that fits the rows badly.

    It does not show that the model uses the direction.
    """
    rows = whole(acts[str(site)]).float()
    _, values = label_table({label or "label": mask}, len(rows))
    known = ~np.isnan(values[0])
    matrix, positive = rows.numpy()[known], values[0][known] > 0
    if positive.all() or not positive.any():
        raise ValueError(f"label {label!r} is the same in all {len(positive)} rows; a direction needs both kinds")
    table: pd.DataFrame = getattr(acts, "rows", pd.DataFrame())
    owners = groups if groups is not None else table.get("problem")
    scores: dict[str, float | str | None] = {"rows": float(len(positive)), "positive": float(positive.sum())}
    if owners is not None:
        scores["held_out_auroc"] = held_out(matrix, positive, np.asarray(owners)[known], kind=kind, C=C, seed=seed)
    manifest = _model(acts)
    return Direction(
        vector=torch.from_numpy(_vector(matrix, positive, kind, C)),
        site=Site.parse(str(site)),
        kind=kind,
        model=str(manifest.get("model", "")),
        revision=manifest.get("revision"),
        weights_hash=str(manifest.get("weights", "")),
        origin=origin,
        label=label,
        typical_norm=float(np.median(np.linalg.norm(matrix, axis=1))),
        data_hash=hashlib.sha256(matrix.tobytes() + positive.tobytes()).hexdigest()[:16],
        scores=scores,
    )


def held_out(
    matrix: Float[np.ndarray, "row d"],
    positive: Bool[np.ndarray, "row"],
    problems: Column,
    *,
    kind: Kind = "mean",
    C: float = 0.1,
    seed: int = 0,
) -> float:
    """Mean AUROC of the projection over two halves of the problems, each scored by the other half's vector.

    NaN where a half holds one class only.  Does not show causal use.
    """
    if len(set(np.asarray(problems))) < 2:
        return math.nan
    halves = grouped_folds(problems, folds=2, seed=seed)
    scores = []
    for half in (0, 1):
        own = halves == half
        if positive[own].all() or not positive[own].any() or positive[~own].all() or not positive[~own].any():
            return math.nan
        scores.append(auroc(matrix[own] @ _vector(matrix[~own], positive[~own], kind, C), positive[own]))
    return float(np.mean(scores))


def _vector(
    matrix: Float[np.ndarray, "row d"], positive: Bool[np.ndarray, "row"], kind: Kind, C: float
) -> Float[np.ndarray, "d"]:
    apart = matrix[positive].mean(0, dtype=np.float64) - matrix[~positive].mean(0, dtype=np.float64)
    if kind == "mean":
        return apart.astype(np.float32)
    spread = matrix.std(0, dtype=np.float64)
    spread[spread == 0] = 1.0
    scaled = matrix / spread
    if kind == "lda":
        centred = scaled - np.where(positive[:, None], scaled[positive].mean(0), scaled[~positive].mean(0))
        fitted = np.linalg.solve(ledoit_wolf(centred, assume_centered=True)[0], apart / spread) / spread
    else:
        fitted = logistic_path(scaled.astype(np.float32), positive, C=[C]).coef[0] / spread
    length = float(np.linalg.norm(fitted)) or 1.0
    rescaled: np.ndarray = fitted * (float(np.linalg.norm(apart)) / length)
    return rescaled.astype(np.float32)


def _model(acts: Mapping[str, Any]) -> dict[str, Any]:
    """What the activations' manifest says of their model."""
    found = dict(getattr(acts, "manifest", {}) or {})
    sides = getattr(acts, "sides", ())
    if len(sides) == 1 and "sides" in found:
        found |= dict(found["sides"][str(next(iter(sides)))])
    return found
