"""A contrast's difference against plain loops over the shared problems, its coverage and its null."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probes.stats import wilson
from probes.stats.contrast import COLUMNS, Measured, beside


def figure(values: dict[str, float]) -> Measured:
    return Measured.of_means(list(values), np.array(list(values.values()))[:, None])


def test_a_figure_is_a_function_of_means_and_leaves_missing_problems_out() -> None:
    table = np.array([[1.0, 2.0], [3.0, 4.0], [math.nan, 1.0]])
    one = Measured.of_means(["a", "b", "c"], table, lambda x, y: x / y)
    assert one.problems == ("a", "b")
    assert one.estimate().value == pytest.approx(2 / 3)
    assert one.under(np.array([[3.0, 1.0]]))[0] == pytest.approx((3 + 3) / (6 + 4))
    assert math.isnan(figure({}).estimate().value)


def test_the_difference_is_taken_over_shared_problems_only() -> None:
    ours, other = figure({"a": 1.0, "b": 5.0, "c": 9.0}), figure({"b": 1.0, "c": 2.0, "z": 100.0})
    gap = ours.minus(other)
    assert gap.value == pytest.approx((5 + 9) / 2 - (1 + 2) / 2)
    assert gap.n == 2
    rows = beside({"x": ours, "y": ours}, {"SFT": {"x": other}})
    assert tuple(rows.columns) == COLUMNS
    assert rows["quantity"].tolist() == ["x"]
    assert rows["value"].iloc[0] == pytest.approx(103 / 3)
    assert rows["difference"].iloc[0] == pytest.approx(gap.value)


def test_pairing_narrows_the_interval_and_covers_the_truth() -> None:
    inside = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        hard = draw.normal(size=50) * 5
        ours, other = (
            {f"p{at}": x for at, x in enumerate(hard + shift + draw.normal(size=50))} for shift in (1.0, 0.0)
        )
        gap = figure(ours).minus(figure(other), n_boot=300)
        inside += gap.low <= 1.0 <= gap.high
        assert gap.high - gap.low < 2
    assert inside >= 52


def test_refusals() -> None:
    one = figure({"a": 1.0})
    with pytest.raises(ValueError, match="'SFT' has none of the figures"):
        beside({"x": one}, {"SFT": {"y": one}})
    with pytest.raises(ValueError, match="'SFT' has no problem in common"):
        beside({"x": one}, {"SFT": {"x": figure({"b": 1.0})}})
    with pytest.raises(ValueError, match="each of its problems once"):
        Measured(("a", "a"), one.under)
    assert beside({"x": one}, {}).empty


def test_two_differences_against_one_base_lie_as_near_as_two_models() -> None:
    names, base, tuned = [f"p{at}" for at in range(60)], np.full(60, 0.5), np.full(60, 0.7)

    def gap(base: np.ndarray, rl: np.ndarray, told: bool = True) -> Measured:
        table = np.stack([base, rl], axis=1)
        return Measured.of_means(names, table, lambda a, b: b - a, within=(-1.0, 1.0), against=base if told else None)

    none = wilson(0, 60).high
    ours = gap(base, tuned)
    row = beside({"x": ours}, {"SFT": {"x": gap(base, tuned)}}).iloc[0]
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((-none, none))
    # Another base, or one that nobody told, may have moved the other way.
    for other in (gap(base, tuned, told=False), gap(base + 0.1, tuned + 0.1)):
        row = beside({"x": ours}, {"SFT": {"x": other}}).iloc[0]
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((-2 * none, 2 * none))
    narrow = ours.minus(ours, within=(-0.5, 0.5))
    assert (narrow.low, narrow.high) == pytest.approx((-none / 2, none / 2))
