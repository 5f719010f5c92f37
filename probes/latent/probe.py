"""One linear probe with scikit-learn's estimator interface: standardise, fit, read.

Kinds, on columns standardised by the training rows (weights counted):

* ``logistic``: L2-penalised logistic regression at scikit-learn's optimum (:mod:`probes.latent.logistic`);
* ``ridge``: least squares on -1 and +1 with penalty ``1 / C``, the reading of ``RidgeClassifier(alpha=1/C)``;
* ``mass_mean``: the difference of the class means (Marks and Tegmark 2023, arXiv 2310.06824).

More than two classes are read one against the rest.  Scores are log-odds: the last two kinds get scale and threshold
from a one-dimensional logistic fit of the label on their projection, on the training rows.
What a probe does not show: that the model uses what can be read from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from probes.latent.logistic import logistic_path

KINDS = ("logistic", "ridge", "mass_mean")
EXACT = 1e-14
"""Relative gap of a single fit: a weight of two then gives the same reading as a row given twice."""


class LinearProbe(ClassifierMixin, BaseEstimator):
    """A linear reader of activations; ``fit``, ``decision_function``, ``predict_proba``, ``predict``, ``score``.

    ``kind`` is one of :data:`KINDS`, ``C`` the inverse strength, ``class_weight`` None, "balanced" or a factor for each
    class; ``standardise=False`` leaves columns as they are.

    After fitting, ``coef_`` [class or 1, feature] and ``intercept_`` are in the coordinates of X as given, ``classes_``
    are the labels, and ``mean_`` and ``scale_`` what X was standardised by.
    """

    # Annotated Any because scikit-learn's contract wants every value accepted here and judged in fit.
    def __init__(
        self, kind: Any = "logistic", *, C: Any = 1.0, class_weight: Any = None, standardise: Any = True
    ) -> None:
        self.kind = kind
        self.C = C
        self.class_weight = class_weight
        self.standardise = standardise

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearProbe:
        """Fit to rows ``X`` [row, feature] and labels ``y`` of two or more classes.

        Raises:
            ValueError: for an unknown kind, a strength that is not positive, one class only, or entries not finite.
        """
        if self.kind not in KINDS:
            raise ValueError(f"there is no probe of kind {self.kind!r}; kinds are {', '.join(KINDS)}")
        if not self.C > 0:
            raise ValueError(f"C must be positive, not {self.C}")
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        weight = np.asarray(_check_sample_weight(sample_weight, X, dtype=np.float64), dtype=float)
        if (weight < 0).any():
            raise ValueError("sample_weight needs non-negative numbers")
        # A class without weight is a class without rows.
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class only ({self.classes_[:1]}); a probe needs at least two classes")
        self._standardise(X, weight)
        Z = (X.astype(float) - self.mean_) / self.scale_
        weight = weight * self._class_factors(codes, weight)
        sides = range(1, 2) if len(self.classes_) == 2 else range(len(self.classes_))
        fits = [self._one(Z, codes == side, weight) for side in sides]
        coef = np.stack([one[0] for one in fits]) / self.scale_
        self.coef_ = coef
        self.intercept_ = np.array([one[1] for one in fits]) - coef @ self.mean_
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, "..."]:
        """Scores [row] for two classes (above zero is the second), [row, class] for more."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        scores = X.astype(float) @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> Float[np.ndarray, "row class"]:
        """Probabilities [row, class]; of more than two classes normalised over the one-against-rest readings."""
        scores = self.decision_function(X)
        scores = scores[:, None] if scores.ndim == 1 else scores
        chance = expit(scores)
        if len(self.classes_) == 2:
            return np.column_stack([1 - chance[:, 0], chance[:, 0]])
        total = chance.sum(axis=1, keepdims=True)
        # All readings may underflow to zero far away from the data; then nothing is known.
        return np.divide(chance, total, out=np.full_like(chance, 1 / chance.shape[1]), where=total > 0)

    def predict(self, X: Any) -> np.ndarray:
        """The class with the highest score, for each row."""
        scores = self.decision_function(X)
        picked = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[picked]

    def _standardise(self, X: np.ndarray, weight: np.ndarray) -> None:
        self.mean_, self.scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])
        if self.standardise:
            share = weight / weight.sum()
            wide = X.astype(float)
            self.mean_ = share @ wide
            spread = np.sqrt(share @ (wide - self.mean_) ** 2)
            # Rounding leaves a constant column a spread of about 1e-8 of its size.
            self.scale_ = np.where(spread > 1e-7 * np.abs(self.mean_), spread, 1.0)

    def _class_factors(self, codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if self.class_weight is None:
            return np.ones(len(codes))
        if self.class_weight == "balanced":
            mass = np.bincount(codes, weights=weight)
            return (weight.sum() / (len(mass) * mass))[codes]
        if not isinstance(self.class_weight, dict):
            raise ValueError(f"class_weight is None, 'balanced' or a dict, not {self.class_weight!r}")
        return np.array([float(self.class_weight.get(name, 1.0)) for name in self.classes_])[codes]

    def _one(self, Z: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
        """Coefficients and intercept of the log-odds of one class against the rest."""
        if self.kind == "logistic":
            path = logistic_path(Z, positive, C=[self.C], sample_weight=weight, tolerance=EXACT)
            return path.coef[0], float(path.intercept[0])
        coef, intercept = self._ridge(Z, positive, weight) if self.kind == "ridge" else _mass_mean(Z, positive, weight)
        score = (Z @ coef + intercept)[:, None]
        # A mild penalty keeps the line finite where the classes are separated.
        share = weight / weight.sum()
        spread = float(np.sqrt(share @ (score[:, 0] - share @ score[:, 0]) ** 2)) or 1.0
        line = logistic_path(score / spread, positive, C=[100.0], sample_weight=weight, tolerance=EXACT)
        slope, level = float(line.coef[0, 0] / spread), float(line.intercept[0])
        return coef * slope, intercept * slope + level

    def _ridge(self, Z: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
        target, share = np.where(positive, 1.0, -1.0), weight / weight.sum()
        mean, level = share @ Z, share @ target
        A, b = np.sqrt(weight)[:, None] * (Z - mean), np.sqrt(weight) * (target - level)
        if len(A) >= A.shape[1]:
            coef = np.linalg.solve(A.T @ A + np.eye(A.shape[1]) / self.C, A.T @ b)
        else:
            coef = A.T @ np.linalg.solve(A @ A.T + np.eye(len(A)) / self.C, b)
        return coef, float(level - mean @ coef)


def _mass_mean(Z: np.ndarray, positive: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, float]:
    above = np.average(Z[positive], axis=0, weights=weight[positive])
    below = np.average(Z[~positive], axis=0, weights=weight[~positive])
    coef = above - below
    return coef, float(-coef @ (above + below) / 2)
