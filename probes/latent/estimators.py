"""Any scikit-learn classifier as a probe: one clone for each label, fold and point of its grid, spread over processes.

Columns are standardised by each fit's own training rows (weights counted) unless told otherwise.  Scores are log-odds
where the classifier gives probabilities, else its decision function.  The point of the grid is chosen on inner folds by
the log loss, or, of scores that are no log-odds, by the AUROC.

Assumes a classifier that keeps scikit-learn's contract (``clone``, ``get_params``).  What it does not show: whether a
flexible reader's success says something about the network or about the reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from hooks.streams import stream
from probes.latent.crossfit import Choice, CrossFit, cells_of, choose, inner_pairs

Grid = Mapping[str, Sequence[Any]] | None
"""Values of a classifier's parameters to choose among, as in scikit-learn's ``ParameterGrid``."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """How one classifier is made ready and fit, checked once."""

    estimator: Any
    """Is cloned for every fit."""
    points: tuple[dict[str, Any], ...]
    """Parameters to choose among."""
    standardise: bool
    """Whether columns are put in units of the training rows' standard deviations."""
    class_weight: Any
    """Handed to the classifier; None leaves its own."""
    seed: int
    """Seeds what the classifier leaves to chance."""

    @classmethod
    def of(
        cls, estimator: Any, grid: Grid, *, standardise: bool, class_weight: Any, weighted: bool, seed: int
    ) -> Recipe:
        """Check a classifier.

        Raises:
            ValueError: for what is no classifier, or one that cannot take the weights or parameters given.
        """
        from sklearn.base import is_classifier
        from sklearn.model_selection import ParameterGrid
        from sklearn.utils.validation import has_fit_parameter

        name = type(estimator).__name__
        if isinstance(estimator, (str, type)) or not hasattr(estimator, "get_params") or not is_classifier(estimator):
            raise ValueError(
                f"{estimator!r} is no probe; give 'logistic', 'ridge', 'mass_mean' or a scikit-learn classifier"
            )
        if not (hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")):
            raise ValueError(f"{name} gives neither decision_function nor predict_proba; rows cannot be ranked by it")
        known = estimator.get_params()
        if class_weight is not None and "class_weight" not in known:
            raise ValueError(f"{name} takes no class_weight; leave it out, or give sample_weight")
        if weighted and not has_fit_parameter(estimator, "sample_weight"):
            raise ValueError(f"{name} takes no sample_weight in fit; leave it out")
        points = tuple(dict(point) for point in ParameterGrid(dict(grid))) if grid else ({},)
        unknown = sorted({key for point in points for key in point} - set(known))
        if unknown:
            raise ValueError(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known))}")
        return cls(estimator, points, standardise, class_weight, seed)

    @property
    def log_odds(self) -> bool:
        """Whether scores are log-odds, so that decisions, Brier score and calibration can be read off them."""
        return hasattr(self.estimator, "predict_proba")

    def scores(
        self,
        rows: Float[np.ndarray, "row d"],
        label: Float[np.ndarray, "row"],
        weight: Float[np.ndarray, "row"] | None,
        train: Int[np.ndarray, "train"],
        test: Int[np.ndarray, "test"],
        point: int,
    ) -> Float[np.ndarray, "test"]:
        """Scores of the test rows by a fit to the training rows; NaN if these have one class only."""
        from sklearn.base import clone
        from sklearn.preprocessing import StandardScaler

        own = None if weight is None else weight[train]
        # Rows without weight are no rows; some classifiers would count them.
        train = train if own is None else train[own > 0]
        own = None if weight is None else weight[train]
        y = label[train].astype(int)
        if not len(y) or y.min() == y.max() or not len(test):
            return np.full(len(test), math.nan)
        model = clone(self.estimator).set_params(**self.points[point], **self._extra())
        X, Z = rows[train], rows[test]
        if self.standardise:
            scaler = StandardScaler().fit(X, sample_weight=own)
            X, Z = scaler.transform(X), scaler.transform(Z)
        model.fit(X, y) if own is None else model.fit(X, y, sample_weight=own)
        if not self.log_odds:
            return np.asarray(model.decision_function(Z), dtype=float)
        with np.errstate(divide="ignore"):
            chance = np.log(np.asarray(model.predict_proba(Z), dtype=float))
        return np.clip(chance[:, 1], -700, 0) - np.clip(chance[:, 0], -700, 0)

    def threshold(self, label: np.ndarray, weight: np.ndarray | None) -> float:
        """Above it a row is called positive: the training rows' share, or zero where classes were balanced."""
        given = self.class_weight if self.class_weight is not None else self.estimator.get_params().get("class_weight")
        if not self.log_odds or given is not None:
            return 0.0
        share = float(np.average(label, weights=weight)) if len(label) else math.nan
        return math.log(share / (1 - share)) if 0 < share < 1 else math.nan

    def _extra(self) -> dict[str, Any]:
        drawn = int(stream(self.seed, "estimator").integers(2**31))
        known = self.estimator.get_params()
        free = {key: drawn for key, value in known.items() if key.endswith("random_state") and value is None}
        return free | ({} if self.class_weight is None else {"class_weight": self.class_weight})


def crossfit_estimator(
    rows: Shaped[np.ndarray, "row d"],
    labels: Float[np.ndarray, "label row"],
    folds: Int[np.ndarray, "row"],
    recipe: Recipe,
    *,
    inner: int = 2,
    weight: Float[np.ndarray, "row"] | None = None,
    n_jobs: int | None = None,
) -> CrossFit:
    """As :func:`probes.latent.crossfit.crossfit`; ``C`` holds the number of the grid's point that each fold chose.

    Coefficients are not kept: a classifier need not have any.
    """
    number, points = int(folds.max()) + 1, len(recipe.points)
    left_out = [(one,) for one in range(number)] + (inner_pairs(number, inner) if inner else [])
    jobs, places = [], []
    for at, label in enumerate(labels):
        known = ~np.isnan(label)
        for place, out in enumerate(left_out):
            held = np.isin(folds, out)
            train, test = np.flatnonzero(known & ~held), np.flatnonzero(known & held)
            for point in range(points):
                jobs.append((rows, label, weight, train, test, point))
                places.append((at, point, place, test))
    logits = np.full((len(labels), points, len(left_out), len(folds)), math.nan)
    for (at, point, place, test), found in zip(places, _run(recipe.scores, jobs, n_jobs), strict=True):
        logits[at, point, place, test] = found
    fitted = _empty(labels, number)
    for at, label in enumerate(labels):
        cells = cells_of(label, folds, number, weight)
        for outer in range(number):
            best: Choice = choose(logits[at], cells, left_out, outer, by_area=not recipe.log_odds)
            fitted.C[at, outer], fitted.inner[at, outer] = best
            own, train = folds == outer, (folds != outer) & ~np.isnan(label)
            fitted.scores[at, own] = logits[at, best[0], outer, own]
            fitted.threshold[at, own] = recipe.threshold(label[train], None if weight is None else weight[train])
    return fitted


def estimator_at(
    rows: Shaped[np.ndarray, "row d"],
    labels: Float[np.ndarray, "label row"],
    folds: Int[np.ndarray, "row"],
    recipe: Recipe,
    chosen: Float[np.ndarray, "label fold"],
    *,
    weight: Float[np.ndarray, "row"] | None = None,
    n_jobs: int | None = None,
) -> Float[np.ndarray, "label row"]:
    """Out-of-fold scores of other labels at points of the grid that are given."""
    jobs, places = [], []
    for at, label in enumerate(labels):
        known = ~np.isnan(label)
        for outer in range(chosen.shape[1]):
            train, test = np.flatnonzero(known & (folds != outer)), np.flatnonzero(known & (folds == outer))
            jobs.append((rows, label, weight, train, test, int(chosen[at, outer])))
            places.append((at, test))
    out = np.full(labels.shape, math.nan)
    for (at, test), found in zip(places, _run(recipe.scores, jobs, n_jobs), strict=True):
        out[at, test] = found
    return out


def _run(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], n_jobs: int | None) -> Any:
    from joblib import Parallel, delayed

    return Parallel(n_jobs=n_jobs)(delayed(function)(*job) for job in jobs)


def _empty(labels: np.ndarray, number: int) -> CrossFit:
    def hole(*shape: int) -> np.ndarray:
        return np.full(shape, math.nan)

    many, rows = labels.shape
    return CrossFit(
        hole(many, rows), hole(many, rows), hole(many, number), hole(many, number, 0), hole(many, number),
        hole(many, number),
    )  # fmt: skip
