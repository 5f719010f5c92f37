"""Which probe a sweep fits: the three linear ones in one batch, or any scikit-learn classifier fit by fit.

A kind knows how to make a site ready, to cross-fit labels on it and to refit others at what was chosen.  What a kind
reads shows no more than that a reader of this kind can: see :mod:`probes.latent.sweep`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from probes.latent.crossfit import CrossFit, Linear, crossfit, crossfit_at
from probes.latent.estimators import Grid, Recipe, crossfit_estimator, estimator_at
from probes.latent.logistic import ClassWeight
from probes.latent.matrix import SiteMatrix
from probes.stats import Column, as_floats

Ready = SiteMatrix | Float[np.ndarray, "row d"]
"""A site made ready: standardised once for the linear probes, plain numbers for other classifiers."""


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of probe and how it is fitted, checked once."""

    name: str
    """``logistic``, ``ridge``, ``mass_mean`` or the classifier's class."""
    C: Float[np.ndarray, "C"]
    """Strengths of a linear probe to choose among."""
    recipe: Recipe | None
    """Of another classifier."""
    inner: int
    """Inner folds of each outer fold."""
    class_weight: ClassWeight
    """As in scikit-learn."""
    weight: Float[np.ndarray, "row"] | None
    """Of each row, in every fit."""
    n_jobs: int | None
    """Processes for another classifier's fits."""
    device: Any
    """Where linear probes are fit; None for the CPU."""

    @classmethod
    def of(
        cls,
        probe: Any,
        *,
        C: Sequence[float],
        grid: Grid,
        inner: int,
        class_weight: ClassWeight,
        sample_weight: Column | None,
        n_rows: int,
        standardise: bool,
        n_jobs: int | None,
        seed: int,
        device: Any,
    ) -> Kind:
        """Check what was asked for.

        Raises:
            ValueError: for a probe that does not exist, strengths or weights that are no numbers above zero, or
                options that the probe does not have.
        """
        strengths = np.asarray(C, dtype=float)
        if not len(strengths) or not (np.isfinite(strengths) & (strengths > 0)).all():
            raise ValueError(f"C needs at least one positive number, not {list(C)}")
        weight = _weights(sample_weight, n_rows)
        if isinstance(probe, str) and probe in get_args(Linear):
            if grid:
                raise ValueError(f"a {probe} probe has no grid; give its strengths as C")
            if not standardise:
                raise ValueError(f"the {probe} probe of a sweep is standardised in the fold; give LinearProbe itself")
            return cls(probe, strengths, None, inner, class_weight, weight, n_jobs, device)
        recipe = Recipe.of(
            probe, grid, standardise=standardise, class_weight=class_weight, weighted=weight is not None, seed=seed
        )
        return cls(type(probe).__name__, strengths, recipe, inner, class_weight, weight, n_jobs, device)

    @property
    def log_odds(self) -> bool:
        """Whether scores are log-odds."""
        return self.recipe is None or self.recipe.log_odds

    def ready(self, rows: Shaped[Tensor, "row d"] | Shaped[np.ndarray, "row d"]) -> Ready:
        """A site made ready; ValueError if some entries are not finite."""
        if self.recipe is None:
            return SiteMatrix.of(rows, self.device)
        given = torch.as_tensor(rows)
        given = given if given.dtype == torch.float64 else given.float()
        if not bool(given.isfinite().all()):
            bad = int((~given.isfinite()).any(1).nonzero()[0, 0])
            raise ValueError(f"row {bad} of the activations is not finite; leave it out")
        return given.cpu().numpy()

    def fit(self, site: Ready, labels: Float[np.ndarray, "label row"], folds: Int[np.ndarray, "row"]) -> CrossFit:
        """All labels at one site."""
        if isinstance(site, SiteMatrix):
            return crossfit(
                site, labels, folds, C=self.C, inner=self.inner, class_weight=self.class_weight, weight=self.weight,
                kind=cast(Linear, self.name),
            )  # fmt: skip
        assert self.recipe is not None
        return crossfit_estimator(
            site, labels, folds, self.recipe, inner=self.inner, weight=self.weight, n_jobs=self.n_jobs
        )

    def refit(
        self,
        site: Ready,
        labels: Float[np.ndarray, "label row"],
        folds: Int[np.ndarray, "row"],
        C: Float[np.ndarray, "label fold"],
    ) -> Float[np.ndarray, "label row"]:
        """Out-of-fold scores of other labels at strengths, or points of the grid, that are given."""
        if isinstance(site, SiteMatrix):
            kind = cast(Linear, self.name)
            return crossfit_at(site, labels, folds, C, class_weight=self.class_weight, weight=self.weight, kind=kind)
        assert self.recipe is not None
        return estimator_at(site, labels, folds, self.recipe, C, weight=self.weight, n_jobs=self.n_jobs)

    def chosen(self, fitted: CrossFit, at: int) -> dict[str, Any]:
        """The columns that say what the folds chose: the median strength, or the point chosen most often."""
        own = fitted.C[at][~np.isnan(fitted.C[at])]
        if self.recipe is None:
            return {"C": float(np.median(own)) if len(own) else math.nan}
        point = self.recipe.points[int(np.argmax(np.bincount(own.astype(int))))] if len(own) else {}
        return {"C": math.nan, "params": ", ".join(f"{key}={value}" for key, value in sorted(point.items()))}


def _weights(given: Column | None, n_rows: int) -> Float[np.ndarray, "row"] | None:
    if given is None:
        return None
    weight = as_floats(given)
    if len(weight) != n_rows or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"sample_weight needs one finite, non-negative number for each of the {n_rows} rows")
    return weight
