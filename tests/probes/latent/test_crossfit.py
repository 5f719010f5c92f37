import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from probes.latent.crossfit import crossfit, crossfit_at, inner_pairs
from probes.latent.matrix import SiteMatrix
from probes.latent.splits import grouped_folds

STRENGTHS = np.array([1e-3, 1e-1, 10.0])


def example(seed=0, n=240, d=6, repeats=1):
    rng = np.random.default_rng(seed)
    X = np.repeat(rng.normal(size=(n // repeats, d)).astype(np.float32) * np.logspace(-1, 1, d) + 3, repeats, axis=0)
    X = X.astype(np.float32)
    chance = 1 / (1 + np.exp(-((X - 3) / np.logspace(-1, 1, d)) @ rng.normal(size=(d, 2))))
    labels = (rng.random((n, 2)) < chance).T.astype(float)
    problems = np.repeat(np.arange(n // 8), 8)
    return X, labels, grouped_folds(problems, folds=4)


def slow(X, y, folds, C, inner):
    """The same procedure, one scikit-learn fit after another."""

    def fitted(train, strength):
        scaler = StandardScaler().fit(X[train])
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(scaler.transform(X[train]), y[train])
        return lambda rows: model.decision_function(scaler.transform(X[rows]))

    scores, chosen, areas = np.full(len(y), np.nan), [], []
    known, number = ~np.isnan(y), int(folds.max()) + 1
    for outer in range(number):
        validation = [pair[0] if pair[1] == outer else pair[1] for pair in inner_pairs(number, inner) if outer in pair]
        losses, ranks = np.zeros(len(C)), np.zeros((len(C), len(validation)))
        for at, strength in enumerate(C):
            for place, fold in enumerate(validation):
                train, test = known & ~np.isin(folds, (outer, fold)), known & (folds == fold)
                z = fitted(train, strength)(test)
                losses[at] += log_loss(y[test], 1 / (1 + np.exp(-z)), normalize=False)
                ranks[at, place] = roc_auc_score(y[test], z)
        best = int(np.argmin(losses))
        own = known & (folds == outer)
        scores[own] = fitted(known & (folds != outer), C[best])(own)
        chosen.append(C[best])
        areas.append(ranks[best].mean())
    return scores, chosen, areas


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("inner", [2, 3])
def test_equals_one_fit_after_another(repeats, inner):
    X, labels, folds = example(repeats=repeats)
    labels[1, ::5] = np.nan
    fast = crossfit(SiteMatrix.of(X), labels, folds, C=STRENGTHS, inner=inner)
    for at, label in enumerate(labels):
        scores, chosen, areas = slow(X.astype(float), label, folds, STRENGTHS, inner)
        np.testing.assert_allclose(fast.scores[at], scores, atol=2e-3)
        assert list(fast.C[at]) == chosen
        np.testing.assert_allclose(fast.inner[at], areas, atol=1e-3)
        own = np.flatnonzero(folds == 2)
        outside = X[own] @ fast.coef[at, 2] + fast.intercept[at, 2]
        known = ~np.isnan(label[own])
        np.testing.assert_allclose(outside[known], fast.scores[at, own[known]], atol=1e-3)


def test_repeated_rows_are_kept_once():
    X, _, _ = example(repeats=4)
    assert len(SiteMatrix.of(X)) == len(X) // 4


def test_given_strengths_and_class_weights():
    X, labels, folds = example()
    site = SiteMatrix.of(X)
    whole = crossfit(site, labels, folds, C=STRENGTHS, class_weight="balanced")
    again = crossfit_at(site, labels, folds, whole.C, class_weight="balanced")
    np.testing.assert_allclose(again, whole.scores, atol=2e-3)
    train = folds != 1
    scaler = StandardScaler().fit(X[train])
    theirs = LogisticRegression(C=whole.C[0, 1], class_weight="balanced", tol=1e-10).fit(
        scaler.transform(X[train]), labels[0, train]
    )
    np.testing.assert_allclose(theirs.decision_function(scaler.transform(X[~train])), again[0, ~train], atol=2e-3)


def test_small_batches_change_nothing(monkeypatch):
    X, labels, folds = example()
    whole = crossfit(SiteMatrix.of(X), labels, folds, C=STRENGTHS)
    monkeypatch.setattr("probes.latent.crossfit.ELEMENTS", 1)
    parts = crossfit(SiteMatrix.of(X), labels, folds, C=STRENGTHS)
    np.testing.assert_allclose(parts.scores, whole.scores, atol=2e-3)


def test_a_fold_that_cannot_be_fit_is_missing():
    X, _, folds = example()
    lonely = np.zeros((1, len(folds)))
    lonely[0, np.flatnonzero(folds == 0)[:3]] = 1.0
    found = crossfit(SiteMatrix.of(X), lonely, folds, C=STRENGTHS)
    assert np.isnan(found.scores[0, folds == 0]).all()
    assert not np.isnan(found.scores[0, folds != 0]).any()
    nothing = crossfit(SiteMatrix.of(X), np.zeros((1, len(folds))), folds, C=STRENGTHS)
    assert np.isnan(nothing.scores).all()


def test_more_columns_than_rows():
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.normal(size=(60, 90)), dtype=torch.float32)
    y = (X[:, 0].numpy() + rng.normal(size=60) > 0).astype(float)[None]
    folds = grouped_folds(np.arange(60), folds=3)
    fast = crossfit(SiteMatrix.of(X), y, folds, C=STRENGTHS)
    np.testing.assert_allclose(fast.scores[0], slow(X.numpy().astype(float), y[0], folds, STRENGTHS, 2)[0], atol=2e-3)


@pytest.mark.parametrize(("number", "inner"), [(5, 2), (5, 4), (4, 3), (4, 2), (3, 2), (2, 2), (6, 1)])
def test_every_fold_is_paired_as_often_as_asked(number, inner):
    pairs = inner_pairs(number, inner)
    counts = [sum(fold in pair for pair in pairs) for fold in range(number)]
    assert len(set(pairs)) == len(pairs)
    if number == 2:
        assert pairs == []
    else:
        assert min(inner, number - 1) <= min(counts) <= max(counts) <= inner + 1
