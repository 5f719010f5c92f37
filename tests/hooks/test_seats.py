"""Seats: whoever ends makes room for the next row, and not a token depends on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hooks import gate as gates
from hooks.generate import generate
from hooks.mix import mix
from hooks.requests import Row, in_seats
from tests.hooks.test_mix import GATES, LENGTH, WAYS, count_forwards, mix_reference, pair_of, problems, same

MANY = ["1+2=", "9", "wait 77 answer 3+3=", "then", "4*4=16; answer", "wait", "8-3="]


@pytest.mark.parametrize("seats", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize("gate", ["js", "entropy", pytest.param("random", marks=pytest.mark.slow)])
@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
def test_rows_that_take_over_a_seat_equal_the_reference(temperature: float, gate: str, seats: int) -> None:
    options = {"gate": GATES[gate], "temperature": temperature, "n": 2, "max_new_tokens": LENGTH}
    mixed = mix(pair_of(), problems(MANY), batch_size=seats, draft=3, **options)
    same(mixed, mix_reference(pair_of(), problems(MANY), **options))
    assert any(any(row) for row in mixed.frame["changed"])


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_of_writing_takes_over_a_seat(way: str) -> None:
    for gate in ("js", "entropy"):
        options = {"gate": GATES[gate], "temperature": 1.0, "max_new_tokens": 8, **WAYS[way]}
        mixed = mix(pair_of(), problems(MANY[:5]), batch_size=2, draft=5, **options)
        same(mixed, mix_reference(pair_of(), problems(MANY[:5]), **options))


def forwards(prompts: list[str], **options: Any) -> dict[str, int]:
    pair, counts = pair_of(), dict.fromkeys(("base", "rl", "base tokens", "rl tokens"), 0)
    handles = [count_forwards(pair.base, counts, "base"), count_forwards(pair.rl, counts, "rl")]
    try:
        mix(pair, problems(prompts), **options)
    finally:
        for handle in handles:
            handle.remove()
    return counts


def test_seats_stay_filled_while_rows_wait() -> None:
    options: dict[str, Any] = {"temperature": 1.0, "n": 8, "max_new_tokens": 40, "stop": ("3", "wait")}
    asked = problems(MANY[:3])
    lengths = [len(ids) for ids in generate(pair_of().base, asked, **options).frame["ids"]]
    assert max(lengths) > 2 * np.mean(lengths), "texts that differ in length"
    counts = forwards(MANY[:3], gate=gates.never(), batch_size=6, draft=1, **options)
    # Each prompt is read by itself, and the last rows leave some seats empty.
    assert counts["base"] <= sum(lengths) / 6 + max(lengths) + 3
    in_turn = sum(max(lengths[start : start + 6]) for start in range(0, 24, 6))
    assert counts["base"] < in_turn


def test_a_prompt_is_read_once_however_late_its_samples_begin() -> None:
    options: dict[str, Any] = {"n": 6, "temperature": 1.0, "max_new_tokens": 4}
    counts = forwards(MANY[2:3], gate=gates.js(9.0), batch_size=2, draft=1, **options)
    prompt = len(pair_of().base.encode(MANY[2:3])[0])
    new = sum(len(ids) for ids in generate(pair_of().base, problems(MANY[2:3]), **options).frame["ids"])
    # A row that has ended may be read beside the last one that has not.
    assert prompt - 1 + new <= counts["base tokens"] <= prompt - 1 + 6 * 4
    assert counts["rl tokens"] == counts["base tokens"]


def test_what_was_finished_stays_so_when_memory_runs_out() -> None:
    rows = [Row(index=at, problem=f"p{at}", sample=0, prompt="x", ids=(1,) * (5 - at)) for at in range(5)]
    asked: list[tuple[list[str], int]] = []
    seen: list[tuple[int, int]] = []

    def work(batch: list[Row], seats: int, hand: Any) -> None:
        asked.append(([row.problem for row in batch], seats))
        hand({0: batch[0].problem})
        if seats > 2:
            raise torch.OutOfMemoryError("out of memory (pretended)")
        hand({at: row.problem for at, row in enumerate(batch) if at})

    with pytest.warns(RuntimeWarning, match="out of memory with 4 rows"):
        done = in_seats(rows, work, batch_size=4, progress=lambda *at: seen.append(at))
    assert done == [row.problem for row in rows]
    assert asked == [(["p0", "p1", "p2", "p3", "p4"], 4), (["p1", "p2", "p3", "p4"], 2)]
    assert seen == [(1, 5), (2, 5), (5, 5)]
    with pytest.raises(torch.OutOfMemoryError, match="one sample of problem"):
        in_seats(rows[:1], lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")), batch_size=4)
    with pytest.raises(ValueError, match="batch_size"):
        in_seats(rows, work, batch_size=0)
