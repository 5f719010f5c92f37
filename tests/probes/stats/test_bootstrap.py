"""The bootstrap over problems against a plain loop, its coverage on simulated truths, and its edges."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from probes.stats import (
    Estimate,
    Interval,
    bootstrap_problems,
    bootstrap_weights,
    paired_difference,
    percentile_interval,
    problem_means,
    stream,
    wilson,
)
from probes.stats.bootstrap import bootstrap_table


def covers(draw, truth: float, *, repeats: int = 600, **options) -> float:
    hits = 0
    for repeat in range(repeats):
        values, problems = draw(np.random.default_rng(repeat))
        hits += truth in bootstrap_problems(values, problems, n_boot=600, seed=repeat, **options).interval
    return hits / repeats


def test_weights_are_draws_with_replacement() -> None:
    weights = bootstrap_weights(7, n_boot=4000, seed=3)
    assert weights.shape == (4000, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.06)
    assert weights.var() == pytest.approx(6 / 7, abs=0.05)
    assert (weights == bootstrap_weights(7, n_boot=4000, seed=3)).all()
    assert (weights != bootstrap_weights(7, n_boot=4000, seed=4)).any()


def test_matches_a_loop_that_resamples_problems_one_by_one() -> None:
    rng = np.random.default_rng(0)
    problems = np.repeat(np.arange(10, 22), 5)
    values = rng.normal(size=60) + problems / 4
    found = bootstrap_problems(values, problems, n_boot=500, seed=1)
    means = np.array([values[problems == problem].mean() for problem in range(10, 22)])
    chosen = bootstrap_weights(12, n_boot=500, seed=1)
    slow = np.array([np.mean([m for m, times in zip(means, row) for _ in range(times)]) for row in chosen])
    expected = percentile_interval(slow, n=12)
    assert found.value == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("n", [12, 40])
def test_covers_a_mean_of_problems_with_several_samples(n: int) -> None:
    def draw(rng: np.random.Generator):
        rates = rng.beta(0.6, 1.4, size=n)
        return (rng.random((n, 6)) < rates[:, None]).ravel(), np.repeat(np.arange(n), 6)

    assert 0.93 <= covers(draw, 0.3) <= 0.97


def test_treating_samples_as_problems_would_not_cover() -> None:
    def draw(rng: np.random.Generator):
        rates = rng.beta(0.6, 1.4, size=30)
        return (rng.random((30, 6)) < rates[:, None]).ravel(), None

    assert covers(draw, 0.3, repeats=200) < 0.85


def test_covers_a_paired_difference_and_is_silent_on_a_null() -> None:
    hits, false = 0, 0
    for repeat in range(400):
        rng = np.random.default_rng(repeat)
        hard = rng.beta(1, 1, size=40)
        names = [f"p{index}" for index in range(40)]
        base = (rng.random((40, 4)) < hard[:, None] * 0.8).mean(axis=1)
        better = (rng.random((40, 4)) < (hard * 0.8 + 0.1)[:, None]).mean(axis=1)
        same = (rng.random((40, 4)) < hard[:, None] * 0.8).mean(axis=1)
        order = rng.permutation(40)
        shuffled = [names[index] for index in order]
        hits += 0.1 in paired_difference(base, better[order], names, shuffled, n_boot=800, seed=repeat).interval
        false += paired_difference(base, same[order], names, shuffled, n_boot=800, seed=repeat).excludes_zero
    assert 0.925 <= hits / 400 <= 0.975
    assert false / 400 <= 0.075


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(size=50) * 3
    names = np.arange(50)
    paired = paired_difference(hard, hard + 1 + rng.normal(size=50) * 0.1, names, names)
    assert paired.value == pytest.approx(1, abs=0.1)
    assert paired.interval.width < 0.1


def test_problems_of_one_side_only_are_left_out_and_order_does_not_matter() -> None:
    found = paired_difference([1.0, 2.0, 3.0], [5.0, 4.0, 9.0], ["a", "b", "c"], ["b", "a", "z"])
    assert found.n == 2
    assert found.value == pytest.approx(((4 - 1) + (5 - 2)) / 2)
    turned = bootstrap_problems([3.0, 1.0, 2.0], ["c", "a", "b"], seed=5)
    assert turned == bootstrap_problems([1.0, 2.0, 3.0], ["a", "b", "c"], seed=5)


def test_statistics_of_several_columns() -> None:
    table = {"gain": [0.2, 0.4, 0.6], "gap": [0.5, 0.5, 0.5]}
    assert bootstrap_problems(table, statistic=lambda gain, gap: gain / gap).value == pytest.approx(0.8)
    with pytest.raises(ValueError, match="need a statistic"):
        bootstrap_problems(table)
    with pytest.raises(ValueError, match="differ in length"):
        bootstrap_problems({"a": [1.0], "b": [1.0, 2.0]}, statistic=lambda a, b: a - b)


def test_missing_is_left_out_and_never_zero() -> None:
    graded = pd.Series([True, None, False, None], dtype="boolean")
    names, means = problem_means(graded, ["a", "a", "b", "c"])
    assert names.tolist() == ["a", "b", "c"]
    assert means[:2].tolist() == [1.0, 0.0]
    assert math.isnan(means[2])
    assert bootstrap_problems(graded, ["a", "a", "b", "c"]).n == 2
    with pytest.raises(TypeError, match="numbers"):
        bootstrap_problems(["yes", "no"])
    with pytest.raises(ValueError, match="problem names"):
        bootstrap_problems([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="no problem"):
        bootstrap_problems([1.0, 2.0], ["a", None])


def test_truth_values_that_are_all_alike_still_have_an_interval() -> None:
    right = bootstrap_problems([True] * 40, [f"p{index % 10}" for index in range(40)])
    assert (right.value, right.high, right.n) == (1.0, 1.0, 10)
    assert right.low == pytest.approx(0.7225, abs=1e-3)
    wrong = bootstrap_problems(pd.Series([False, None, False], dtype="boolean"))
    assert (wrong.value, wrong.low, wrong.n) == (0.0, 0.0, 2)
    assert bootstrap_problems([0.0, 0.0, 0.0]).interval.width == 0


def test_draws_that_are_all_alike_have_the_ends_of_what_was_not_drawn() -> None:
    never = np.zeros(60)
    assert percentile_interval(never, n=60) == Interval(0.0, 0.0)
    share = percentile_interval(never, n=60, within=(0.0, 1.0))
    assert (share.low, share.high) == (0, pytest.approx(wilson(0, 60).high))
    full = percentile_interval(never + 1, n=60, within=(0.0, 1.0))
    assert (full.low, full.high) == (pytest.approx(wilson(60, 60).low), 1)
    gap = bootstrap_table(np.zeros((60, 2)), lambda a, b: b - a, within=(-1.0, 1.0))
    assert gap.low == -gap.high == pytest.approx(-wilson(0, 60).high)
    entropy = percentile_interval(never, n=60, within=(0.0, math.inf))
    assert math.isnan(entropy.low)
    assert math.isnan(entropy.high)
    ordinary = bootstrap_weights(60, n_boot=400) @ np.random.default_rng(0).random(60) / 60
    assert percentile_interval(ordinary, n=60, within=(0.0, 1.0)) == percentile_interval(ordinary, n=60)
    one_apart = np.r_[never[1:], 1 / 60]
    assert percentile_interval(one_apart, n=60, within=(0.0, math.inf)) == percentile_interval(one_apart, n=60)


def ends_of(values: np.ndarray, within: tuple[float, float] | None) -> Estimate:
    return bootstrap_table(values[:, None], within=within)


@pytest.mark.parametrize("n", [20, 60, 200])
@pytest.mark.parametrize("kind", ["alike", "unlike", "both ways"])
def test_one_problem_more_that_differs_never_narrows_an_interval(n: int, kind: str) -> None:
    signs = {"alike": np.ones(6), "unlike": np.ones(6), "both ways": np.array([1.0, -1.0] * 3)}[kind]
    sizes = np.array([1.0, 0.93, 0.87, 0.99, 0.91, 0.95]) if kind == "unlike" else np.ones(6)
    bounds = (-1.0, 1.0)
    found = [ends_of(np.r_[(signs * sizes)[:k], np.zeros(n - k)], bounds) for k in range(6)]
    widths = [one.interval.width for one in found]
    assert widths[:3] == sorted(widths[:3])
    assert min(widths) == widths[0]
    if kind == "alike":
        assert [one.high for one in found] == sorted(one.high for one in found)
    plain = ends_of(np.r_[(signs * sizes)[:1], np.zeros(n - 1)], None)
    assert found[1].low < plain.low
    assert plain.high < found[1].high


def test_few_differing_problems_have_about_wilsons_ends_and_bounds_are_kept() -> None:
    for k in (1, 2, 4, 8):
        share = ends_of(np.r_[np.ones(k), np.zeros(60 - k)], (0.0, 1.0))
        assert share.high == pytest.approx(wilson(k, 60).high, abs=0.008)
        assert 0 <= share.low <= wilson(k, 60).low + 0.008
    assert ends_of(np.r_[0.0, np.ones(59)], (0.0, 1.0)).high == 1.0
    # Five problems to none are no sure difference by the test of signs, and six are.
    gains = [ends_of(np.r_[np.ones(k), np.zeros(60 - k)], (-1.0, 1.0)).excludes_zero for k in (4, 5, 6)]
    assert gains == [False, False, True]


@pytest.mark.parametrize(("n", "most"), [(20, 0.05), (60, 0.05), (200, 0.095)])
def test_shares_near_an_end_miss_about_as_often_as_they_say(n: int, most: float) -> None:
    """Exact in the number of problems that differ, for true shares of 0.015 to 0.17."""
    counts = np.arange(n // 3 + 15 if n > 20 else n + 1)
    ends = [ends_of((np.arange(n) < k).astype(float), (0.0, 1.0)).interval for k in counts]
    truths = np.linspace(0.015, 0.17, 63).tolist()
    missed = [sum(binom.pmf(k, n, p) for k, one in zip(counts.tolist(), ends) if p not in one) for p in truths]
    assert max(missed) <= most
    assert np.mean(missed) <= 0.055


def test_a_share_of_none_covers_rare_problems() -> None:
    """Where 3 % of problems differ, 60 of them hold none one time in six; plain resampling then says 0 and no more."""
    draw, missed = np.random.default_rng(0), {"bounded": 0, "plain": 0}
    for _ in range(400):
        seen = (draw.random(60) < 0.03).astype(float)[:, None]
        for name, within in (("bounded", (0.0, 1.0)), ("plain", None)):
            missed[name] += 0.03 not in bootstrap_table(seen, within=within, n_boot=400).interval
    assert missed["bounded"] < 0.08 * 400
    assert missed["plain"] > 0.12 * 400


def test_a_share_just_within_reach_of_none_is_covered_where_one_problem_differs() -> None:
    """At 5.5 % of 60 problems one differs one time in eight: its interval must reach as far as that of none does."""
    draw, missed = np.random.default_rng(1), {"bounded": 0, "plain": 0}
    for _ in range(400):
        seen = (draw.random(60) < 0.055).astype(float)[:, None]
        for name, within in (("bounded", (0.0, 1.0)), ("plain", None)):
            missed[name] += 0.055 not in bootstrap_table(seen, within=within, n_boot=400).interval
    assert missed["bounded"] < 0.04 * 400
    assert missed["plain"] > 0.1 * 400


def test_nothing_and_one_problem_have_no_interval() -> None:
    nothing = bootstrap_problems([])
    assert (nothing.n, nothing.measured, str(nothing)) == (0, False, "not measured")
    single = bootstrap_problems([0.4, 0.6], ["a", "a"])
    assert single.value == pytest.approx(0.5)
    assert math.isnan(single.low)
    assert str(single) == "0.50 [not known]"
    assert not single.excludes_zero


def test_a_statistic_undefined_on_many_draws_has_no_interval() -> None:
    rare = bootstrap_problems({"x": [1.0, 0.0, 0.0], "y": [1.0, 0.0, 0.0]}, statistic=lambda x, y: x / y)
    assert rare.value == 1.0
    assert math.isnan(rare.low)


def test_two_thousand_draws_of_two_hundred_problems_take_milliseconds() -> None:
    values = np.random.default_rng(0).random(200)
    bootstrap_problems(values)
    start = time.perf_counter()
    bootstrap_problems(values)
    assert time.perf_counter() - start < 0.5


def test_prints_and_streams() -> None:
    estimate = Estimate(0.8249, 0.771, 0.8649, 200, "bootstrap")
    assert str(estimate) == "0.82 [0.77, 0.86]"
    assert f"{estimate:.1%}" == "82.5% [77.1%, 86.5%]"
    assert estimate.as_dict()["n"] == 200
    assert str(Interval(-0.001, math.inf)) == "[0.00, ∞]"
    assert 3.0 in Interval(2.0, math.inf)
    assert stream(1, "a").random() == stream(1, "a").random() != stream(1, "b").random()
