"""Repetition: n-grams against a slow count, planted loops found at their period, plain texts left alone."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.samples.repetition import first_statement, repeat_ratios, statements, tail_loops, visible


def slow_ratio(ids: list[int], ns: tuple[int, ...]) -> float:
    """The largest share of n-grams that are not new, by sets."""
    found = []
    for n in ns:
        grams = [tuple(ids[at : at + n]) for at in range(len(ids) - n + 1)]
        if grams:
            found.append(1 - len(set(grams)) / len(grams))
    return max(found, default=math.nan)


def slow_loop(ids: list[int]) -> int:
    """The smallest period whose block stands at the end three times or more, over twelve tokens or more."""
    tail = ids[-200:]
    for period in range(1, 51):
        length = period
        while length < len(tail) and tail[-length - 1] == tail[-length - 1 + period]:
            length += 1
        if length >= 3 * period and length >= 12:
            return period
    return 0


@given(st.lists(st.lists(st.integers(0, 3), max_size=40), max_size=6))
@settings(deadline=None, max_examples=80)
def test_ratios_and_loops_equal_the_slow_ones(batch: list[list[int]]) -> None:
    np.testing.assert_allclose(repeat_ratios(batch), [slow_ratio(ids, (4, 5, 6, 7, 8)) for ids in batch])
    np.testing.assert_allclose(repeat_ratios(batch, (1, 2)), [slow_ratio(ids, (1, 2)) for ids in batch])
    assert tail_loops(batch).tolist() == [slow_loop(ids) for ids in batch]


@pytest.mark.parametrize("period", [1, 2, 7, 31, 50])
def test_a_planted_loop_is_found_at_its_period(period: int) -> None:
    draw = np.random.default_rng(period)
    head = draw.integers(100, 1000, 60).tolist()
    block = list(range(period))
    times = max(3, math.ceil(12 / period))
    assert tail_loops([head + block * times]).tolist() == [period]
    assert tail_loops([head + block * times + block[: period // 2]]).tolist() == [period]
    assert tail_loops([head + block * 2]).tolist() == [0]
    assert tail_loops([head + block * times + [7777]]).tolist() == [0]


def test_three_equal_digits_are_no_loop_and_random_texts_have_none() -> None:
    assert tail_loops([[5, 6, 1, 0, 0, 0], [], [1]]).tolist() == [0, 0, 0]
    draw = np.random.default_rng(0)
    texts = [draw.integers(0, 50, 300).tolist() for _ in range(200)]
    assert not tail_loops(texts).any()
    assert np.median(repeat_ratios(texts)) == 0.0
    assert np.isnan(repeat_ratios([[], [1, 2]])).all()
    with pytest.raises(ValueError, match="at least one token"):
        repeat_ratios([[1]], (0,))


def test_statements_of_an_answer() -> None:
    assert statements(r"The answer is \boxed{5}.") == 1
    assert statements(r"\boxed{5} so \boxed{5} and again \boxed {5}") == 3
    assert statements("The answer is 5. Therefore the answer is: 5. **Answer**: 5") == 3
    assert statements("steps 4+5=9;answer 9.") == 1
    assert statements("<think>\\boxed{4}? no, \\boxed{5}</think>\nIt is \\boxed{5}.") == 1
    assert statements("nothing") == 0
    assert first_statement("nothing") is None
    assert first_statement("so #### 4") == 3
    assert visible("<think>a</think>") == "<think>a</think>"


def test_long_strange_texts_take_no_time() -> None:
    start = time.perf_counter()
    for text in ("answer " * 15_000, "\\boxed" * 16_000, "answer" + " " * 99_000, "#" * 100_000, "<" * 100_000):
        statements(text)
        first_statement(text)
    repeat_ratios([[1] * 100_000, list(range(100_000))])
    tail_loops([[1, 2] * 50_000])
    assert time.perf_counter() - start < 2.0
