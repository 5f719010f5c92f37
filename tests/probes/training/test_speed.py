"""A planted arrival is found against a slow reference, flat runs arrive nowhere, a slower run has its ratio."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from hooks.rollouts import Rollouts
from probes.stats import wilson
from probes.training import Checkpoint, speed
from probes.training.speed import arrivals, rising

STEPS = (0, 10, 20, 40, 60, 80, 100)


def run(rise: float, *, seed: int = 0, problems: int = 60, samples: int = 8, gain: float = 0.6) -> list[Checkpoint]:
    """Accuracy goes from 0.2 by ``gain`` in a straight line until step ``rise`` and then stays."""
    rng = np.random.default_rng(seed)
    hard = np.random.default_rng(99).normal(0, 0.05, problems)
    out = []
    for step in STEPS:
        chance = np.clip(0.2 + gain * min(step / rise, 1) + hard, 0, 1)
        right = rng.random((problems, samples)) < chance[:, None]
        rows = [
            {
                "problem": f"p{p:02d}", "sample": s, "model": "m", "prompt": "?", "prompt_ids": [0], "ids": [1],
                "text": "x", "logp": [0.0], "stop": "eos", "author": ["rl"], "correct": bool(right[p, s]),
                "answer": "x",
            }
            for p in range(problems) for s in range(samples)
        ]  # fmt: skip
        out.append(Checkpoint(f"step {step}", float(step), Rollouts.of(rows)))
    return out


def slow(steps: np.ndarray, row: np.ndarray, share: float) -> float:
    """Pool neighbours that fall until none does, then walk along the curve in small steps."""
    blocks = [[value, 1] for value in row]
    while any(a[0] > b[0] for a, b in pairwise(blocks)):
        i = next(i for i, (a, b) in enumerate(pairwise(blocks)) if a[0] > b[0])
        (a, n), (b, m) = blocks[i], blocks[i + 1]
        blocks[i : i + 2] = [[(a * n + b * m) / (n + m), n + m]]
    curve = [value for value, n in blocks for _ in range(n)]
    fine = np.linspace(steps[0], steps[-1], 200_001)
    return float(fine[np.argmax(np.interp(fine, steps, curve) >= curve[0] + share * (curve[-1] - curve[0]) - 1e-9)])


def test_arrivals_are_what_a_slow_walk_gives() -> None:
    rng = np.random.default_rng(0)
    steps = np.array(STEPS, dtype=float)
    rows = np.sort(rng.random((6, 7)), axis=1) + rng.normal(0, 0.1, (6, 7))
    for share in (0.3, 0.9, 1.0):
        found = arrivals(steps, rising(rows), share)
        assert found == pytest.approx([slow(steps, row, share) for row in rows], abs=2e-3)
    assert math.isnan(arrivals(steps, rising(np.linspace(1, 0, 7)[None]), 0.9)[0])


def test_a_planted_arrival_lies_in_its_interval_and_a_slower_run_takes_its_ratio() -> None:
    found = speed({"fast": run(40), "slow": run(80, seed=1)}, n_boot=200)
    table = found.frame.set_index(["run", "share"])
    for name, rise in (("fast", 40), ("slow", 80)):
        for share in (0.5, 0.9):
            row = table.loc[(name, share)]
            assert row["steps_low"] - 2 <= share * rise <= row["steps_high"] + 2
            assert row["gain"] == pytest.approx(0.6, abs=0.06)
    half = table.loc[("slow", 0.5)]
    assert half["ratio_low"] <= 2.0 <= half["ratio_high"]
    assert half["ratio_low"] > 1.3
    assert math.isnan(table.loc[("fast", 0.5), "ratio"])
    assert "90% of a gain" in str(found)
    assert len(found.plot().data) == 2
    again = speed({"fast": run(40), "slow": run(80, seed=1)}, n_boot=200)
    assert again.frame.equals(found.frame)


def test_a_run_without_a_gain_arrives_nowhere_at_the_nominal_rate() -> None:
    arrived = 0
    for seed in range(10):
        found = speed(run(40, seed=seed, gain=0.0, problems=20, samples=4)[::3], n_boot=60)
        arrived += int(found.frame["steps"].notna().any())
    assert arrived <= 3
    assert "no gain to wait for" in str(speed(run(40, gain=-0.1, problems=20), n_boot=50))


def test_a_run_that_ends_with_every_problem_solved_is_not_certain_of_it() -> None:
    ends = [one for one in run(40, gain=2.0, problems=20) if one.step in (0, 100)]
    table = speed(ends, n_boot=60).frame
    assert (table["end"] == 1).all()
    assert table["end_low"].to_numpy() == pytest.approx(np.full(len(table), wilson(20, 20).low))


def test_refusals() -> None:
    some = run(40, problems=4, samples=2)
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        speed(some, shares=(0.0,))
    with pytest.raises(ValueError, match="no run"):
        speed({})
    other = [
        Checkpoint(
            one.name, one.step, one.rollouts.with_columns(problem=[f"q{p}" for p in one.rollouts.frame["problem"]])
        )
        for one in some
    ]
    with pytest.raises(ValueError, match="no graded problem in common"):
        speed({"a": some, "b": other})
