"""The curve's area and needed shares against plain loops; where and which tokens are routed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hooks.rollouts import Rollouts
from probes.routing import curve, where, which
from probes.routing.curve import area_under, share_needed
from tests.probes.routing.texts import graded


def slow_area(x, y) -> float:
    points = [(0.0, 0.0), *sorted(zip(x, y)), (1.0, 1.0)]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


def slow_needed(x, y, target) -> float:
    points = [(0.0, 0.0), *sorted(zip(x, y))]
    for left, right in itertools.pairwise(points):
        for step in np.linspace(0, 1, 100_001):
            if left[1] + step * (right[1] - left[1]) >= target:
                return left[0] + step * (right[0] - left[0])
    return math.inf


def test_area_and_share_needed_equal_plain_loops():
    draw = np.random.default_rng(0)
    for _ in range(5):
        x, y = np.sort(draw.random(4)), draw.normal(0.6, 0.4, size=4)
        xs, ys = np.pad(x, (1, 0))[None], np.pad(y, (1, 0))[None]
        assert area_under(xs, ys)[0] == pytest.approx(slow_area(x, y))
        for target in (0.5, 0.9):
            slow = slow_needed(x, y, target)
            assert share_needed(xs, ys, target)[0] == pytest.approx(slow, abs=1e-4) or math.isinf(slow)
    assert math.isinf(share_needed(np.array([[0.0, 0.1]]), np.array([[0.0, 0.4]]), 0.5)[0])


def made(share_right: float, opened: int, seed: int = 0) -> Rollouts:
    draw = np.random.default_rng(seed)
    right = draw.permutation(np.arange(100) < round(100 * share_right))
    return graded(right[:, None], length=100, opened=opened, changed=opened // 2)


def test_a_known_curve():
    base, rl = graded(np.zeros((100, 1), bool), length=50), graded(np.ones((100, 1), bool), length=50)
    runs = {"js > 0.4": made(0.3, 2), "js > 0.1": made(0.8, 10), "js > 0.02": made(1.0, 30)}
    result = curve(base=base, rl=rl, mixed=runs, controls={"random": made(0.1, 10, seed=3)})
    assert result.area.value == pytest.approx(slow_area([0.02, 0.1, 0.3], [0.3, 0.8, 1.0]))
    assert result.area.low < result.area.value < result.area.high
    half, most = result.needed[0.5], result.needed[0.9]
    assert half is not None
    assert most is not None
    assert half.value == pytest.approx(0.02 + 0.08 * 0.2 / 0.5)
    assert most.value == pytest.approx(0.2)
    assert half.low < half.value < half.high
    assert list(result.frame["kind"]) == ["point"] * 3 + ["control"]
    assert "90% of the gain needs 20.0%" in result.headline()
    effective = curve(base=base, rl=rl, mixed=runs, axis="effective").needed[0.9]
    assert effective is not None
    assert effective.value == pytest.approx(0.1)
    assert {trace.name for trace in result.plot().data} == {"gate", "controls"}


def test_points_are_joined_in_order_of_their_dose():
    base, rl = graded(np.zeros((100, 1), bool), length=4), graded(np.ones((100, 1), bool), length=50)
    # One routed token in a short text is a larger share than two in the long text that they bring about.
    few = graded(np.arange(100)[:, None] < 20, length=10, opened=1)
    more = graded(np.arange(100)[:, None] < 100, length=50, opened=2)
    result = curve(base=base, rl=rl, mixed={"js > 0.4": few, "js > 0.1": more})
    half = result.needed[0.5]
    assert half is not None
    assert half.value == pytest.approx(0.1 + (0.04 - 0.1) * 0.3 / 0.8)
    assert list(result.plot().data[0].y) == pytest.approx([0.2, 1.0])


def test_what_is_never_reached_is_none():
    base, rl = graded(np.zeros((100, 1), bool)), graded(np.ones((100, 1), bool))
    result = curve(base=base, rl=rl, mixed={"js > 0.1": made(0.6, 10)})
    assert result.needed[0.5] is not None
    assert result.needed[0.9] is None
    assert math.isinf(result.least[0.9])
    assert "90% never reached" in str(result)


def test_without_a_gain_there_is_no_area_and_the_plot_shows_accuracy():
    arm = graded(np.arange(100)[:, None] % 2 == 0)
    result = curve(base=arm, rl=arm, mixed={"js > 0.1": made(0.5, 10)})
    assert not result.area.measured
    assert result.needed == {0.5: None, 0.9: None}
    assert "no gain to explain" in str(result)
    assert "no gain" in result.plot().layout.yaxis.title.text


def test_refusals():
    arm = graded(np.arange(100)[:, None] % 2 == 0)
    with pytest.raises(ValueError, match="at least one mixed run"):
        curve(base=arm, rl=arm, mixed={})
    with pytest.raises(ValueError, match="no record of a gate"):
        curve(base=arm, rl=made(1.0, 5), mixed={"js": arm})


def test_where_and_which_equal_counts_by_hand():
    rows = []
    for name, ids, opened, changed in (
        ("a", [5, 6, 7, 8], [1, 0, 0, 0], [1, 0, 0, 0]),
        ("b", [5, 5, 7, 9, 9, 9, 9, 9], [1, 1, 0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0, 0, 0]),
    ):
        rows.append(
            {
                "problem": name, "sample": 0, "model": "m", "prompt": "?", "prompt_ids": [1], "ids": ids, "text": "x",
                "logp": [0.0] * len(ids), "stop": "eos", "author": ["base"] * len(ids), "correct": True,
                "answer": "x", "gate_open": [bool(x) for x in opened], "changed": [bool(x) for x in changed],
            }
        )  # fmt: skip
    mixed = Rollouts.of(rows)
    table = where(mixed, parts=4)
    assert table["open"].tolist() == [3, 0, 0, 1]
    assert table["tokens"].tolist() == [3, 3, 3, 3]
    assert table["changed"].tolist() == [2, 0, 0, 0]
    assert table["share"].tolist() == pytest.approx([1, 0, 0, 1 / 3])
    tokens = which(mixed, decode=lambda ids: f"<{ids[0]}>")
    assert tokens["id"].tolist() == [5, 9]
    assert tokens["text"].tolist() == ["<5>", "<9>"]
    assert tokens["share"].tolist() == pytest.approx([1.0, 0.2])
    assert tokens["lift"].tolist() == pytest.approx([3.0, 0.6])
    with pytest.raises(ValueError, match="gate_open"):
        where(graded([[1]]))
    with pytest.raises(ValueError, match="at least one part"):
        where(mixed, parts=0)
    assert which(graded([[1]], opened=0)).empty
