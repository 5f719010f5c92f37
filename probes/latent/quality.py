"""What else to ask of out-of-fold log-odds: decisions, precision, calibration.

Balanced accuracy and average precision look at ranks and decisions, the Brier score and the expected calibration error
at the probabilities ``1 / (1 + exp(-score))``.  All are NaN where a class is missing.  They are descriptions without an
interval: what a claim rests on is the AUROC (:mod:`probes.latent.ranking`).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.special import expit


def quality(
    scores: Float[np.ndarray, "row"],
    labels: Float[np.ndarray, "row"],
    threshold: Float[np.ndarray, "row"],
    *,
    log_odds: bool = True,
) -> dict[str, float]:
    """Balanced accuracy, average precision, Brier score and expected calibration error.

    Args:
        scores: log-odds; rows without one are left out.
        labels: 0, 1, NaN.
        threshold: above it a row is called positive.
        log_odds: whether scores are; if not, Brier score and calibration are NaN.
    """
    kept = ~np.isnan(scores) & ~np.isnan(labels)
    z, y, limit = scores[kept], labels[kept] > 0, threshold[kept]
    names = ("balanced_accuracy", "average_precision", "brier", "ece")
    if y.all() or not y.any():
        return dict.fromkeys(names, math.nan)
    called = z > limit
    balanced = (called[y].mean() + (~called[~y]).mean()) / 2
    chance = expit(z)
    if not log_odds:
        chance = np.full(len(z), math.nan)
    values = (balanced, average_precision(z, y.astype(float)), np.mean((chance - y) ** 2), calibration_error(chance, y))
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def average_precision(scores: Float[np.ndarray, "row"], labels: Float[np.ndarray, "row"]) -> float:
    """Precision averaged over the positives, rows of equal score taken together."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(-scores[order]) > 0, True])
    found = np.cumsum(labels[order])[ends]
    precision = found / (ends + 1)
    return float(np.sum(np.diff(np.r_[0.0, found]) * precision) / labels.sum()) if labels.sum() else math.nan


def calibration_error(chance: Float[np.ndarray, "row"], labels: np.ndarray, *, bins: int = 10) -> float:
    """Mean distance of chance from share, over bins of equally many rows (Nixon et al. 2019, arXiv 1904.01685)."""
    order = np.argsort(chance, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(chance[p].mean() - labels[p].mean()) * len(p) for p in parts) / max(1, len(chance)))
