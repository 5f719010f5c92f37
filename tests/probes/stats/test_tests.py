"""Permutation tests, proportions and many tests at once: against known p-values, and silent on nulls."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats as reference

from probes.stats import benjamini_hochberg, permutation_p, sign_flip_p, two_sample_p, wilson


def test_permutation_p_is_never_zero_and_knows_its_side() -> None:
    null = np.arange(99.0)
    assert permutation_p(1000.0, null) == 0.01
    assert permutation_p(-5.0, null) == 1.0
    assert permutation_p(-5.0, null, alternative="less") == 0.01
    assert permutation_p(0.9, np.array([0.2, 0.5, 0.8]), alternative="two-sided", centre=0.5) == 0.25
    assert math.isnan(permutation_p(math.nan, null))
    assert math.isnan(permutation_p(1.0, np.array([math.nan])))


def test_sign_flips_of_few_problems_are_exact() -> None:
    differences = np.array([0.5, 0.4, -0.1, 0.3, 0.2])
    flipped = [np.mean(differences * signs) for signs in product((1, -1), repeat=5)]
    expected = np.mean(np.abs(flipped) >= abs(differences.mean()) - 1e-12)
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_sign_flips_hold_their_level_and_have_power() -> None:
    null = [sign_flip_p(np.random.default_rng(s).normal(size=30), n_draws=400, seed=s) for s in range(300)]
    assert 0.02 <= np.mean(np.array(null) <= 0.05) <= 0.085
    assert sign_flip_p(np.random.default_rng(0).normal(size=30) + 2) < 0.01
    assert math.isnan(sign_flip_p([]))


def test_two_samples_hold_their_level_with_samples_clustered_in_problems() -> None:
    null = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        problems = np.repeat(np.arange(24), 5)
        values = np.repeat(rng.normal(size=24), 5) + rng.normal(size=120) * 0.1
        null.append(two_sample_p(values, problems < 12, problems, n_draws=400, seed=seed))
    assert np.mean(np.array(null) <= 0.05) <= 0.09
    rng = np.random.default_rng(1)
    assert two_sample_p(np.r_[rng.normal(size=15) + 2, rng.normal(size=15)], np.arange(30) < 15) < 0.01


def test_two_samples_refuse_a_problem_in_both_groups() -> None:
    with pytest.raises(ValueError, match="pair by pair"):
        two_sample_p([1.0, 2.0], [True, False], ["a", "a"])
    assert math.isnan(two_sample_p([1.0, 2.0], [True, True]))


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (7, 10), (10, 10), (130, 400)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = reference.binomtest(successes, n).proportion_ci(method="wilson")
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_at_the_edges() -> None:
    assert wilson(10, 10).low < 0.8
    assert not wilson(0, 0).measured
    with pytest.raises(ValueError, match="successes out of"):
        wilson(11, 10)


def test_benjamini_hochberg_agrees_with_scipy_and_keeps_missing() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.9, 0.02])
    assert benjamini_hochberg(p) == pytest.approx(reference.false_discovery_control(p))
    with_gap = benjamini_hochberg([0.01, None, 0.04])
    assert math.isnan(with_gap[1])
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.04])
    assert benjamini_hochberg([]).shape == (0,)
    with pytest.raises(ValueError, match="outside"):
        benjamini_hochberg([1.2])
