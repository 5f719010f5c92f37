"""Steering vectors from labelled activations: where does the model's stream point when a strategy is about to come?

``mean``: the mean activation of the rows that have the label minus that of the rows that have not (Venhoff et al. 2025,
arXiv 2506.18167, with the other rows in place of the overall mean).  ``logistic``: the coefficients of an L2-penalised
logistic probe on standardised activations, put back into the coordinates of the stream.  ``lda``: the difference of
means times the inverse of the covariance within the two kinds of rows, shrunk (Ledoit and Wolf 2004, Journal of
Multivariate Analysis 88).  ``pca``: the first axis of paired differences (:mod:`probes.latent.pca`).  The last three
are given the length of the difference of means (``pca``: of the mean paired difference), so that doses compare.
Vectors trained by gradient are in :mod:`probes.latent.optimised`.

With ``against`` the two kinds of rows are the same places in two models, RL against base: what RL moved there.

The held-out score is the AUROC of the projection on problems that the vector was not made from (two halves, each scored
by the other's vector).  The shipped vector is made from all rows.

What it does not show: that adding the vector brings the strategy about; :mod:`probes.latent.steering` measures that.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.covariance import ledoit_wolf

from hooks.direction import Direction
from hooks.model import Model
from hooks.rollouts import Rollouts
from hooks.sites import Site
from probes.latent.labels import label_table
from probes.latent.logistic import logistic_path
from probes.latent.matrix import whole
from probes.latent.origins import source_of
from probes.latent.pca import paired_differences, principal_axis
from probes.latent.splits import grouped_folds
from probes.stats import Column, auroc
from probes.stats.problems import problem_codes

Kind = Literal["mean", "logistic", "lda", "pca"]


def direction(
    acts: Mapping[str, Any],
    mask: Any = None,
    *,
    site: str | Site,
    kind: Kind = "mean",
    against: Mapping[str, Any] | None = None,
    C: float = 0.1,
    label: str = "",
    origin: str | None = None,
    texts: Rollouts | None = None,
    model: Model | None = None,
    groups: Column | None = None,
    pairs: Column | None = None,
    seed: int = 0,
) -> Direction:
    """A direction from the rows of ``acts`` that have a label to those that have not, or to another model's same rows.

    Args:
        acts: activations in memory or an open store; its manifest names the model.
        mask: truth values, one a row; missing leaves a row out.  With ``against`` it chooses the rows, all by default.
        site: where.
        kind: difference of means, logistic, linear discriminant, or PCA of paired differences.
        against: activations of the other model (the base, where ``acts`` are RL's) at the same rows.
        C: inverse strength of the logistic probe.
        label: what the direction is of.
        origin: whose activations on whose text; worked out from ``acts``, ``model`` and ``texts`` by default.
        texts: the texts that were read, for the origin.
        model: the model that ``acts`` come from, for its weights' hash where the activations do not record it.
        groups: the problem of each row, for the held-out score; the column ``problem`` of ``acts.rows`` by default.
        pairs: for ``pca``, what rows of a pair share; the groups by default.
        seed: of the halves and of the pairs.

    Raises:
        ValueError: a label of one class only, one that fits the rows badly, or no pairs.

    It does not show that the model uses the direction.
    """
    table = _compared(acts, mask, site, against, groups, pairs, label)
    matrix, positive = table.matrix, table.positive
    if positive.all() or not positive.any():
        raise ValueError(f"label {label!r} is the same in all {len(positive)} rows; a direction needs both kinds")
    scores: dict[str, float | str | None] = {"rows": float(len(positive)), "positive": float(positive.sum())}
    if kind == "pca" and table.pairs is None:
        raise ValueError("PCA of paired differences needs to know what belongs together: give pairs or groups")
    if table.owners is not None:
        scores["held_out_auroc"] = held_out(
            matrix, positive, table.owners, kind=kind, C=C, pairs=table.pairs, seed=seed
        )
    source = source_of(acts, model, texts)
    other = None if against is None else source_of(against, None, texts)
    return Direction(
        vector=torch.from_numpy(_vector(matrix, positive, kind, C, table.pairs, seed)),
        site=Site.parse(str(site)),
        kind=kind,
        model=source.model,
        revision=source.revision,
        weights_hash=source.weights,
        origin=origin if origin is not None else source.origin(other),
        label=label,
        # With two models the vector is to be added to the second one's stream.
        typical_norm=float(np.median(np.linalg.norm(matrix if against is None else matrix[~positive], axis=1))),
        data_hash=hashlib.sha256(matrix.tobytes() + positive.tobytes()).hexdigest()[:16],
        scores=scores,
    )


@dataclass(frozen=True)
class _Compared:
    """The two kinds of rows."""

    matrix: Float[np.ndarray, "row d"]
    positive: Bool[np.ndarray, "row"]
    owners: Shaped[np.ndarray, "row"] | None
    """The problem of each row."""
    pairs: Int[np.ndarray, "row"] | None
    """What rows of a pair share."""


def _compared(
    acts: Mapping[str, Any],
    mask: Any,
    site: str | Site,
    against: Mapping[str, Any] | None,
    groups: Column | None,
    pairs: Column | None,
    label: str,
) -> _Compared:
    rows = whole(acts[str(site)]).float().numpy()
    if mask is None and against is None:
        raise ValueError("a direction needs a mask that says which rows have the label, or another model's rows")
    _, values = label_table({label or "label": np.ones(len(rows)) if mask is None else mask}, len(rows))
    known = ~np.isnan(values[0])
    table: pd.DataFrame = getattr(acts, "rows", pd.DataFrame())
    owners = groups if groups is not None else table.get("problem")
    owners = None if owners is None else np.asarray(owners)
    if against is None:
        shared = owners if pairs is None else np.asarray(pairs)
        codes = None if shared is None else problem_codes(shared, len(rows))[1][known]
        return _Compared(rows[known], values[0][known] > 0, None if owners is None else owners[known], codes)
    others = whole(against[str(site)]).float().numpy()
    if others.shape != rows.shape:
        raise ValueError(f"the two models have {rows.shape} and {others.shape} numbers at {site}; read the same rows")
    chosen = np.flatnonzero(known & (values[0] > 0))
    return _Compared(
        np.concatenate([rows[chosen], others[chosen]]),
        np.arange(2 * len(chosen)) < len(chosen),
        None if owners is None else np.tile(owners[chosen], 2),
        np.tile(np.arange(len(chosen)), 2),
    )


def held_out(
    matrix: Float[np.ndarray, "row d"],
    positive: Bool[np.ndarray, "row"],
    problems: Column,
    *,
    kind: Kind = "mean",
    C: float = 0.1,
    pairs: Int[np.ndarray, "row"] | None = None,
    seed: int = 0,
) -> float:
    """Mean AUROC of the projection over two halves of the problems, each scored by the other half's vector.

    NaN where a half holds one class only, or for ``pca`` no pair.  ``pairs``: what rows of a pair share, the problem by
    default.  Does not show causal use.
    """
    if len(set(np.asarray(problems))) < 2:
        return math.nan
    halves = grouped_folds(problems, folds=2, seed=seed)
    shared = problem_codes(problems, len(matrix))[1] if pairs is None else pairs
    scores = []
    for half in (0, 1):
        own = halves == half
        if positive[own].all() or not positive[own].any() or positive[~own].all() or not positive[~own].any():
            return math.nan
        if kind == "pca" and not len(paired_differences(matrix[~own], positive[~own], shared[~own], seed=seed)):
            return math.nan
        vector = _vector(matrix[~own], positive[~own], kind, C, shared[~own], seed)
        scores.append(auroc(matrix[own] @ vector, positive[own]))
    return float(np.mean(scores))


def _vector(
    matrix: Float[np.ndarray, "row d"],
    positive: Bool[np.ndarray, "row"],
    kind: Kind,
    C: float,
    pairs: Int[np.ndarray, "row"] | None,
    seed: int,
) -> Float[np.ndarray, "d"]:
    if kind == "pca":
        assert pairs is not None
        differences = paired_differences(matrix, positive, pairs, seed=seed)
        along = principal_axis(differences) * float(np.linalg.norm(differences.mean(axis=0)))
        return along.astype(np.float32)
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
