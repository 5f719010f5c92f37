"""Recovery: equal to the plain formula, covered at the nominal rate, silent without a gain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from probes.routing import recovered, recovery
from probes.stats import ratio
from tests.probes.routing.texts import graded, simulated


def by_hand(base, rl, mixed) -> tuple[float, float, float]:
    """The ratio and Fieller's set by trying every candidate on a fine grid."""
    b, r, m = (np.array([np.mean(row) for row in arm]) for arm in (base, rl, mixed))
    n, ok = len(b), []
    t = scipy_stats.t.ppf(0.975, n - 1)
    for candidate in np.linspace(-2, 4, 60_001):
        left = (m - b) - candidate * (r - b)
        # Half a problem that is off by one sample more.
        squares = ((left - left.mean()) ** 2).sum() + 0.5 / len(base[0]) ** 2
        if abs(left.mean()) <= t * math.sqrt(squares / (n - 1) / n):
            ok.append(candidate)
    return (m.mean() - b.mean()) / (r.mean() - b.mean()), min(ok), max(ok)


def test_ratio_and_interval_equal_the_definition():
    base, rl, mixed = simulated(3, problems=60, samples=4, base=0.3, rl=0.8, truth=0.6)
    result = recovery(base=graded(base), rl=graded(rl), mixed=graded(mixed, opened=2, changed=1))
    value, low, high = by_hand(base, rl, mixed)
    assert result.ratio == pytest.approx(value)
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))
    assert result.routed.value == pytest.approx(0.2)
    assert result.effective.value == pytest.approx(0.1)
    assert result.length["mixed"].value == 10
    assert result.accuracy["rl"].value == pytest.approx(rl.mean())


@pytest.mark.parametrize(
    ("problems", "samples", "base", "rl", "truth"),
    [
        (80, 1, 0.3, 0.7, 0.5),
        (60, 4, 0.2, 0.9, 0.8),
        (200, 2, 0.35, 0.55, 0.3),
        (100, 4, 0.3, 0.7, 1.0),
        (150, 1, 0.2, 0.8, 0),
    ],
)
def test_coverage_is_nominal(problems, samples, base, rl, truth):
    inside = []
    for seed in range(800):
        arms = simulated(seed, problems=problems, samples=samples, base=base, rl=rl, truth=truth)
        found = recovered(*(arm.mean(axis=1) for arm in arms), samples=float(samples))
        if found.measured:
            inside.append(found.low <= truth <= found.high)
    assert len(inside) > 700
    assert 0.93 <= np.mean(inside) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("copies", [0.7, 0.9, 1.0])
@pytest.mark.parametrize(("problems", "samples"), [(30, 1), (100, 1), (200, 1), (100, 4)])
def test_coverage_over_gaps_recoveries_and_correlations(problems, samples, copies):
    rates = {}
    for base, rl in ((0.05, 0.7), (0.1, 0.95), (0.3, 0.5), (0.3, 0.95)):
        for truth in (0.1, 0.3, 0.5, 0.7, 0.9):
            inside = []
            for seed in range(600):
                shape = {"problems": problems, "samples": samples, "base": base, "rl": rl, "truth": truth}
                arms = simulated(seed, **shape, copies=copies)
                found = recovered(*(arm.mean(axis=1) for arm in arms), samples=float(samples))
                if found.measured:
                    inside.append(found.low <= truth <= found.high)
            if len(inside) > 300:
                rates[base, rl, truth] = np.mean(inside)
    # Two standard errors of 600 draws are 0.018.
    assert min(rates.values()) > 0.93 - 0.02
    assert 0.93 <= np.mean(list(rates.values())) <= (0.975 if (problems, samples) == (30, 1) else 0.97)


def test_a_pinch_of_doubt_is_what_keeps_small_studies_covered():
    """Without it the interval of thirty problems misses too often; with it every case here is nominal."""
    without, within = [], []
    for seed in range(1500):
        arms = simulated(seed, problems=30, samples=1, base=0.3, rl=0.95, truth=0.9, copies=1.0)
        b, r, m = (arm.mean(axis=1) for arm in arms)
        within.append((found := recovered(b, r, m)).low <= 0.9 <= found.high)
        plain = ratio(m - b, r - b)
        without.append(plain.low <= 0.9 <= plain.high)
    assert np.mean(within) >= 0.93 > np.mean(without)


def test_without_a_gain_there_is_no_ratio():
    silent = 0
    for seed in range(300):
        base, rl, mixed = simulated(seed, problems=80, samples=2, base=0.5, rl=0.5, truth=0.5)
        silent += not recovered(*(arm.mean(axis=1) for arm in (base, rl, mixed))).measured
    # Half of the five per cent of false gaps are losses, which give no ratio either.
    assert silent >= 0.95 * 300
    base, rl, mixed = simulated(1, problems=80, samples=2, base=0.5, rl=0.5, truth=0.5)
    result = recovery(base=graded(base), rl=graded(rl), mixed=graded(mixed, opened=1))
    assert result.ratio is None
    assert result.interval is None
    assert "no gain to explain" in str(result)
    assert math.isnan(result.estimate.value)
    assert 0.0 in result.gap.interval
    assert result.difference.measured


def test_ratio_is_there_exactly_when_the_shown_gap_excludes_zero():
    seen = set()
    for seed in range(24):
        base, rl, mixed = simulated(seed, problems=40, samples=1, base=0.4, rl=0.6, truth=0.5)
        result = recovery(base=graded(base), rl=graded(rl), mixed=graded(mixed), n_boot=10)
        assert (result.ratio is not None) == (result.gap.low > 0)
        seen.add(result.ratio is None)
    assert seen == {True, False}


def test_nothing_is_clipped():
    base = [[i % 2] for i in range(40)]
    rl = [[i % 4 != 0] for i in range(40)]
    worse = recovery(base=graded(base), rl=graded(rl), mixed=graded([[i % 8 == 1] for i in range(40)]))
    assert worse.ratio is not None
    assert worse.ratio < 0
    better = recovery(base=graded(base), rl=graded(rl), mixed=graded([[i % 8 != 0] for i in range(40)]))
    assert better.ratio is not None
    assert better.ratio > 1


def test_a_loss_is_no_gain():
    result = recovery(
        base=graded([[True]] * 50), rl=graded([[i % 2] for i in range(50)]), mixed=graded([[True]] * 50, opened=0)
    )
    assert result.ratio is None
    assert "worse than the base" in result.reason


def test_perfect_agreement_still_has_an_interval():
    base, rl = [[False]] * 60 + [[True]] * 40, [[True]] * 100
    for mixed, value in ((rl, 1.0), (base, 0.0)):
        result = recovery(base=graded(base), rl=graded(rl), mixed=graded(mixed, opened=1))
        assert result.ratio == value
        assert result.interval is not None
        # 1 - 0.025 ** (1/100) of the problems over a gap of 0.6.
        assert result.interval.high - value == pytest.approx((1 - 0.025**0.01) / 0.6)


def test_only_common_graded_problems_count():
    names = ["a", "b", "c", "d"]
    base = graded([[0], [0], [1], [0]], names=names)
    rl = graded([[1], [1], [1], [None]], names=names)
    mixed = graded([[1], [0], [1]], names=names[:3], opened=3)
    result = recovery(base=base, rl=rl, mixed=mixed)
    assert result.n_problems == 3
    assert result.left_out == 1
    assert result.accuracy["mixed"].value == pytest.approx(2 / 3)


def test_samples_of_a_problem_are_averaged_and_order_does_not_matter():
    base, rl, mixed = simulated(7, problems=30, samples=3, base=0.3, rl=0.8, truth=0.6)
    plain = recovery(base=graded(base), rl=graded(rl), mixed=graded(mixed, opened=1))
    order = np.random.default_rng(0).permutation(30)
    names = [f"p{place:04d}" for place in order]
    turned = recovery(base=graded(base), rl=graded(rl[order], names=names), mixed=graded(mixed, opened=1))
    assert plain.frame.equals(turned.frame)


def test_shares_without_a_record_are_not_measured_and_refusals_are_clear():
    base, rl = graded([[0], [0], [1]]), graded([[1], [1], [1]])
    result = recovery(base=base, rl=rl, mixed=rl)
    assert not result.routed.measured
    assert "not measured" in str(result)
    with pytest.raises(ValueError, match="rl samples are not graded"):
        recovery(base=base, rl=graded([[None]] * 3), mixed=rl)
    with pytest.raises(ValueError, match="no graded problem in common"):
        recovery(base=base, rl=rl, mixed=graded([[1]], names=["elsewhere"]))
    assert len(result.plot().data) == 1
