"""The draft length: the formula's optimum where the truth is simulated, and never anything that could change a text."""

import numpy as np
import pytest
import torch

from hooks.pace import LONGEST, Pace, cost
from hooks.streams import stream

CPU = torch.device("cpu")


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("k", [1, 4, 12])
def test_cost_is_what_rounds_cost_on_average(rate: float, k: int) -> None:
    replaced = stream(0, "pace", k, int(100 * rate)).random((200_000, k)) < rate
    first = np.where(replaced.any(axis=1), replaced.argmax(axis=1), k - 1) + 1
    assert cost(k, rate, 1.5) == pytest.approx((k + 1.5) / first.mean(), rel=0.01)
    assert cost(k, 0.0, 1.5) == (k + 1.5) / k


def follow(rate: float, level: float, slope: float, *, always_reads: bool = True, rows: int = 8) -> int:
    """Let the pace find its length on simulated rounds in which a step takes a second."""
    pace, draw = Pace("auto", CPU, always_reads=always_reads), stream(1, "rounds")
    for _ in range(200):
        k = pace.length()
        replaced = draw.random((rows, k)) < rate
        written = int((np.where(replaced.any(axis=1), replaced.argmax(axis=1), k - 1) + 1).sum())
        hits = int(replaced.any(axis=1).sum())
        read = level + slope * k if always_reads or hits else None
        pace.note(k, rows=rows, written=written, replaced=hits, opened=hits, drafted_s=float(k), read_s=read)
    return pace.length()


@pytest.mark.parametrize(("rate", "level", "slope"), [(0.04, 1.0, 0.0), (0.2, 1.0, 0.0), (0.04, 3.0, 0.1)])
def test_auto_finds_the_cheapest_length(rate: float, level: float, slope: float) -> None:
    best = min(cost(k, rate, level + slope * k) for k in range(1, LONGEST + 1))
    k = follow(rate, level, slope)
    assert cost(k, rate, level + slope * k) <= 1.05 * best


def test_auto_does_not_draft_where_reading_costs_as_much_as_writing() -> None:
    assert follow(0.2, 0.0, 1.0) <= 2


def test_auto_hardly_drafts_where_reads_are_rare_anyway() -> None:
    assert follow(0.02, 1.0, 0.0, always_reads=False, rows=2) < follow(0.02, 1.0, 0.0)


def test_a_fixed_length_stays_and_takes_no_time() -> None:
    pace = Pace(7, CPU)
    pace.note(7, rows=1, written=1, replaced=1, opened=1, drafted_s=1.0, read_s=9.0)
    assert (pace.length(), pace.longest, pace.now()) == (7, 7, 0.0)


@pytest.mark.parametrize("draft", [0, -1, "fast"])
def test_refuses_other_lengths(draft: int | str) -> None:
    with pytest.raises(ValueError, match="draft"):
        Pace(draft, CPU)
