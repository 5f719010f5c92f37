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
from probes.stats import wilson


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


def slow_counts(rows: dict[str, list[int]], k: int) -> float:
    """pass@k as it is defined: over all subsets of every problem's samples, then the mean over problems."""
    return float(np.mean([over_subsets(len(row), sum(row), k) for row in rows.values()]))


def test_problems_with_different_n_are_each_taken_at_their_own_n():
    base = {"a": [1, 0, 0, 0, 0, 1, 0], "b": [0, 0, 0], "c": [1, 1, 1, 0]}
    rl = {"a": [1, 1, 0], "b": [0, 1, 0, 0, 0], "c": [1, 1, 1, 1]}
    result = passk(*(rollouts({p: [bool(x) for x in row] for p, row in side.items()}) for side in (base, rl)))
    assert result.largest == 3
    for k in (1, 2, 3):
        assert result.at(k, "base").value == pytest.approx(slow_counts(base, k))
        assert result.at(k, "rl").value == pytest.approx(slow_counts(rl, k))
    assert result.delta_se.value == pytest.approx(slow_counts(base, 3) - slow_counts(rl, 1))


def test_observed_sets_jaccard_and_histogram():
    n = 10
    base = pd.DataFrame({"id": list("abcdef"), "c": [0, 0, 3, 1, 10, 0], "n": n})
    rl = pd.DataFrame({"id": list("abcdef"), "c": [0, 4, 0, 10, 10, 1], "n": n})
    result = passk(base, rl)
    cells = result.solvable.set_index("cell")["problems"]
    # With as many tries as samples the expected shares are the observed ones: d, e both, c base only, b, f RL only.
    assert cells.to_dict() == {"both": 2.0, "base only": 1.0, "RL only": 2.0, "neither": 1.0}
    assert result.jaccard.value == pytest.approx(2 / 5)
    held = result.histogram.set_index(["model", "upto"])["problems"]
    assert held["base"].to_dict() == {**dict.fromkeys(held["base"].index, 0), 0.0: 3, 0.1: 1, 0.3: 1, 1.0: 1}
    assert held["rl"][[0.0, 0.1, 0.4, 1.0]].tolist() == [2, 1, 1, 2]
    assert result.histogram.groupby("model")["share"].sum().tolist() == pytest.approx([1, 1])
    assert len(result.plot_accuracy().data) == 2
    checks = result.to_check
    assert checks[checks["why"] == "RL only"]["problem"].tolist() == ["b", "f"]
    assert checks[checks["why"] == "base only"]["problem"].tolist() == ["c"]
    assert not (checks["why"] == "seldom right").any()
    many = pd.DataFrame({"id": ["g", "h"], "c": [1, 2], "n": 40})
    assert passk(many, many, n_boot=10).to_check["problem"].tolist() == ["g", "g"]
    nobody = pd.DataFrame({"id": ["a", "b"], "c": [0, 0], "n": 2})
    assert math.isnan(passk(nobody, nobody).jaccard.value)


def test_unmatched_problems_and_impossible_counts_are_named():
    base = pd.DataFrame({"id": ["a", "b"], "c": [1, 2], "n": 3})
    rl = pd.DataFrame({"id": ["b", "z"], "c": [1, 2], "n": 3})
    result = passk(base, rl)
    assert result.unmatched.to_dict("list") == {"problem": ["a", "z"], "only_in": ["base", "rl"]}
    assert result.left_out == 2
    with pytest.raises(ValueError, match="'q7' has c = 4 of n = 3"):
        counts(pd.DataFrame({"id": ["a", "q7"], "c": [1, 4], "n": 3}))
    with pytest.raises(ValueError, match="'q7' are no whole"):
        counts(pd.DataFrame({"id": ["a", "q7"], "c": [1, 1.5], "n": 3}))
    with pytest.raises(ValueError, match="'q7' have a missing"):
        counts(pd.DataFrame({"id": ["a", "q7"], "c": [1, None], "n": 3}))


def test_a_contrast_stands_beside_and_the_difference_is_paired():
    draw = np.random.default_rng(0)
    p = draw.uniform(0.1, 0.6, size=120)
    base, rl = drawn(p, 32, 1), drawn(p + 0.3, 32, 2)
    random, sft = drawn(p, 32, 3), drawn(p + 0.3, 32, 4)
    result = passk(base, rl, contrast={"random reward": random, "SFT": passk(base, sft)})
    rows = result.contrasts.set_index(["contrast", "quantity"])
    first = rows.loc[("random reward", "pass@1, rl - base")]
    assert first["low"] < 0 < first["high"]
    assert first["difference_low"] < 0.3 < first["difference_high"]
    same = rows.loc[("SFT", "pass@1, rl - base")]
    assert same["difference_low"] < 0 < same["difference_high"]
    # By hand: the base cancels, so the difference is that of the two tuned models.
    assert same["difference"] == pytest.approx(np.mean(rl["c"] - sft["c"]) / 32)
    fewer = passk(base, rl, contrast={"random reward": drawn(p, 8, 3)}).contrasts
    assert "delta_se" not in set(fewer["quantity"])
    assert "pass@8, rl - base" in set(fewer["quantity"])
    with pytest.raises(ValueError, match=r"SFT.*no problem in common"):
        passk(base, rl, contrast={"SFT": sft.assign(id="x" + sft["id"])})


def test_models_that_solve_everything_have_one_interval_for_one_number_and_no_zero_widths():
    sure = pd.DataFrame({"id": [f"p{at}" for at in range(60)], "c": 8, "n": 8})
    result = passk(sure, sure, contrast={"SFT": passk(sure, sure)})
    none = wilson(0, 60).high
    own, shown = result.measured["pass@8, rl - base"].estimate(), result.at(8)
    assert (own.value, own.low, own.high) == pytest.approx((shown.value, shown.low, shown.high))
    assert (own.low, own.high) == pytest.approx((-none, none))
    assert (result.delta_se.low, result.delta_se.high) == pytest.approx((-none, none))
    # RL minus the other tuned model: the base is the same.
    assert result.contrasts["difference_high"].to_numpy() == pytest.approx(np.full(len(result.contrasts), none))
    rows = result.frame[result.frame["model"] == "rl - base"]
    assert (rows["band_low"] <= rows["low"]).all()
    assert (rows["band_high"] >= rows["high"]).all()
    assert result.frame[result.frame["model"] == "rl"]["band_low"].isna().all()
    cells = result.solvable.set_index("cell")
    assert (cells.loc["RL only", "low"], cells.loc["RL only", "high"]) == pytest.approx((0, none))
    assert (cells.loc["both", "low"], cells.loc["both", "high"]) == pytest.approx((1 - none, 1))
    assert (result.jaccard.low, result.jaccard.high) == pytest.approx((1 - none, 1))
    assert result.at(8).level == 0.95
    assert passk(sure, sure, level=0.8).at(8).level == 0.8


def test_the_band_is_never_narrower_than_the_interval_of_one_k():
    for seed in range(6):
        p = np.random.default_rng(seed).choice([0.0, 1.0, 0.5], p=[0.5, 0.45, 0.05], size=40)
        rows = passk(drawn(p, 8, seed), drawn(p, 8, 100 + seed), n_boot=300).frame
        rows = rows[rows["model"] == "rl - base"]
        assert (rows["band_low"] <= rows["low"]).all()
        assert (rows["band_high"] >= rows["high"]).all()


def test_an_overlap_rests_on_the_problems_that_either_solves():
    few = pd.DataFrame({"id": [f"p{at}" for at in range(60)], "c": [4] * 4 + [0] * 56, "n": 4})
    result = passk(few, few)
    assert result.jaccard.value == 1
    assert result.jaccard.n == 4
    assert result.jaccard.low == pytest.approx(wilson(4, 4).low)
