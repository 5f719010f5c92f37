"""Weighted means: plain loops, equal weights against Student, few deviating problems, edges, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from probes.stats import wilson
from probes.stats.weighted import weighted_mean


def slow(part: list[float], weight: list[float]) -> tuple[float, float, float]:
    """Value and ends in plain loops."""
    total = sum(weight)
    value = sum(part) / total
    z = [x - value * w for x, w in zip(part, weight)]
    squares, fourth = sum(x**2 for x in z), sum(x**4 for x in z)
    freedom = max(1.0, 1.5 * squares**2 / fourth - 1)
    n = len(part)
    half = reference.t.ppf(0.975, freedom) * math.sqrt(n / (n - 1) * squares) / total
    return value, value - half, value + half


def test_equals_plain_loops_whatever_the_order() -> None:
    draw = np.random.default_rng(0)
    weight = draw.random(12)
    part = weight * draw.normal(size=12)
    found = weighted_mean(part, weight)
    assert (found.value, found.low, found.high) == pytest.approx(slow(part.tolist(), weight.tolist()))
    turned = weighted_mean(part[::-1].copy(), weight[::-1].copy())
    assert turned.low == pytest.approx(found.low)
    # Another scale of weights is the same group.
    assert weighted_mean(part * 7, weight * 7).high == pytest.approx(found.high)


def test_means_of_normal_values_are_covered_and_a_lone_deviation_says_little() -> None:
    draw = np.random.default_rng(1)
    outside = 0
    for _ in range(400):
        weight = draw.random(30)
        found = weighted_mean(weight * draw.normal(0.3, 1, 30), weight)
        outside += not found.low <= 0.3 <= found.high
    assert 5 <= outside <= 35
    lone = weighted_mean(np.r_[np.zeros(29), 1.0], np.ones(30))
    assert "1.0 degrees" in lone.method
    assert lone.low < -0.3


def test_where_nothing_deviates_it_is_wilsons() -> None:
    found = weighted_mean(np.full(10, 0.5), np.full(10, 0.5), within=(0.0, 1.0))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(wilson(10, 10).low)
    gap = weighted_mean(np.zeros(10), np.ones(10), within=(-1.0, 1.0))
    assert gap.high == -gap.low == pytest.approx(wilson(0, 10).high)
    assert math.isnan(weighted_mean(np.zeros(10), np.ones(10)).low)
    assert "alike" in gap.method


def test_edges_and_refusals() -> None:
    assert math.isnan(weighted_mean(np.zeros(3), np.zeros(3)).value)
    assert math.isnan(weighted_mean(np.zeros(0), np.zeros(0)).value)
    one = weighted_mean(np.array([0.2, math.nan]), np.array([0.5, 0.5]))
    assert (one.value, one.n) == (pytest.approx(0.4), 1)
    assert math.isnan(one.low)
    assert weighted_mean(np.array([0.9, 1.0, 0.2]), np.ones(3), within=(0.0, 1.0)).high == 1.0
    with pytest.raises(ValueError, match="negative"):
        weighted_mean(np.ones(2), np.array([1.0, -1.0]))
    with pytest.raises((ValueError, TypeError), match=r"one weight a problem|weight"):
        weighted_mean(np.ones(2), np.ones(3))
