"""maj@k against all subsets, planted voters recovered, equal models silent, contrasts paired, refusals."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks.rollouts import Rollouts
from probes.samples import maj_at_ks, majority, passk


def over_subsets(votes: list[str | None], k: int) -> float:
    """The share of all subsets of k samples whose most frequent answer is "right", a tie broken by lot."""
    won = []
    for subset in itertools.combinations(votes, k):
        counts = Counter(vote for vote in subset if vote is not None)
        best = [vote for vote, count in counts.items() if count == max(counts.values())]
        won.append((best.count("right") / len(best)) if best else 0.0)
    return sum(won) / len(won)


@given(st.lists(st.sampled_from(["right", "a", "b", "c", None]), min_size=1, max_size=8), st.data())
@settings(deadline=None, max_examples=80)
def test_maj_at_k_is_the_share_of_subsets(votes, data):
    k = data.draw(st.integers(1, len(votes)))
    wrong = [votes.count(name) for name in "abc" if name in votes]
    got = maj_at_ks(votes.count("right"), wrong, votes.count(None), np.array([k]))[0]
    assert got == pytest.approx(over_subsets(votes, k), abs=1e-12)


def test_edges_and_many_samples() -> None:
    assert maj_at_ks(3, [], 0, np.array([1, 3])).tolist() == [1, 1]
    assert maj_at_ks(0, [2], 1, np.array([1, 3])).tolist() == [0, 0]
    assert maj_at_ks(1, [1], 0, np.array([2]))[0] == pytest.approx(0.5)
    assert math.isnan(maj_at_ks(1, [], 0, np.array([2]))[0])
    start = time.perf_counter()
    # One vote is pass@1; with more of them the larger count wins a little more often.
    found = maj_at_ks(400, [390, *[1] * 150], 60, np.array([1, 64, 100]))
    assert time.perf_counter() - start < 20
    assert found[0] == pytest.approx(0.4)
    assert 0.5 < found[1] < found[2] < 0.7
    assert maj_at_ks(21, [19], 0, np.array([40]))[0] == 1
    for bad in ((-1, [1], 0, [1]), (1, [1], 0, [0]), (1001, [], 0, [1])):
        with pytest.raises(ValueError, match=r"negative|begins at 1|at most 1000"):
            maj_at_ks(*bad[:3], np.array(bad[3]))


def drawn(right: np.ndarray, n: int, *, seed: int, wrong: int = 4) -> Rollouts:
    """Samples that are right at each problem's rate, and else give one of some wrong answers at random."""
    draw = np.random.default_rng(seed)
    rows = []
    for problem, rate in enumerate(right):
        for sample in range(n):
            correct = bool(draw.random() < rate)
            rows.append(
                {
                    "problem": f"p{problem:03d}", "sample": sample, "model": "m", "prompt": "?", "prompt_ids": [1],
                    "ids": [2], "text": "x", "logp": [0.0], "stop": "eos", "author": ["base"], "correct": correct,
                    "answer": "7" if correct else str(100 + int(draw.integers(wrong))),
                }
            )  # fmt: skip
    return Rollouts.of(rows)


def test_a_base_that_prefers_the_right_answer_catches_up_by_voting() -> None:
    # The base is right four times in ten and its errors are scattered; RL is right nine times in ten.
    base, rl = drawn(np.full(60, 0.4), 32, seed=1), drawn(np.full(60, 0.9), 32, seed=2)
    found = majority(base, rl, n_boot=300)
    assert majority(base, rl, n_boot=50, level=0.8).at(1).level == 0.8
    draw = np.random.default_rng(0)
    votes = draw.multinomial(8, [0.4, *[0.15] * 4], size=4000)
    top = votes.max(axis=1)
    truth = float(np.mean((votes[:, 0] == top) / (votes == top[:, None]).sum(axis=1)))
    assert found.at(8, "base").low <= truth <= found.at(8, "base").high
    assert found.at(1).low > 0.4
    assert found.at(32).value < 0.15
    assert found.voting.value == pytest.approx(found.at(32, "base").value - found.at(1, "rl").value)
    # One vote is one try.
    assert found.at(1, "base").value == pytest.approx(passk(base, rl, n_boot=10).at(1, "base").value)
    assert "maj@32" in str(found)
    assert len(found.plot().data) == 2
    assert set(found.frame["k"]) == {1, 2, 4, 8, 16, 32}
    with pytest.raises(ValueError, match="no maj@3"):
        found.at(3)


def test_equal_models_are_told_apart_at_the_nominal_rate() -> None:
    outside = 0
    for seed in range(15):
        p = np.random.default_rng(seed).beta(0.7, 0.7, size=40)
        found = majority(drawn(p, 8, seed=100 + seed), drawn(p, 8, seed=200 + seed), ks=[8], n_boot=200)
        outside += found.at(8).excludes_zero
    assert outside <= 3


def test_a_contrast_stands_beside_and_the_base_cancels() -> None:
    p = np.full(50, 0.3)
    base, rl = drawn(p, 16, seed=1), drawn(p + 0.4, 16, seed=2)
    found = majority(base, rl, contrast={"random reward": drawn(p, 16, seed=3), "SFT": rl}, n_boot=200).contrasts
    rows = found.set_index(["contrast", "quantity"])
    assert rows.loc[("SFT", "maj@16, rl - base"), "difference"] == 0
    random = rows.loc[("random reward", "maj@1, rl - base")]
    assert random["low"] < 0 < random["high"]
    assert random["difference_low"] > 0.25


def test_numbers_vote_by_value_and_silent_samples_do_not_vote() -> None:
    frame = drawn(np.zeros(1), 6, seed=0).frame.assign(
        answer=["1/2", "0.5", "12", "12", None, "7"], correct=[False, False, False, False, False, True]
    )
    found = majority(Rollouts(frame), Rollouts(frame), ks=[6], n_boot=20)
    assert found.at(6, "base").value == 0
    tied = Rollouts(frame.assign(answer=["1/2", "0.3", "12", "13", None, "7"]))
    assert majority(tied, tied, ks=[6], n_boot=20).at(6, "base").value == pytest.approx(1 / 5)


def test_refusals() -> None:
    one = drawn(np.full(2, 0.5), 4, seed=0)
    with pytest.raises(ValueError, match="base samples are not graded"):
        majority(Rollouts(one.frame.assign(correct=None)), one)
    with pytest.raises(ValueError, match="in common"):
        majority(one, Rollouts(one.frame.assign(problem="z" + one.frame["problem"])))
    with pytest.raises(ValueError, match="between 1 and 4"):
        majority(one, one, ks=[8])
    with pytest.raises(ValueError, match="'SFT' has no problem in common"):
        majority(one, one, contrast={"SFT": Rollouts(one.frame.assign(problem="z" + one.frame["problem"]))})
