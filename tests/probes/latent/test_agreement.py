"""The adjusted Rand index against scikit-learn's, its interval and its p-value against simulated truths."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hooks.streams import stream
from probes.latent.agreement import agreement, agreement_p, stability


def labels(n: int = 300, k: int = 4, noise: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = stream(seed, "labels")
    one = rng.integers(0, k, n)
    other = np.where(rng.random(n) < noise, rng.integers(0, k, n), one)
    return one, other, np.arange(n) // 6


def test_the_index_is_scikit_learns_whatever_the_names() -> None:
    one, other, problems = labels()
    found = agreement(one, [f"name {label}" for label in other], problems)
    assert found.value == pytest.approx(adjusted_rand_score(one, other))
    assert found.low < found.value < found.high
    assert found.n == 50
    assert agreement(one, (one + 1) % 4).value == pytest.approx(1.0)


def test_stability_is_the_mean_over_pairs() -> None:
    parts = [labels(seed=0)[0], labels(seed=0)[1], labels(noise=0.6, seed=0)[1]]
    pairs = [adjusted_rand_score(parts[a], parts[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert stability(parts).value == pytest.approx(np.mean(pairs))
    lone = stability(parts[:1])
    assert np.isnan(lone.value)
    assert lone.method == "one run"


def test_one_block_against_one_block_is_not_defined() -> None:
    assert np.isnan(agreement(np.zeros(10), np.zeros(10)).value)
    assert np.isnan(agreement_p(np.zeros(10), np.zeros(10)))
    with pytest.raises(ValueError, match="for the same rows"):
        agreement([1, 2], [1])


def test_the_interval_covers_the_truth() -> None:
    truth = float(np.mean([adjusted_rand_score(*labels(n=3000, seed=seed)[:2]) for seed in range(5)]))
    inside = 0
    for seed in range(60):
        one, other, problems = labels(seed=100 + seed)
        inside += truth in agreement(one, other, problems, n_boot=300).interval
    assert inside >= 52


def test_p_is_small_for_related_labels_and_fair_for_unrelated_ones() -> None:
    assert agreement_p(*labels(noise=0.5), n_draws=200) == pytest.approx(1 / 201)
    values = [agreement_p(*labels(n=90, noise=1.0, seed=seed), n_draws=99) for seed in range(80)]
    assert np.mean(np.array(values) <= 0.05) <= 0.11
    assert 0.35 < np.mean(values) < 0.65


def test_texts_that_merely_differ_are_no_agreement() -> None:
    rng = stream(3, "per problem")
    problems = np.repeat(np.arange(40), 5)
    # Both labels depend on the problem and on nothing within it.
    kind = rng.integers(0, 2, 40)[problems]
    one = np.where(rng.random(200) < 0.8, kind, 1 - kind)
    other = np.where(rng.random(200) < 0.8, kind, 1 - kind)
    assert agreement_p(one, other, n_draws=200) < 0.02
    assert agreement_p(one, other, problems, n_draws=200) > 0.1
