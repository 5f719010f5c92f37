import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probes.latent.ranking import Wins, assess, assess_difference, within_folds
from probes.latent.splits import grouped_folds


def simulated(seed, n=400, n_problems=40, signal=1.0, cluster=0.0):
    rng = np.random.default_rng(seed)
    problems = rng.integers(0, n_problems, size=n)
    folds = grouped_folds(problems, folds=4)
    labels = (rng.random(n) < 0.3).astype(float)
    shared = rng.normal(size=n_problems)[problems] * cluster
    return np.round(rng.normal(size=n) + signal * labels + shared, 1), labels, problems, folds


def test_wins_equal_pairs_counted_one_by_one():
    scores, labels, problems, folds = simulated(0, n=80)
    won = pairs = 0.0
    for i in np.flatnonzero(labels == 1):
        for j in np.flatnonzero((labels == 0) & (folds == folds[i])):
            won += float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j])
            pairs += 1
    wins = Wins.of(scores, labels, problems, folds)
    assert wins.value == pytest.approx(won / pairs)
    assert wins.pairs == pairs
    assert within_folds(scores, labels, folds) == pytest.approx(won / pairs)
    assert wins.influence().sum() == pytest.approx(0, abs=1e-12)


def test_one_fold_is_the_ordinary_auroc():
    scores, labels, problems, _ = simulated(1)
    assert Wins.of(scores, labels, problems, np.zeros_like(problems)).value == pytest.approx(
        roc_auc_score(labels, scores)
    )


def test_draws_repeat_problems():
    scores, labels, problems, folds = simulated(2, n=120, n_problems=12)
    counts = np.random.default_rng(0).integers(0, 3, size=12)
    rows = np.concatenate([np.tile(np.flatnonzero(problems == g), counts[g]) for g in range(12)])
    drawn = Wins.of(scores, labels, problems, folds).draws(counts[None].astype(float))[0]
    assert drawn == pytest.approx(within_folds(scores[rows], labels[rows], folds[rows]))


def test_missing_rows_are_left_out():
    scores, labels, problems, folds = simulated(3)
    hole = np.arange(400) % 3 == 0
    some = Wins.of(np.where(hole, np.nan, scores), labels, problems, folds)
    kept = Wins.of(scores[~hole], labels[~hole], problems[~hole], folds[~hole])
    assert some.value == pytest.approx(kept.value)


def test_one_class_is_not_measured():
    scores, labels, problems, folds = simulated(4)
    tested = assess(Wins.of(scores, np.zeros_like(labels), problems, folds))
    assert math.isnan(tested.p)
    assert not tested.estimate.measured
    nothing = Wins.of(np.full(400, np.nan), labels, problems, folds)
    assert math.isnan(nothing.value)


@pytest.mark.parametrize("cluster", [0.0, 2.0])
def test_null_is_silent_and_intervals_cover(cluster):
    called = covered = 0
    for seed in range(200):
        wins = Wins.of(*simulated(seed, n=200, n_problems=30, signal=0.0, cluster=cluster))
        tested = assess(wins, n_boot=200)
        called += tested.p < 0.05
        covered += 0.5 in tested.estimate.interval
    assert called <= 17
    assert covered >= 180


def test_signal_is_found_and_differences_are_paired():
    scores, labels, problems, folds = simulated(5, signal=1.0)
    wins = Wins.of(scores, labels, problems, folds)
    assert assess(wins).p < 1e-6
    noisy = scores + np.random.default_rng(0).normal(size=400) * 0.2
    other = Wins.of(noisy, labels, problems, folds)
    apart = assess_difference(other, wins)
    assert apart.estimate.value == pytest.approx(wins.value - other.value)
    alone = assess(wins).estimate
    assert apart.estimate.high - apart.estimate.low < (alone.high - alone.low) / 2
    same = assess_difference(wins, wins)
    assert (same.estimate.value, same.p) == (0.0, 0.5)
