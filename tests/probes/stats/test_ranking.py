"""AUROC against counting pairs and scikit-learn; its two bootstraps against each other; coverage and nulls."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probes.stats import auroc, auroc_difference, auroc_interval, bootstrap_weights, ranking


def by_pairs(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    won = total = 0.0
    for s, y, w in zip(scores, labels, weights):
        for t, z, v in zip(scores, labels, weights):
            if y and not z:
                won += w * v * ((s > t) + 0.5 * (s == t))
                total += w * v
    return won / total


@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_counting_pairs_and_with_scikit_learn(ties: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.3
    scores = labels + rng.normal(size=60)
    scores = np.round(scores) if ties else scores
    weights = rng.integers(0, 4, size=60).astype(float)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert auroc(scores, labels, weights=weights) == pytest.approx(by_pairs(scores, labels, weights))
    assert auroc(scores, labels, weights=weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_one_class_is_undefined_and_missing_rows_are_left_out() -> None:
    assert math.isnan(auroc([0.1, 0.2], [1, 1]))
    assert math.isnan(auroc([], []))
    assert auroc([0.1, math.nan, 0.9, 0.4], [0, 1, 1, None]) == 1.0
    one = auroc_interval([0.1, 0.2], [1, 1], ["a", "b"])
    assert not one.measured
    assert "one class" in one.method
    assert auroc_interval([], []).n == 0


def test_refuses_what_it_cannot_read() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        auroc([0.1, 0.2], [1, 2])
    with pytest.raises(ValueError, match="labels"):
        auroc([0.1, 0.2], [1])
    with pytest.raises(ValueError, match="negative"):
        auroc([0.1, 0.2], [1, 0], weights=[1, -1])


@pytest.mark.parametrize("ties", [False, True])
def test_the_table_of_wins_equals_the_pass_over_rows(monkeypatch: pytest.MonkeyPatch, ties: bool) -> None:
    rng = np.random.default_rng(1)
    problems = rng.integers(0, 15, size=120)
    labels = rng.random(120) < 0.4
    scores = labels + rng.normal(size=120)
    scores = np.round(scores) if ties else scores
    fast = auroc_interval(scores, labels, problems, n_boot=300)
    monkeypatch.setattr(ranking, "_FEW", 0)
    monkeypatch.setattr(ranking, "_CHUNK", 500)
    slow = auroc_interval(scores, labels, problems, n_boot=300)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high))
    codes = np.unique(problems, return_inverse=True)[1]
    weights = bootstrap_weights(15, n_boot=300)
    plain = [auroc(scores, labels, weights=row[codes].astype(float)) for row in weights]
    assert np.quantile(plain, 0.5) == pytest.approx(fast.value, abs=0.05)


def test_interval_covers_the_truth_with_rows_clustered_in_problems() -> None:
    # Scores of positives and negatives are normal one apart with a shared shift a problem: AUROC = Phi(1 / 2).
    truth, hits = 0.6915, 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        problems = np.repeat(np.arange(40), 6)
        labels = rng.random(240) < 0.5
        scores = labels + rng.normal(size=240) + np.repeat(rng.normal(size=40), 6)
        hits += truth in auroc_interval(scores, labels, problems, n_boot=400, seed=seed).interval
    assert 0.925 <= hits / 400 <= 0.975


def test_difference_is_paired_and_silent_on_a_null() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.5
    problems = np.repeat(np.arange(50), 6)
    signal = labels + rng.normal(size=300)
    close = auroc_difference(signal, signal + rng.normal(size=300) * 0.01, labels, problems)
    assert close.interval.width < 0.02
    assert auroc_difference(rng.normal(size=300), labels + 0.5 * rng.normal(size=300), labels, problems).excludes_zero
    false = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(2, 120))
        outcome = rng.random(120) < 0.5
        false += auroc_difference(*noise, outcome, np.repeat(np.arange(30), 4), n_boot=300, seed=seed).excludes_zero
    assert false / 200 <= 0.09
