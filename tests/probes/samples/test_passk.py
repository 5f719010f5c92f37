"""pass@k against all subsets, planted crossings found, equal models silent, inputs read and refused."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks.rollouts import Rollouts
from probes.samples import counts, crossings, pass_at_k, pass_at_ks, passk


def over_subsets(n: int, c: int, k: int) -> float:
    """The share of all subsets of k samples that hold a correct one."""
    outcomes = [1] * c + [0] * (n - c)
    subsets = list(itertools.combinations(outcomes, k))
    return sum(any(subset) for subset in subsets) / len(subsets)


@given(st.integers(1, 9), st.data())
@settings(deadline=None, max_examples=60)
def test_pass_at_k_is_the_share_of_subsets(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    got = pass_at_k(np.array([n]), np.array([c]), k)[0]
    assert got == pytest.approx(over_subsets(n, c, k), abs=1e-12)


def test_pass_at_k_is_stable_for_many_samples_and_monotone():
    n, c = np.full(4, 10_000), np.array([0, 1, 17, 10_000])
    values = pass_at_ks(n, c, np.array([1, 10, 1000, 10_000]))
    assert values[0].tolist() == [0, 0, 0, 0]
    assert values[3].tolist() == [1, 1, 1, 1]
    assert values[1] == pytest.approx([1e-4, 1e-3, 0.1, 1.0])
    exact = 1 - math.comb(10_000 - 17, 1000) / math.comb(10_000, 1000)
    assert values[2, 2] == pytest.approx(exact, rel=1e-12)
    assert (np.diff(values, axis=1) >= 0).all()


def test_pass_at_k_edges():
    assert math.isnan(pass_at_k(np.array([3]), np.array([1]), 4)[0])
    assert pass_at_k(np.array([], dtype=int), np.array([], dtype=int), 2).shape == (0,)
    with pytest.raises(ValueError, match="begins at 1"):
        pass_at_k(np.array([3]), np.array([1]), 0)
    with pytest.raises(ValueError, match="more correct"):
        pass_at_k(np.array([3]), np.array([4]), 1)


def drawn(p: np.ndarray, n: int, seed: int) -> pd.DataFrame:
    c = np.random.default_rng(seed).binomial(n, p)
    return pd.DataFrame({"id": [f"p{i}" for i in range(len(p))], "c": c, "n": n})


def test_a_planted_crossing_is_found_and_covered():
    draw = np.random.default_rng(0)
    # The base solves every problem sometimes; the RL model solves seven tenths always and the rest never.
    sure = draw.random(300) < 0.7
    base, rl = np.full(300, 0.3), np.where(sure, 0.97, 0.0)
    k = np.arange(1, 33)
    gap = np.mean(1 - (1 - rl[:, None]) ** k, axis=0) - np.mean(1 - (1 - base[:, None]) ** k, axis=0)
    truth = crossings(gap[None])[0]
    result = passk(drawn(base, 64, 1), drawn(rl, 64, 2))
    assert result.crossing is not None
    assert result.crossing.low <= truth <= result.crossing.high
    assert result.at(1).low > 0
    assert result.at(64).high < 0
    cells = result.solvable.set_index("cell")["share"]
    assert cells["base only"] == pytest.approx(1 - sure.mean(), abs=0.01)
    assert cells["RL only"] == pytest.approx(0, abs=0.01)
    assert cells.sum() == pytest.approx(1)
    assert "catches up" in str(result)
    assert len(result.plot().data) == 4


def test_equal_models_are_told_apart_at_the_nominal_rate():
    outside = 0
    for seed in range(40):
        p = np.random.default_rng(seed).beta(0.5, 0.5, size=60)
        result = passk(drawn(p, 16, 1000 + seed), drawn(p, 16, 2000 + seed), n_boot=200)
        rows = result.frame[result.frame["model"] == "rl - base"]
        outside += bool(((rows["band_low"] > 0) | (rows["band_high"] < 0)).any())
    assert outside <= 5


def test_no_crossing_is_none_with_the_reason():
    p = np.full(80, 0.2)
    better = passk(drawn(p, 16, 0), drawn(np.full(80, 0.8), 16, 1), ks=[1, 2, 4])
    assert better.crossing is None
    assert "does not catch up" in better.crossing_note
    worse = passk(drawn(np.full(80, 0.8), 16, 1), drawn(p, 16, 0))
    assert worse.crossing is None
    assert "not ahead" in worse.crossing_note
    assert worse.largest == 16


def test_crossing_is_linear_between_whole_k():
    assert crossings(np.array([[0.2, 0.1, -0.1], [0.1, 0.1, 0.1], [-0.1, 0.2, 0.3], [0.1, 0.0, 0.2]])).tolist() == [
        pytest.approx(2.5),
        math.inf,
        1.0,
        2.0,
    ]


def rollouts(correct: dict[str, list[bool | None]]) -> Rollouts:
    return Rollouts.of(
        {
            "problem": problem, "sample": sample, "model": "m", "prompt": "?", "prompt_ids": [1], "ids": [2, 3],
            "text": "x", "logp": [0.0, 0.0], "stop": "eos", "author": ["base"] * 2, "correct": right, "answer": "x",
        }
        for problem, row in correct.items()
        for sample, right in enumerate(row)
    )  # fmt: skip


def test_counts_from_rollouts_tables_and_files(tmp_path):
    samples = rollouts({"b": [True, False, None], "a": [False, False]})
    table = counts(samples)
    assert table.to_dict("list") == {"problem": ["a", "b"], "c": [0, 1], "n": [2, 2]}
    path = tmp_path / "counts.jsonl"
    path.write_text("\n".join(json.dumps({"id": p, "c": c, "n": 2}) for p, c in (("b", 1), ("a", 0))) + "\n")
    pd.testing.assert_frame_equal(counts(path), table)
    samples.save(tmp_path / "samples.parquet")
    pd.testing.assert_frame_equal(counts(tmp_path / "samples.parquet"), table)
    assert passk(samples, path).at(1).value == 0.0


def test_refusals():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        counts("nowhere.jsonl")
    with pytest.raises(ValueError, match="not graded"):
        counts(rollouts({"a": [None]}))
    with pytest.raises(ValueError, match="c is missing"):
        counts(pd.DataFrame({"id": ["a"], "n": [3]}))
    with pytest.raises(ValueError, match="stands twice"):
        counts(pd.DataFrame({"id": ["a", "a"], "c": [1, 1], "n": [3, 3]}))
    with pytest.raises(ValueError, match="more correct"):
        counts(pd.DataFrame({"id": ["a"], "c": [4], "n": [3]}))
    with pytest.raises(ValueError, match="missing value"):
        counts(pd.DataFrame({"id": ["a"], "c": [math.nan], "n": [3]}))
    one, other = (pd.DataFrame({"id": [name], "c": [1], "n": [3]}) for name in "ab")
    with pytest.raises(ValueError, match="in common"):
        passk(one, other)
    with pytest.raises(ValueError, match="between 1 and 3"):
        passk(one, one, ks=[8])


def test_one_problem_has_no_interval():
    one = pd.DataFrame({"id": ["a"], "c": [1], "n": [4]})
    result = passk(one, one)
    assert result.frame["low"].isna().all()
    assert result.at(1, "base").value == pytest.approx(0.25)
    with pytest.raises(ValueError, match="no pass@3"):
        result.at(3)
