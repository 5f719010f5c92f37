import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from hooks.activations import Activations
from probes.latent.closed import _grams
from probes.latent.crossfit import crossfit, crossfit_at, inner_pairs
from probes.latent.estimators import Recipe, crossfit_estimator
from probes.latent.matrix import SiteMatrix
from probes.latent.probe import LinearProbe
from probes.latent.splits import grouped_folds
from probes.latent.sweep import sweep

STRENGTHS = np.array([1e-3, 1e-1, 10.0])
FEW = {"C": (1e-2, 1.0), "n_boot": 50, "controls": False}


def example(n=240, d=6, repeats=1, seed=0):
    rng = np.random.default_rng(seed)
    X = np.repeat(rng.normal(size=(n // repeats, d)) * np.logspace(-1, 1, d) + 3, repeats, axis=0).astype(np.float32)
    chance = 1 / (1 + np.exp(-((X - 3) / np.logspace(-1, 1, d)) @ rng.normal(size=(d, 2))))
    labels = (rng.random((n, 2)) < chance).T.astype(float)
    return X, labels, grouped_folds(np.repeat(np.arange(n // 8), 8), folds=4), rng.integers(0, 3, size=n).astype(float)


def loop(probes, X, y, folds, weight=None):
    """The same procedure, one fit of a scikit-learn estimator after another; the best of ``probes`` by inner loss."""
    known, number, scores, chosen = ~np.isnan(y), int(folds.max()) + 1, np.full(len(y), np.nan), []

    def read(probe, train, test):
        own = {} if weight is None else {"sample_weight": weight[train]}
        return clone(probe).fit(X[train].astype(float), y[train], **own).decision_function(X[test].astype(float))

    for outer in range(number):
        losses = np.zeros(len(probes))
        for fold in [a + b - outer for a, b in inner_pairs(number, 2) if outer in (a, b)]:
            train, test = known & ~np.isin(folds, (outer, fold)), known & (folds == fold)
            for at, probe in enumerate(probes):
                chance = 1 / (1 + np.exp(-read(probe, train, test)))
                own = None if weight is None else weight[test]
                losses[at] += log_loss(y[test], chance, normalize=False, sample_weight=own)
        chosen.append(int(np.argmin(losses)))
        own = known & (folds == outer)
        scores[own] = read(probes[chosen[-1]], known & (folds != outer), own)
    return scores, chosen


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("kind", ["ridge", "mass_mean", "logistic"])
def test_batched_kinds_equal_linear_probes_one_by_one(kind, repeats, class_weight, weighted):
    X, labels, folds, weight = example(repeats=repeats)
    labels[1, ::5] = np.nan
    own = weight if weighted else None
    fast = crossfit(SiteMatrix.of(X), labels, folds, C=STRENGTHS, class_weight=class_weight, weight=own, kind=kind)
    strengths = [1.0] if kind == "mass_mean" else STRENGTHS
    probes = [LinearProbe(kind, C=float(C), class_weight=class_weight) for C in strengths]
    for at, label in enumerate(labels):
        scores, chosen = loop(probes, X, label, folds, own)
        np.testing.assert_allclose(fast.scores[at], scores, atol=2e-3)
        if kind != "mass_mean":
            assert list(fast.C[at]) == [STRENGTHS[one] for one in chosen]
        rows = np.flatnonzero((folds == 2) & ~np.isnan(label))
        outside = X[rows] @ fast.coef[at, 2] + fast.intercept[at, 2]
        np.testing.assert_allclose(outside, fast.scores[at, rows], atol=2e-3)
    again = crossfit_at(
        SiteMatrix.of(X), labels, folds, fast.C, class_weight=class_weight, weight=own, kind=kind
    )  # fmt: skip
    np.testing.assert_allclose(again, fast.scores, atol=2e-3)


def test_ridge_with_more_columns_than_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 90)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(float)[None]
    folds = grouped_folds(np.arange(60), folds=3)
    fast = crossfit(SiteMatrix.of(X), y, folds, C=STRENGTHS, kind="ridge")
    scores, _ = loop([LinearProbe("ridge", C=float(C)) for C in STRENGTHS], X, y[0], folds)
    np.testing.assert_allclose(fast.scores[0], scores, atol=2e-3)


def test_gram_matrices_of_folds_are_sums_of_blocks():
    rng = np.random.default_rng(1)
    matrix = torch.tensor(rng.normal(size=(50, 70)), dtype=torch.float32)
    folds, weight = rng.integers(0, 4, size=50), rng.random(50)
    for weights in (np.stack([(folds != one) * weight for one in range(4)]), rng.random((3, 50))):
        for own, (gram, mean) in zip(weights, _grams(matrix, torch.tensor(weights)), strict=True):
            apart = matrix.double().numpy() - own @ matrix.double().numpy() / own.sum()
            np.testing.assert_allclose(gram.numpy(), (apart.T * own) @ apart, atol=1e-10)
            np.testing.assert_allclose(mean.numpy(), own @ matrix.double().numpy() / own.sum(), atol=1e-12)


@pytest.mark.parametrize("kind", ["ridge", "mass_mean"])
def test_one_class_cannot_be_fit(kind):
    X, labels, folds, _ = example()
    found = crossfit(SiteMatrix.of(X), np.zeros_like(labels[:1]), folds, C=STRENGTHS, kind=kind)
    assert np.isnan(found.scores).all()


def acts(X):
    import pandas as pd

    rows = pd.DataFrame({"problem": np.repeat(np.arange(len(X) // 8), 8), "sample": 0})
    return Activations({"resid_post.0": torch.from_numpy(X)}, rows, {"model": "toy"})


@pytest.mark.parametrize("standardise", [True, False])
def test_any_classifier_equals_a_plain_loop(standardise):
    X, labels, folds, weight = example()
    # In float32, unscaled columns leave the solver's stopping point to the order of summation.
    X = X.astype(float)
    labels[0, ::7] = np.nan
    found = sweep(
        acts(X), {"one": labels[0]}, folds=folds, probe=LogisticRegression(tol=1e-8, max_iter=9999),
        grid={"C": STRENGTHS.tolist()}, standardise=standardise, sample_weight=weight + 1, **FEW,
    )  # fmt: skip
    expected = np.full(240, np.nan)
    for outer in range(4):
        train, test = (folds != outer) & ~np.isnan(labels[0]), (folds == outer) & ~np.isnan(labels[0])
        own = weight[train] + 1
        scaler = StandardScaler(with_mean=standardise, with_std=standardise).fit(X[train], sample_weight=own)
        fits = [LogisticRegression(C=C, tol=1e-8, max_iter=9999) for C in STRENGTHS]
        reads = [fit.fit(scaler.transform(X[train]), labels[0, train], sample_weight=own) for fit in fits]
        reads = np.array([fit.decision_function(scaler.transform(X[test])) for fit in reads])
        nearest = np.abs(reads - found.scores[0, 0, test]).max(1).argmin()
        expected[test] = reads[nearest]
    np.testing.assert_allclose(found.scores[0, 0], expected, atol=1e-3)
    line = found.frame.iloc[0]
    assert line["params"] in {f"C={C}" for C in STRENGTHS}
    assert 0 < line["brier"] < 0.25
    assert found.manifest["probe"].startswith("LogisticRegression")


def test_a_classifier_chooses_as_the_batch_does():
    X, labels, folds, weight = example()
    recipe = Recipe.of(
        LogisticRegression(tol=1e-10, max_iter=9999), {"C": STRENGTHS.tolist()}, standardise=True, class_weight=None,
        weighted=True, seed=0,
    )  # fmt: skip
    slow = crossfit_estimator(X, labels, folds, recipe, weight=weight)
    fast = crossfit(SiteMatrix.of(X), labels, folds, C=STRENGTHS, weight=weight)
    np.testing.assert_allclose(slow.scores, fast.scores, atol=2e-3)
    np.testing.assert_array_equal(STRENGTHS[slow.C.astype(int)], fast.C)
    np.testing.assert_allclose(slow.inner, fast.inner, atol=1e-3)
    np.testing.assert_allclose(slow.threshold, fast.threshold, atol=1e-6)


def test_margins_are_ranked_but_not_calibrated():
    X, labels, folds, _ = example()
    line = sweep(acts(X), labels[0], folds=folds, probe=RidgeClassifier(), grid={"alpha": [0.1, 10.0]}, **FEW).frame
    assert np.isnan(line["brier"].iloc[0])
    assert line["balanced_accuracy"].iloc[0] > 0.6
    areas = [
        roc_auc_score(
            labels[0, folds == fold],
            RidgeClassifier(alpha=10.0).fit(Z[folds != fold], labels[0, folds != fold]).decision_function(
                Z[folds == fold]
            ),
        )
        for fold in range(4)
        for Z in [StandardScaler().fit(X[folds != fold]).transform(X)]
    ]  # fmt: skip
    assert line["auroc"].iloc[0] == pytest.approx(np.mean(areas), abs=0.02)


def test_who_does_the_fits_and_chance_change_nothing():
    X, labels, folds, _ = example()
    forest = RandomForestClassifier(n_estimators=5)
    first, second = (
        sweep(acts(X), labels[0], folds=folds, probe=forest, n_jobs=jobs, **(FEW | {"controls": True}))
        for jobs in (None, 2)
    )
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.frame["shuffled"].notna().all()
    nested = sweep(acts(X), labels[0], folds=folds, probe=GaussianNB(), sparse=(), **FEW)
    assert nested.selected["auroc"].iloc[0] == pytest.approx(nested.frame["auroc"].iloc[0])


@pytest.mark.parametrize("kind", ["ridge", "mass_mean"])
def test_sweeps_of_the_closed_forms_find_the_plant(kind):
    X, labels, folds, _ = example(n=480)
    found = sweep(acts(X), labels[0], folds=folds, probe=kind, **(FEW | {"controls": True})).frame.iloc[0]
    assert found["auroc"] > 0.7
    assert found["p"] < 1e-3
    assert abs(found["shuffled"] - 0.5) < 0.15
    assert np.isnan(found["C"]) == (kind == "mass_mean")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probe": "quadratic"}, "is no probe"),
        ({"probe": StandardScaler()}, "is no probe"),
        ({"probe": LogisticRegression}, "is no probe"),
        ({"probe": "ridge", "grid": {"alpha": [1.0]}}, "no grid"),
        ({"standardise": False}, "standardised in the fold"),
        ({"probe": KNeighborsClassifier(), "sample_weight": np.ones(240)}, "no sample_weight"),
        ({"probe": GaussianNB(), "class_weight": "balanced"}, "no class_weight"),
        ({"probe": GaussianNB(), "grid": {"depth": [1]}}, "no parameter 'depth'"),
        ({"sample_weight": [1.0, 1.0, 1.0]}, "sample_weight needs"),
        ({"sample_weight": -np.ones(240)}, "sample_weight needs"),
        ({"C": ()}, "positive"),
        ({"sparse": (1,), "sample_weight": np.ones(240)}, "k-sparse probes take no"),
        ({"sparse": (0,)}, "positive numbers"),
    ],
)
def test_refusals(options, message):
    X, labels, folds, _ = example()
    with pytest.raises(ValueError, match=message):
        sweep(acts(X), labels[0], folds=folds, **options)
