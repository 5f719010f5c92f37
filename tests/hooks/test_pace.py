"""The draft length: the formula's optimum where the truth is simulated, and never anything that could change a text."""

import numpy as np
import pytest
import torch

from hooks.pace import LONGEST, Pace, cost, cost_of_waiting, unluckiest
from hooks.streams import stream

CPU = torch.device("cpu")
LONG = 1_000_000
"""So many tokens to go that no row is unluckier than another."""


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("k", [1, 4, 12])
def test_cost_is_what_rounds_cost_on_average(rate: float, k: int) -> None:
    replaced = stream(0, "pace", k, int(100 * rate)).random((200_000, k)) < rate
    first = np.where(replaced.any(axis=1), replaced.argmax(axis=1), k - 1) + 1
    assert cost(k, rate, 1.5) == pytest.approx((k + 1.5) / first.mean(), rel=0.01)
    assert cost(k, 0.0, 1.5) == (k + 1.5) / k


def follow(rate: float, level: float, slope: float, *, rows: int = 8) -> int:
    """Let the pace find its length on simulated rounds in which a step takes a second."""
    pace, draw = Pace("auto", CPU), stream(1, "rounds")
    for _ in range(200):
        k = pace.length(rows=8, room=LONG)
        replaced = draw.random((rows, k)) < rate
        written = int((np.where(replaced.any(axis=1), replaced.argmax(axis=1), k - 1) + 1).sum())
        hits = int(replaced.any(axis=1).sum())
        read = level + slope * k
        pace.note(k, written=written, replaced=hits, opened=hits, drafted_s=float(k), read_s=read)
    return pace.length(rows=8, room=LONG)


@pytest.mark.parametrize(("rate", "level", "slope"), [(0.04, 1.0, 0.0), (0.2, 1.0, 0.0), (0.04, 3.0, 0.1)])
def test_auto_finds_the_cheapest_length(rate: float, level: float, slope: float) -> None:
    best = min(cost(k, rate, level + slope * k) for k in range(1, LONGEST + 1))
    k = follow(rate, level, slope)
    assert cost(k, rate, level + slope * k) <= 1.05 * best


def test_auto_does_not_draft_where_reading_costs_as_much_as_writing() -> None:
    assert follow(0.2, 0.0, 1.0) <= 3


@pytest.mark.parametrize(("rate", "rows", "room"), [(0.04, 8, 256), (0.1, 8, 128), (0.04, 32, 128)])
def test_the_unluckiest_row_is_what_the_worst_of_a_batch_is_on_average(rate: float, rows: int, room: int) -> None:
    worst = stream(3, "unlucky", rows, room).binomial(room, rate, size=(4000, rows)).max(axis=1) / room
    assert unluckiest(rate, rows, room) == pytest.approx(worst.mean(), rel=0.1)
    assert unluckiest(rate, 1, room) == rate


def test_drafts_less_where_a_batch_waits_for_its_slowest_row() -> None:
    pace = Pace("auto", CPU)
    for _ in range(50):
        pace.note(8, written=1000, replaced=40, opened=40, drafted_s=8.0, read_s=1.0)
    assert pace.length(rows=8, room=64) < pace.length(rows=8, room=LONG)


def wait(m: int, opened: float, vain: float, read: float, *, rows: int = 8, rounds: int = 4000) -> float:
    """Steps a token, simulated: rounds end when ``m`` rows are open, and what an overruled row drafted on is lost."""
    draw, steps, tokens = stream(2, "waits", m), 0.0, 0.0
    for _ in range(rounds):
        at = np.sort(draw.geometric(opened, size=rows))[:m]
        steps += at[-1] + read
        tokens += rows * at[-1] - (at[-1] - at)[draw.random(m) < vain].sum()
    return rows * steps / tokens


@pytest.mark.parametrize("m", [1, 2, 4])
def test_cost_of_waiting_is_what_rounds_cost_on_average(m: int) -> None:
    assert cost_of_waiting(m, 8, 0.02, 0.5, 1.5) == pytest.approx(wait(m, 0.02, 0.5, 1.5), rel=0.05)


@pytest.mark.parametrize(("opened", "vain", "read"), [(0.04, 1.0, 1.0), (0.04, 0.2, 2.0), (0.01, 1.0, 0.2)])
def test_waits_for_as_many_rows_as_is_cheapest(opened: float, vain: float, read: float) -> None:
    pace = Pace("auto", CPU, always_reads=False)
    for _ in range(200):
        pace.length(rows=8, room=LONG)
        pace.note(
            10, written=10_000, opened=round(10_000 * opened), replaced=round(10_000 * opened * vain),
            drafted_s=10.0, read_s=read,
        )  # fmt: skip
    assert pace.length(rows=8, room=LONG) == pace.longest
    patience = next(m for m in range(1, 9) if pace.enough(m))
    best = min(wait(m, opened, vain, read) for m in range(1, 5))
    assert wait(patience, opened, vain, read) <= 1.05 * best


def test_a_fixed_length_waits_by_counts_and_never_by_the_clock() -> None:
    slow, fast = (Pace(16, CPU, always_reads=False) for _ in range(2))
    for _ in range(50):
        for pace, seconds in ((slow, 9.0), (fast, 0.01)):
            pace.note(16, written=100, replaced=1, opened=4, drafted_s=1.0, read_s=seconds)
    assert slow.length(rows=8, room=99) == fast.length(rows=8, room=99) == 16
    assert [slow.enough(m) for m in range(9)] == [fast.enough(m) for m in range(9)]


def test_a_fixed_length_stays_and_takes_no_time() -> None:
    pace = Pace(7, CPU)
    pace.note(7, written=1, replaced=1, opened=1, drafted_s=1.0, read_s=9.0)
    assert (pace.length(rows=8, room=LONG), pace.longest, pace.now()) == (7, 7, 0.0)


@pytest.mark.parametrize("draft", [0, -1, "fast"])
def test_refuses_other_lengths(draft: int | str) -> None:
    with pytest.raises(ValueError, match="draft"):
        Pace(draft, CPU)
