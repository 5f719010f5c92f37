r"""How far are confidences from how often they are right?  Brier score, calibration error, ranking, as functions.

For confidences :math:`q` and judgements :math:`c` in {0, 1}, with bins :math:`b` of :math:`q`,

.. math:: Brier = \mathrm{mean}\,(q - c)^2, \qquad
          ECE = \sum_b \frac{n_b}{n} \left| \overline{q}_b - \overline{c}_b \right|,

and AUROC, the chance that a right sample is surer than a wrong one (ties count half; 1/2 where all confidences are
equal). Ten bins of equal width, each closed on the left and the last on both sides: of the possible rules it is the one
that gives the published .188 of arXiv 2507.16806 on its own outputs. Adaptive bins hold equally many samples (edges as
scikit-learn's ``strategy="quantile"``).

An ECE is never zero in a sample: with few samples a bin is off by chance alone. :func:`ece_if_calibrated` says how
large it would be if every confidence were the true probability. The bootstrap inherits the same upward pull, so an
interval near zero lies too high; a difference between two models of like sample size does not.

Assumes samples of one problem stay together under resampling. What it does not show: calibration inside a bin.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

from probes.stats import stream
from probes.stats.contrast import Measured

BINS = 10
"""Bins of the published figures."""
AT_ONCE = 1 << 22
"""Numbers held at a time while draws are ranked."""


def width_bins(q: Float[np.ndarray, "sample"], bins: int = BINS) -> Int[np.ndarray, "sample"]:
    """The bin of each confidence among bins of equal width, closed on the left, the last on both sides."""
    return np.digitize(q, np.arange(1, bins) / bins)


def adaptive_bins(q: Float[np.ndarray, "sample"], bins: int = BINS) -> Int[np.ndarray, "sample"]:
    """The bin of each confidence among bins of equally many samples; equal confidences share a bin."""
    edges = np.percentile(q, np.linspace(0, 100, bins + 1)) if len(q) else np.zeros(bins + 1)
    return np.searchsorted(edges[1:-1], q).astype(np.int64)


def brier(q: Float[np.ndarray, "sample"], c: Float[np.ndarray, "sample"]) -> float:
    """The Brier score; NaN of no sample. It does not show whether a poor score is poor ranking or a wrong level."""
    return float(np.mean((q - c) ** 2)) if len(q) else math.nan


def ece(
    q: Float[np.ndarray, "sample"], c: Float[np.ndarray, "sample"], *, bins: int = BINS, adaptive: bool = False
) -> float:
    """The expected calibration error; NaN of no sample.

    It does not show the sign of the error, nor anything a constant confidence at the right level would not satisfy.
    """
    if not len(q):
        return math.nan
    held = adaptive_bins(q, bins) if adaptive else width_bins(q, bins)
    return float(np.abs(np.bincount(held, weights=q - c, minlength=bins)).sum() / len(q))


def ece_if_calibrated(
    q: Float[np.ndarray, "sample"], *, bins: int = BINS, adaptive: bool = False, n_draws: int = 500, seed: int = 0
) -> Float[np.ndarray, "draw"]:
    """ECE of as many samples with these confidences if each were right with exactly that probability.

    Args:
        q: the confidences.
        bins: number of bins.
        adaptive: bins of equally many samples.
        n_draws: simulated sets of judgements.
        seed: of the draws.

    Returns:
        one ECE a draw; empty for no sample.

    It does not show what dependence between samples of one problem adds: the draws are independent.
    """
    if not len(q):
        return np.zeros(0)
    held = adaptive_bins(q, bins) if adaptive else width_bins(q, bins)
    right = stream(seed, "calibrated", len(q)).random((n_draws, len(q))) < q
    inside = (held[:, None] == np.arange(bins)).astype(float)
    return np.asarray(np.abs((q - right) @ inside).sum(axis=1) / len(q))


def measured_means(
    q: Float[np.ndarray, "sample"], c: Float[np.ndarray, "sample"], codes: Int[np.ndarray, "sample"], names: list[str]
) -> dict[str, Measured]:
    """Accuracy, mean confidence, overconfidence and Brier score, pooled over samples, problem by problem.

    Args:
        q: confidences.
        c: judgements.
        codes: problem of each sample, a place in ``names``.
        names: of the problems.
    """
    size = np.bincount(codes, minlength=len(names)).astype(float)
    columns = {"accuracy": c, "confidence": q, "overconfidence": q - c, "brier": (q - c) ** 2}
    out = {}
    for name, values in columns.items():
        sums = np.bincount(codes, weights=values, minlength=len(names))
        table, within = np.stack([sums, size], axis=1), (-1.0 if name == "overconfidence" else 0.0, 1.0)
        out[name] = Measured.of_means(names, table, lambda part, whole: part / whole, within=within)
    return out


def measured_ece(
    q: Float[np.ndarray, "sample"],
    c: Float[np.ndarray, "sample"],
    codes: Int[np.ndarray, "sample"],
    names: list[str],
    *,
    bins: int = BINS,
    adaptive: bool = False,
) -> Measured:
    """:func:`ece` open to resampling; adaptive edges stay those of all samples."""
    held = adaptive_bins(q, bins) if adaptive else width_bins(q, bins)
    cells = np.bincount(codes * bins + held, weights=q - c, minlength=len(names) * bins)
    size = np.bincount(codes, minlength=len(names)).astype(float)
    table = np.concatenate([cells.reshape(len(names), bins), size[:, None]], axis=1)

    def statistic(*columns: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(np.stack(columns[:-1])).sum(axis=0) / columns[-1])

    return Measured.of_means(names, table, statistic)


def measured_auroc(
    q: Float[np.ndarray, "sample"], c: Float[np.ndarray, "sample"], codes: Int[np.ndarray, "sample"], names: list[str]
) -> Measured:
    """AUROC of confidence for being right, open to resampling; NaN where only one class is drawn."""
    levels, place = np.unique(q, return_inverse=True)
    shape = (len(names), len(levels))
    cells = [
        np.bincount(codes * len(levels) + place, weights=weight, minlength=shape[0] * shape[1]).reshape(shape)
        for weight in (c, 1 - c)
    ]
    step = max(1, AT_ONCE // max(1, len(levels)))

    def under(weights: Float[np.ndarray, "draw problem"]) -> Float[np.ndarray, "draw"]:
        parts = []
        for at in range(0, len(weights), step):
            right, wrong = (weights[at : at + step] @ one for one in cells)
            won = (right * (np.cumsum(wrong, axis=1) - wrong / 2)).sum(axis=1)
            pairs = right.sum(axis=1) * wrong.sum(axis=1)
            parts.append(np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0))
        return np.concatenate(parts) if parts else np.zeros(0)

    return Measured(tuple(names), under)
