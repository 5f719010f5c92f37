"""Difficulty: exact advantages, weights against all subsets, no regression to the mean."""

from __future__ import annotations

import itertools
import math
from statistics import pstdev

import numpy as np
import pytest

from probes.samples.hardness import NAMES, Bins, bin_weights, group_advantage, held_out, success_mass


@pytest.mark.parametrize("group", [2, 5, 8, 16])
def test_advantages_are_the_standardised_rewards(group: int) -> None:
    for s in range(1, group):
        rewards = [1.0] * s + [0.0] * (group - s)
        mean, spread = s / group, pstdev(rewards)
        success, failure = group_advantage(group, s)
        assert success == pytest.approx((1 - mean) / spread)
        assert failure == pytest.approx(-mean / spread)


def test_published_advantages_and_edges() -> None:
    assert group_advantage(8, 1) == pytest.approx((2.6458, -0.3780), abs=1e-4)
    assert group_advantage(16, 1) == pytest.approx((3.8730, -0.2582), abs=1e-4)
    none, failure = group_advantage(8, 0)
    assert math.isnan(none)
    assert math.copysign(1, failure) == 1
    assert failure == 0
    success, nothing = group_advantage(8, 8)
    assert success == 0
    assert math.isnan(nothing)
    for group, successes in ((1, 0), (4, 5), (4, -1)):
        with pytest.raises(ValueError, match="a group has"):
            group_advantage(group, successes)


def subsets(values: list[tuple[int, float]], bins: Bins) -> tuple[np.ndarray, np.ndarray]:
    """Weights and held-out values of one problem by going through all subsets of its samples."""
    weight, value, total = np.zeros(3), np.zeros(3), 0
    for chosen in itertools.combinations(range(len(values)), bins.draws):
        total += 1
        right = sum(values[at][0] for at in chosen)
        place = next(at for at, name in enumerate(NAMES) if right in bins.inside(name))
        rest = [values[at][1] for at in range(len(values)) if at not in chosen]
        weight[place] += 1
        value[place] += np.mean(rest)
    return weight / total, value / total


def test_weights_and_held_out_values_equal_all_subsets() -> None:
    bins = Bins(draws=4, easy=3, hard=0)
    draw = np.random.default_rng(0)
    for right in range(8):
        values = [(int(at < right), float(draw.normal())) for at in range(7)]
        n, c = np.array([7]), np.array([right])
        sums = [np.array([float(sum(v for flag, v in values if flag == side))]) for side in (1, 0)]
        weight, value = subsets(values, bins)
        np.testing.assert_allclose(bin_weights(n, c, bins)[0], weight, atol=1e-12)
        np.testing.assert_allclose(held_out(n, c, sums[0], sums[1], bins)[0], value, atol=1e-12)


def test_mass_of_rare_successes_equals_all_groups() -> None:
    for right in range(7):
        flags = [1] * right + [0] * (6 - right)
        groups = list(itertools.combinations(flags, 4))
        masses = [sum(group) * (group_advantage(4, sum(group))[0] if sum(group) else 0) for group in groups]
        lone = [mass if sum(group) == 1 else 0 for mass, group in zip(masses, groups, strict=True)]
        rare, total = success_mass(np.array([6]), np.array([right]), group=4, rare=1)
        assert total[0] == pytest.approx(np.mean(masses))
        assert rare[0] == pytest.approx(np.mean(lone))


def test_an_unchanged_model_neither_gains_nor_loses_in_any_bin() -> None:
    draw = np.random.default_rng(1)
    gaps = []
    for _ in range(200):
        p = draw.beta(0.5, 0.5, 60)
        c, again = draw.binomial(16, p), draw.binomial(16, p) / 16
        n, bins = np.full(60, 16), Bins()
        weights = bin_weights(n, c, bins)
        base = held_out(n, c, c.astype(float), np.zeros(60), bins)
        gaps.append(((weights * again[:, None]).sum(0) - base.sum(0)) / weights.sum(0))
        naive = (weights * (again - c / 16)[:, None]).sum(0) / weights.sum(0)
        gaps[-1] = np.concatenate([gaps[-1], naive])
    mean, error = np.mean(gaps, axis=0), np.std(gaps, axis=0) / np.sqrt(len(gaps))
    assert (np.abs(mean[:3]) < 3 * error[:3]).all()
    # Without the held-out samples the easy bin would seem to fall and the hard bin to rise.
    assert mean[3] < -3 * error[3]
    assert mean[5] > 3 * error[5]


def test_bins_say_their_edges_and_refuse_what_means_nothing() -> None:
    assert Bins().words == {"easy": "easy (7 to 8 of 8)", "medium": "medium (1 to 6 of 8)", "hard": "hard (0 of 8)"}
    with pytest.raises(ValueError, match="0 <= hard < easy"):
        Bins(easy=0)
    with pytest.raises(ValueError, match=">= 8"):
        bin_weights(np.array([4]), np.array([1]), Bins())
    with pytest.raises(ValueError, match=">= 9"):
        held_out(np.array([8]), np.array([1]), np.array([1.0]), np.array([0.0]), Bins())
