"""Sentence vectors into categories: the sparse autoencoder or k-means, fitted with several seeds.

Vectors are centred by the mean and scaled to length 1 first; the mean is part of the fit, so that other texts (held-out
ones, or another model's) are put into the same categories by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from hooks.streams import stream
from probes.latent.sparse_autoencoder import SparseAutoencoder, fit_autoencoders

Method = Literal["sae", "kmeans"]
RESTARTS = 4
"""Starts of k-means, of which the best is kept."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """One fitted clustering, and how to put any vector into its categories."""

    method: Method
    mean: Float[np.ndarray, "d"]
    """Of the vectors it was fitted on."""
    centres: Float[np.ndarray, "category d"]
    """Mean of each category's members, centred and of length 1 before the mean; zero for a category without any."""
    order: Int[np.ndarray, "category"]
    """The method's own number of each category; the largest category comes first."""
    model: SparseAutoencoder | Float[np.ndarray, "category d"]
    """The autoencoder, or the centres of k-means."""

    def unit(self, vectors: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row d"]:
        """The vectors, centred by this fit's mean and of length 1."""
        return unit_rows(vectors - self.mean)

    def categories(self, vectors: Float[np.ndarray, "row d"]) -> Int[np.ndarray, "row"]:
        """The category of each vector, 0 for the largest one."""
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(self.order))
        return place[_assigned(self.model, self.unit(vectors))]

    def reconstruct(self, vectors: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row d"]:
        """What the fit makes of the vectors, in centred coordinates of length 1: the autoencoder's output, or the
        nearest centre.
        """
        rows = self.unit(vectors)
        if isinstance(self.model, SparseAutoencoder):
            return self.model.reconstruct(rows)
        return self.model[_assigned(self.model, rows)]


def fit_clusterings(
    vectors: Float[np.ndarray, "row d"], n: int, *, method: Method, seeds: Sequence[int], **options: Any
) -> list[Clustering]:
    """Fit ``n`` categories once for each seed.

    Args:
        vectors: as they were read; centred and scaled here.
        n: categories.
        method: ``sae`` (:mod:`probes.latent.sparse_autoencoder`) or ``kmeans`` (scikit-learn, the best of
            :data:`RESTARTS` starts).
        seeds: name the random streams.
        **options: of :func:`probes.latent.sparse_autoencoder.fit_autoencoders`.

    Raises:
        ValueError: for an unknown method, or fewer rows than categories.

    It does not show that the categories exist.
    """
    if method not in ("sae", "kmeans"):
        raise ValueError(f"there is no method {method!r}; methods are sae and kmeans")
    if not 2 <= n <= len(vectors):
        raise ValueError(f"{len(vectors)} sentences cannot be put into {n} categories; there must be 2 or more")
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows = unit_rows(vectors.astype(np.float32) - mean)
    fitted: list[Any]
    if method == "sae":
        fitted = list(fit_autoencoders(rows, n, seeds=seeds, **options))
    else:
        fitted = [_kmeans(rows, n, seed) for seed in seeds]
    return [_clustering(method, mean, rows, n, model) for model in fitted]


def unit_rows(rows: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row d"]:
    """Rows scaled to length 1; a row of zeros stays one."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows, dtype=np.float32), where=length > 0)


def category_means(
    rows: Float[np.ndarray, "row d"],
    labels: Int[np.ndarray, "row"],
    n: int,
    weights: Float[np.ndarray, "row"] | None = None,
) -> Float[np.ndarray, "category d"]:
    """The (weighted) mean of each category's rows; zero for one without any."""
    share = np.ones(len(rows)) if weights is None else weights
    chosen = np.zeros((n, len(rows)), dtype=np.float32)
    chosen[labels, np.arange(len(rows))] = share
    counts = np.bincount(labels, weights=share, minlength=n)[:, None]
    total = chosen @ rows
    return np.divide(total, counts, out=np.zeros_like(total), where=counts > 0)


def _kmeans(rows: Float[np.ndarray, "row d"], n: int, seed: int) -> Float[np.ndarray, "category d"]:
    from sklearn.cluster import KMeans

    drawn = int(stream(seed, "k-means", n).integers(2**31))
    centres: np.ndarray = KMeans(n, n_init=RESTARTS, random_state=drawn).fit(rows).cluster_centers_
    return centres.astype(np.float32)


def _clustering(
    method: Method,
    mean: Float[np.ndarray, "d"],
    rows: Float[np.ndarray, "row d"],
    n: int,
    model: SparseAutoencoder | Float[np.ndarray, "category d"],
) -> Clustering:
    own = _assigned(model, rows)
    order = np.argsort(-np.bincount(own, minlength=n), kind="stable")
    return Clustering(method, mean, category_means(rows, own, n)[order], order, model)


def _assigned(
    model: SparseAutoencoder | Float[np.ndarray, "category d"], rows: Float[np.ndarray, "row d"]
) -> Int[np.ndarray, "row"]:
    if isinstance(model, SparseAutoencoder):
        return model.categories(rows)
    # The nearest centre: |x - c|^2 without |x|^2, which is the same for all centres.
    return (np.square(model).sum(axis=1) - 2 * rows @ model.T).argmin(axis=1)
