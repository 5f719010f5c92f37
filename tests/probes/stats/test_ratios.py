"""Ratios: coverage of a known share, silence where the gap is nothing, and the two methods side by side."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probes.stats import ratio


def simulate(seed: int, share: float, gap: float, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=n) * 0.2
    base, rl, mixed = (ease + rng.normal(size=n) * 0.2 + level for level in (0.0, gap, share * gap))
    return mixed - base, rl - base


@pytest.mark.parametrize("method", ["fieller", "bootstrap"])
@pytest.mark.parametrize("share", [0.0, 0.9, 1.2])
def test_covers_a_known_share(method: str, share: float) -> None:
    hits = [share in ratio(*simulate(s, share, 0.5), method=method, n_boot=500, seed=s).interval for s in range(400)]
    assert 0.925 <= np.mean(hits) <= 0.975


@pytest.mark.parametrize("method", ["fieller", "bootstrap"])
def test_no_ratio_where_there_is_no_gap(method: str) -> None:
    found = [ratio(*simulate(s, 1.0, 0.0), method=method, n_boot=500, seed=s) for s in range(200)]
    silent = [math.isnan(each.value) and (each.low, each.high) == (-math.inf, math.inf) for each in found]
    assert np.mean(silent) >= 0.92
    assert "covers zero" in next(each.method for each, quiet in zip(found, silent) if quiet)


def test_fieller_solves_its_inequality() -> None:
    gained, gap = simulate(3, 0.7, 0.4)
    found = ratio(gained, gap)
    from scipy.stats import t

    def edge(r: float) -> float:
        left = gained - r * gap
        return left.mean() ** 2 / (left.var(ddof=1) / len(left)) - t.ppf(0.975, len(left) - 1) ** 2

    assert edge(found.low) == pytest.approx(0, abs=1e-6)
    assert edge(found.high) == pytest.approx(0, abs=1e-6)
    assert edge(found.value) < 0


def test_a_negative_gap_and_a_share_beyond_one_are_not_clipped() -> None:
    gained, gap = simulate(1, 1.3, -0.6)
    assert ratio(gained, gap).value == pytest.approx(1.3, abs=0.3)
    assert ratio(-gained, gap).value < -1


def test_constant_gap_and_edges() -> None:
    assert ratio([0.1, 0.3], [0.5, 0.5]).value == pytest.approx(0.4)
    assert math.isnan(ratio([0.1], [0.5]).value)
    assert ratio([0.1, None, 0.3], [0.5, 0.5, 0.5]).n == 2
    with pytest.raises(ValueError, match="row by row"):
        ratio([0.1], [0.5, 0.2])
