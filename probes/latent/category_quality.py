"""How good is a set of categories, without a judge?  Held-out reconstruction, silhouette, orthogonality, and a null.

    R^2           1 - sum |x - x'|^2 / sum |x - m|^2        on problems that the fit did not see, m the training mean
    silhouette    (b - a) / max(a, b)                        a, b mean distances to the own and the next category
    orthogonality mean over i < j of 1 - |cos(c_i, c_j)|      c_i the mean of category i

``x`` are centred vectors of length 1 (arXiv 2510.07364; Rousseeuw 1987 for the silhouette).  The autoencoder rebuilds
``x`` from three latents and k-means from one centre, so that their R^2 do not compare.  :func:`gaussian_twin` has the
mean and the covariance of the data and no categories: what a fit reaches there comes of the covariance alone.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from hooks.streams import stream
from probes.latent.clusters import Method, category_means, fit_clusterings
from probes.latent.splits import grouped_folds
from probes.stats import Column, Estimate, bootstrap_problems, bootstrap_weights, percentile_interval
from probes.stats.problems import problem_codes

SILHOUETTE_ROWS = 2000
"""Rows whose pairwise distances the silhouette takes."""


def held_out_r2(
    vectors: Float[np.ndarray, "row d"],
    problems: Column,
    n: int,
    *,
    method: Method,
    folds: int = 3,
    n_boot: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Share of the variance that a fit on other problems rebuilds, one seed a fold; NaN with fewer than two problems.

    It can be negative.  It does not show that the categories are the right ones: more categories rebuild more.
    """
    distinct = len(set(np.asarray(problems).astype(str)))
    if distinct < 2:
        return Estimate(np.nan, np.nan, np.nan, distinct, "one problem cannot be held out")
    parts = grouped_folds(problems, folds=min(folds, distinct), seed=seed)
    error, total = np.full(len(vectors), np.nan), np.full(len(vectors), np.nan)
    for fold in np.unique(parts):
        own, others = parts == fold, parts != fold
        if others.sum() < n:
            continue
        fit = fit_clusterings(vectors[others], n, method=method, seeds=[seed])[0]
        rows = fit.unit(vectors[own])
        error[own] = np.square(rows - fit.reconstruct(vectors[own])).sum(axis=1)
        total[own] = np.square(rows - fit.unit(vectors[others]).mean(axis=0)).sum(axis=1)
    return bootstrap_problems(
        {"error": error, "total": total}, problems, statistic=lambda e, t: 1 - e / t, n_boot=n_boot, seed=seed
    )


def silhouette(
    rows: Float[np.ndarray, "row d"],
    labels: Int[np.ndarray, "row"],
    problems: Column,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Mean silhouette of at most :data:`SILHOUETTE_ROWS` rows, with its interval; NaN with a single category.

    It does not show categories that are no blobs.
    """
    from sklearn.metrics import silhouette_samples

    kept = np.sort(stream(seed, "silhouette", len(rows)).permutation(len(rows))[:SILHOUETTE_ROWS])
    used = len(np.unique(labels[kept]))
    if not 2 <= used < len(kept):
        return Estimate(np.nan, np.nan, np.nan, 0, "fewer than two categories in use")
    values = silhouette_samples(rows[kept], labels[kept])
    return bootstrap_problems(values, np.asarray(problems)[kept], n_boot=n_boot, seed=seed)


def orthogonality(
    rows: Float[np.ndarray, "row d"],
    labels: Int[np.ndarray, "row"],
    n: int,
    problems: Column,
    *,
    n_boot: int = 200,
    seed: int = 0,
) -> Estimate:
    """Mean of 1 - |cos| over pairs of category means, with its interval; empty categories are left out.

    In a wide stream unrelated vectors are nearly orthogonal too, so that a high value shows little.
    """
    owners = problem_codes(problems, len(rows))[1]
    n_problems = int(owners.max(initial=-1)) + 1
    weights = bootstrap_weights(n_problems, n_boot=n_boot, seed=seed, label="orthogonality").astype(float)
    value = _apart(category_means(rows, labels, n))
    draws = np.array([_apart(category_means(rows, labels, n, own[owners])) for own in weights])
    # Means of resampled rows are noisier than those of the rows, which moves every draw the same way; only the spread
    # of the draws says how far the value would move with other problems.
    interval = percentile_interval(draws - np.nanmean(draws) + value, n=n_problems)
    method = f"bootstrap over problems, {n_boot} draws, centred on the value"
    return Estimate(value, interval.low, interval.high, n_problems, method)


def gaussian_twin(vectors: Float[np.ndarray, "row d"], *, seed: int = 0) -> Float[np.ndarray, "row d"]:
    """As many Gaussian rows with the mean and the covariance of ``vectors``, float32."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    spread, axes = np.linalg.eigh(np.cov(vectors.astype(np.float64), rowvar=False, ddof=0))
    drawn = stream(seed, "Gaussian twin", len(vectors)).standard_normal(vectors.shape)
    twin: np.ndarray = mean + (drawn * np.sqrt(spread.clip(min=0))) @ axes.T
    return twin.astype(np.float32)


def _apart(centres: Float[np.ndarray, "category d"]) -> float:
    length = np.linalg.norm(centres, axis=1)
    unit = centres[length > 0] / length[length > 0, None]
    if len(unit) < 2:
        return float("nan")
    cosines = np.abs(unit @ unit.T)[np.triu_indices(len(unit), k=1)]
    return float(np.mean(1 - cosines))
