import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from probes.latent.probe import LinearProbe
from probes.latent.splits import GroupedFolds


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 8)) * np.logspace(-2, 2, 8) + 5
    y = ((X - 5) / np.logspace(-2, 2, 8)) @ rng.normal(size=8) + rng.normal(size=300) > 0.5
    return X, y


@pytest.mark.parametrize("kind", ["logistic", "ridge", "mass_mean"])
def test_scikit_learns_own_checks(kind):
    check_estimator(LinearProbe(kind))


def test_logistic_equals_the_pipeline(data):
    X, y = data
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, tol=1e-10)).fit(X, y)
    own = LinearProbe(C=0.3).fit(X, y)
    np.testing.assert_allclose(own.predict_proba(X), theirs.predict_proba(X), atol=1e-4)


def affine(one, other):
    return np.corrcoef(one, other)[0, 1] == pytest.approx(1, abs=1e-10)


def test_ridge_ranks_as_the_pipeline(data):
    X, y = data
    for columns in (slice(None), slice(0, 3)):
        theirs = make_pipeline(StandardScaler(), RidgeClassifier(alpha=2.0)).fit(X[:, columns], y)
        own = LinearProbe("ridge", C=0.5).fit(X[:, columns], y)
        assert affine(own.decision_function(X[:, columns]), theirs.decision_function(X[:, columns]))
    wide = np.random.default_rng(1).normal(size=(20, 60))
    theirs = make_pipeline(StandardScaler(), RidgeClassifier(alpha=2.0)).fit(wide, y[:20])
    own = LinearProbe("ridge", C=0.5).fit(wide, y[:20])
    assert affine(own.decision_function(wide), theirs.decision_function(wide))


def test_mass_mean_points_from_mean_to_mean(data):
    X, y = data
    own = LinearProbe("mass_mean", standardise=False).fit(X, y)
    apart = X[y].mean(0) - X[~y].mean(0)
    assert own.coef_[0] @ apart == pytest.approx(np.linalg.norm(own.coef_) * np.linalg.norm(apart))
    assert own.decision_function([X[y].mean(0)])[0] > own.decision_function([X[~y].mean(0)])[0]


@pytest.mark.parametrize("kind", ["logistic", "ridge", "mass_mean"])
def test_reads_held_out_problems_and_names(data, kind):
    X, y = data
    problems = np.arange(300) // 5
    names = np.where(y, "verification", "computation")
    scores = cross_val_score(LinearProbe(kind), X, names, groups=problems, cv=GroupedFolds(5), scoring="roc_auc")
    assert scores.mean() > 0.8
    fitted = LinearProbe(kind).fit(X, names)
    assert list(fitted.classes_) == ["computation", "verification"]
    chance = fitted.predict_proba(X)
    np.testing.assert_allclose(chance.sum(1), 1)
    assert abs(chance[:, 1].mean() - y.mean()) < 0.02


def test_several_classes_are_one_against_the_rest(data):
    X, _ = data
    third = np.digitize(X[:, 3], np.quantile(X[:, 3], [1 / 3, 2 / 3]))
    fitted = LinearProbe().fit(X, third)
    assert fitted.coef_.shape == (3, 8)
    assert fitted.predict_proba(X).shape == (300, 3)
    two = LinearProbe().fit(X, third == 2)
    np.testing.assert_allclose(fitted.decision_function(X)[:, 2], two.decision_function(X))


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"kind": "quadratic"}, [0, 1] * 5, "no probe of kind"),
        ({"C": 0.0}, [0, 1] * 5, "positive"),
        ({"class_weight": "equal"}, [0, 1] * 5, "class_weight"),
        ({}, [1] * 10, "class"),
    ],
)
def test_refusals(options, y, message):
    with pytest.raises(ValueError, match=message):
        LinearProbe(**options).fit(np.random.default_rng(0).normal(size=(10, 2)), y)
