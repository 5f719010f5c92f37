"""Planted loss of variety found, equal checkpoints silent, every measure against a slow count."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from hooks.rollouts import Rollouts
from probes.stats import wilson
from probes.training import Checkpoint, Series, collapse, similarity


def samples(variety: float, accuracy: float, *, seed: int, problems: int = 24, n: int = 6) -> Rollouts:
    """Samples that copy the problem's one text but for a share of their tokens."""
    rng = np.random.default_rng(seed)
    rows = []
    for problem in range(problems):
        text = np.random.default_rng(problem).integers(0, 500, 30)
        for sample in range(n):
            ids = np.where(rng.random(30) < variety, rng.integers(0, 500, 30), text).tolist()
            right = bool(rng.random() < accuracy)
            rows.append(
                {
                    "problem": f"p{problem:02d}", "sample": sample, "model": "m", "prompt": "?", "prompt_ids": [1],
                    "ids": ids, "text": "x", "logp": [0.0] * 30, "stop": "eos", "author": ["rl"] * 30,
                    "correct": right, "answer": "0" if right else str(rng.integers(1, 9)),
                }
            )  # fmt: skip
    return Rollouts.of(rows)


def labels(rollouts: Rollouts, kinds: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = rollouts.frame[["problem", "sample"]]
    return frame.assign(strategy=[f"s{rng.integers(kinds)}" for _ in range(len(frame))])


def test_planted_loss_of_variety_is_found_by_every_measure() -> None:
    kept = [Checkpoint(f"step {i}", float(i), samples(v, a, seed=i)) for i, (v, a) in enumerate(
        [(0.6, 0.3), (0.3, 0.6), (0.05, 0.95)])]  # fmt: skip
    table = {one.name: labels(one.rollouts, kinds, 9) for one, kinds in zip(kept, (6, 3, 1), strict=True)}
    found = collapse(kept, labels=table, n_boot=200)
    told = found.changes.set_index("measure")["less_variety"]
    assert told[["strategies", "similarity", "similarity_correct", "answers", "passk_slope"]].all()
    assert found.change("passk_first").low > 0
    assert (found.frame["strategies"].diff().dropna() < 0).all()
    assert found.frame["strategies"].iloc[-1] == pytest.approx(1 / 6)
    assert "less variety by strategies" in str(found)
    assert len(found.plot().data) == 7
    with pytest.raises(ValueError, match="no measure 'x'"):
        found.change("x")


def test_the_same_process_at_both_ends_is_silent_at_the_nominal_rate() -> None:
    told = 0
    for seed in range(8):
        ends = [Checkpoint(str(i), float(i), samples(0.4, 0.5, seed=10 * seed + i)) for i in range(2)]
        changes = collapse(ends, n_boot=200).changes
        told += int(changes["less_variety"].notna().sum())
        assert math.isnan(changes.set_index("measure").loc["strategies", "change"])
    assert told <= 6  # of 40 tests


def test_measures_are_what_a_slow_count_gives() -> None:
    rollouts = samples(0.5, 0.5, seed=3, problems=4)
    one = Checkpoint("a", 0.0, rollouts)
    found = collapse([one, Checkpoint("b", 1.0, rollouts)], n_boot=20).frame.iloc[0]
    alike, right, answers, slopes = [], [], [], []
    for _, own in rollouts.frame.groupby("problem"):
        sets = [{tuple(ids[i : i + 3]) for i in range(28)} for ids in own["ids"]]
        alike.append(np.mean([len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)]))
        both = [
            len(a & b) / len(a | b)
            for (a, x), (b, y) in itertools.combinations(zip(sets, own["correct"], strict=True), 2)
            if x and y
        ]
        right += [np.mean(both)] if both else []
        answers.append(own["answer"].nunique() / 6)
        outcomes = own["correct"].tolist()
        values = [np.mean([any(some) for some in itertools.combinations(outcomes, k)]) for k in (1, 2, 4, 6)]
        slopes.append(np.polyfit(np.log2([1, 2, 4, 6]), values, 1)[0])
    assert found["similarity"] == pytest.approx(np.mean(alike))
    assert found["similarity_correct"] == pytest.approx(np.mean(right))
    assert found["answers"] == pytest.approx(np.mean(answers))
    assert found["passk_slope"] == pytest.approx(np.mean(slopes))


def test_pairs_are_bounded_and_named() -> None:
    ends = [Checkpoint(str(i), float(i), samples(0.4, 0.5, seed=i)) for i in range(2)]
    few, again = (collapse(ends, pairs=3, n_boot=50) for _ in range(2))
    pd.testing.assert_frame_equal(few.frame, again.frame)
    assert few.frame["similarity"].iloc[0] == pytest.approx(
        collapse(ends, n_boot=50).frame["similarity"].iloc[0], abs=0.05
    )


def test_edges() -> None:
    assert similarity([1, 2], [1, 2]) == 1.0
    assert similarity([1, 2, 3], [4, 5, 6]) == 0.0
    assert math.isnan(similarity([], []))
    ends = [Checkpoint(str(i), float(i), samples(0.4, 0.5, seed=i)) for i in range(2)]
    with pytest.raises(ValueError, match="at least 2 samples"):
        collapse(Series.of(ends, samples=1))
    with pytest.raises(ValueError, match="lack the checkpoint '1'"):
        collapse(ends, labels={"0": labels(ends[0].rollouts, 2, 0)})
    bare = [Checkpoint(one.name, one.step, one.rollouts.with_columns(correct=[None] * len(one.rollouts),
            answer=[None] * len(one.rollouts))) for one in ends]  # fmt: skip
    found = collapse(bare, n_boot=50)
    assert found.frame[["answers", "passk_first", "similarity_correct"]].isna().all(axis=None)
    assert found.frame["similarity"].notna().all()


def test_figures_that_are_alike_in_every_problem_keep_an_interval_of_their_level() -> None:
    sure = [Checkpoint(str(i), float(i), samples(0.0, 1.0, seed=i)) for i in range(2)]
    found = collapse(sure, n_boot=50, level=0.8)
    none = wilson(0, 24, level=0.8).high
    assert found.frame["passk_first_low"].to_numpy() == pytest.approx([1 - none] * 2)
    assert found.frame["passk_first_high"].tolist() == [1.0, 1.0]
    change = found.change("passk_first")
    assert (change.low, change.high, change.level) == pytest.approx((-none, none, 0.8))
