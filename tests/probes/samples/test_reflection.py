"""Reflection: planted reflective tokens found, equal noise told from them, the filter, references read by a pair."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.model import Model
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes.samples import read_references, reflection
from probes.samples.reflection import rank_correlation
from probes.samples.reflection_reading import before
from probes.samples.reflection_statistics import (
    Read,
    carrying,
    filter_queries,
    length_reward,
    noise_share,
    propagated,
    r3,
    spread,
    weights,
)


def planted(
    seed: int, *, queries: int = 40, chains: int = 16, tokens: int = 40, reflective: int = 4, size: float = 1.5
) -> list[Read]:
    """Queries whose last tokens depend on whether a chain is right; the others only vary by chance."""
    draw = np.random.default_rng(seed)
    reads = []
    for query in range(queries):
        correct = (draw.random(chains) < 0.5).astype(float)
        logp = -1 + 0.4 * draw.normal(size=(chains, tokens))
        if reflective:
            logp[:, -reflective:] += size * (correct[:, None] - 0.5) + 0.5 * draw.normal(size=(chains, reflective))
        entropy = np.ones((chains, tokens)) * 0.1
        entropy[:, tokens - max(reflective, 1) :] = 2.0
        reads.append(
            Read(f"q{query:02d}", logp, masked=logp.mean(axis=0) - 0.5, entropy=entropy, correct=correct,
                 ranks=np.ones(logp.shape, dtype=np.int64), js=entropy / 4 if reflective else draw.random(logp.shape))
        )  # fmt: skip
    return reads


def test_planted_tokens_carry_the_spread_and_the_weighted_score_follows_them() -> None:
    found = reflection(planted(0), n_boot=300)
    slow = []
    for read in planted(0):
        sigma = sorted((float(np.std(column)) for column in read.logp.T), reverse=True)
        held, count = 0.0, 0
        while held < 0.8 * sum(sigma):
            held, count = held + sigma[count], count + 1
        slow.append(count / len(sigma))
    assert found.at("carrying").value == pytest.approx(np.mean(slow))
    assert found.at("carrying - noise").high < -0.02
    assert found.at("noise").value == pytest.approx(0.755, abs=0.02)
    assert found.at("weighted").low > 0.6
    assert found.at("weighted - plain").low > 0
    by_token = found.tokens.groupby("token")["sigma"].mean()
    assert set(by_token.nlargest(4).index) == {36, 37, 38, 39}
    assert found.at("overlap").value > 0.3
    assert found.at("overlap - chance").low > 0.1
    assert found.at("js overlap").value == found.at("overlap").value
    assert {"entropy", "js"} <= set(found.tokens.columns)
    assert "equal noise would need" in str(found)
    assert len(found.plot().data) == 2
    with pytest.raises(ValueError, match="no 'odd'"):
        found.at("odd")


def test_equal_noise_is_told_from_reflection() -> None:
    outside = dict.fromkeys(("carrying - noise", "weighted", "propagated", "js overlap - chance"), 0)
    for seed in range(20):
        found = reflection(planted(seed, queries=25, reflective=0), n_boot=200, gamma=0.1)
        for name in outside:
            outside[name] += found.at(name).excludes_zero
    assert max(outside.values()) <= 4, outside


def test_noise_needs_most_of_the_tokens() -> None:
    assert noise_share(16, 200) == pytest.approx(0.745, abs=0.01)
    assert noise_share(16, 200) == noise_share(16, 200)
    assert noise_share(16, 1) == 1
    # With ever more chains all spreads become equal, and 80 % of them need 80 % of the tokens.
    assert noise_share(2000, 100, n_draws=5) == pytest.approx(0.8, abs=0.02)


def test_spread_weights_and_reward() -> None:
    logp = np.array([[0.0, -1.0, -2.0], [0.0, -3.0, -2.0]])
    sigma = spread(logp)
    assert sigma.tolist() == [0, 1, 0]
    assert np.isnan(spread(logp[:1])).all()
    assert weights(sigma).tolist() == [0, 1, 0]
    assert weights(np.array([1.0, 2.0, 1.0])).tolist() == [0.25, 0.5, 0.25]
    assert weights(np.array([1.0, 3.0, 2.0]), top=0.5).tolist() == [0, 0.5, 0.5]
    assert np.isnan(weights(np.zeros(3))).all()
    assert np.isnan(weights(np.zeros(3), top=0.5)).all()
    masked, weight = np.array([-0.5, -2.0, -2.5]), np.array([0.25, 0.5, 0.25])
    slow = [sum(w * (value - m) for w, value, m in zip(weight, row, masked, strict=True)) for row in logp]
    assert r3(logp, masked, weight).tolist() == slow
    assert length_reward(10, 7, beta=0.5) == pytest.approx(0.85)
    assert length_reward(4, 12, beta=1.0) == -1
    assert carrying(np.array([4.0, 1.0, 0.0, 0.0])) == 0.25
    assert carrying(np.ones(5)) == 0.8
    assert math.isnan(carrying(np.zeros(4)))
    with pytest.raises(ValueError, match="share of the tokens"):
        weights(sigma, top=0)
    with pytest.raises(ValueError, match="at least one token"):
        length_reward(0, 1, beta=1.0)


def test_doubt_is_carried_on_as_plain_loops_do_and_fades() -> None:
    draw = np.random.default_rng(0)
    logp = -draw.random((3, 5)) * 3
    marked = np.array([True, False, True, False, True])
    slow = logp.copy()
    for i in range(3):
        for j in range(5):
            for k in range(j):
                if marked[k]:
                    p = math.exp(logp[i, k])
                    slow[i, j] += math.log(p + (1 - p) * (1 - math.exp(-0.3 * (j - k))))
    np.testing.assert_allclose(propagated(logp, marked, gamma=0.3), slow)
    np.testing.assert_allclose(propagated(logp, marked, gamma=1e6), logp)
    np.testing.assert_allclose(propagated(logp, np.zeros(5, dtype=bool), gamma=0.0), logp)
    # Without fading a token counts with the whole chance of those before it.
    np.testing.assert_allclose(propagated(logp, np.ones(5, dtype=bool), gamma=0), logp.cumsum(axis=1))
    with pytest.raises(ValueError, match="0 or more"):
        propagated(logp, marked, gamma=-1)


def test_an_early_token_that_decides_counts_for_more_when_its_doubt_is_carried_on() -> None:
    reads = []
    for read in planted(3, reflective=0):
        logp = np.minimum(read.logp, -0.01)
        assert read.correct is not None
        logp[:, 2] = np.where(read.correct == 1, -0.1, -1.5)
        reads.append(Read(read.problem, logp, correct=read.correct))
    found = reflection(reads, gamma=0.05, n_boot=200)
    assert found.at("propagated - plain").low > 0.1
    assert "overlap" not in set(found.frame["statistic"])
    assert "propagated" not in set(reflection(reads, n_boot=20).frame["statistic"])


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    draw = np.random.default_rng(0)
    for _ in range(20):
        first, second = draw.integers(0, 4, 12).astype(float), draw.normal(size=12)
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert math.isnan(rank_correlation(np.ones(4), np.arange(4.0)))
    assert math.isnan(rank_correlation(np.array([1.0, np.nan]), np.array([1.0, 2.0])))


def test_the_filter_drops_hopeless_and_indifferent_queries() -> None:
    def query(name: str, ranks: list[list[int]], size: float) -> Read:
        table = np.array(ranks)
        logp = np.zeros(table.shape)
        logp[0, 0] = size
        return Read(name, logp, ranks=table)

    reads = [
        query("hopeless", [[1, 1, 90, 80], [1, 2, 70, 90]], 5.0),
        query("flat", [[1, 1, 2, 3], [1, 1, 1, 1]], 0.01),
        query("good", [[1, 1, 200, 300], [1, 1, 4, 6]], 3.0),
        query("fair", [[1, 1, 4, 6], [1, 1, 4, 6]], 1.0),
    ]
    found = filter_queries(reads, rho=0.5, k=10, share=0.4).set_index("problem")
    assert found["best_rank"].to_dict() == {"hopeless": 80, "flat": 1, "good": 5, "fair": 5}
    assert found.index[found["kept"]].tolist() == ["good", "fair"]
    assert found.loc["flat", "low_variation"]
    again = filter_queries(reads, rho=0.5, k=10, share=0.4, previous=["hopeless", "flat"], carry=1.0)
    assert again["kept"].all()
    with pytest.raises(ValueError, match="are shares"):
        filter_queries(reads, rho=0, k=10, share=0.4)
    with pytest.raises(ValueError, match="has no ranks"):
        filter_queries([Read("a", np.zeros((2, 2)))], rho=0.5, k=10, share=0.4)


def test_refusals_and_what_does_not_vary() -> None:
    still = Read("still", np.full((4, 3), -1.0), correct=np.array([0.0, 1.0, 0.0, 1.0]))
    found = reflection([still, *planted(0, queries=3)], n_boot=50)
    assert found.at("carrying").n == 3
    assert found.tokens.loc[found.tokens["problem"] == "still", "weight"].isna().all()
    with pytest.raises(ValueError, match="no query"):
        reflection([])
    with pytest.raises(ValueError, match="at least two"):
        reflection([Read("a", np.zeros((1, 3)))])
    with pytest.raises(ValueError, match="one name"):
        reflection(planted(0, queries=1) * 2)
    with pytest.raises(ValueError, match="no chain or no reference"):
        Read("a", np.zeros((0, 3)))
    with pytest.raises(ValueError, match="not finite"):
        Read("a", np.full((2, 2), -np.inf))
    with pytest.raises((ValueError, TypeError), match=r"shape|masked"):
        Read("a", np.zeros((2, 2)), masked=np.zeros(3))


def test_a_contrast_stands_beside() -> None:
    ours, other = planted(0), planted(0, reflective=0)
    found = reflection(ours, contrast={"random reward": other}, n_boot=100)
    assert found.contrasts is not None
    row = found.contrasts.set_index("quantity").loc["carrying"]
    assert row["difference_high"] < -0.015


def test_cuts() -> None:
    cut = before([[7], [8, 9]])
    assert cut([1, 7, 2, 8, 9, 3]) == 3
    assert cut([1, 7, 2, 8]) == 1
    assert cut([1, 2]) == 2
    assert before([[7], [8, 9]], last=False)([1, 7, 2, 8, 9]) == 1
    with pytest.raises(ValueError, match="at least one token"):
        before([])


def slow_logps(model: Model, ids: list[int], n: int) -> list[float]:
    """Log-probabilities of everything behind the first n ids, in one plain forward."""
    with torch.no_grad():
        logits = model.net(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return [float(logits[at - 1, ids[at]]) for at in range(n, len(ids))]


def test_references_are_read_after_each_chain_by_both_models(llama_pair_dirs) -> None:
    pair = Pair.load(*llama_pair_dirs)
    rows = []
    for problem, prompt in (("a", [1, 20, 21]), ("b", [1, 30])):
        for number, ids in enumerate(([10, 11, 5, 9], [10, 11, 5, 8, 5, 7], [5, 9], [12, 13])):
            rows.append(
                {
                    "problem": problem, "sample": number, "model": "m", "prompt": "", "prompt_ids": prompt, "ids": ids,
                    "text": "", "logp": [0.0] * len(ids), "stop": "eos", "author": ["m"] * len(ids),
                    "correct": number % 2 == 0, "answer": None,
                }
            )  # fmt: skip
    rollouts = Rollouts.of(rows)
    references = {"a": [5, 14, 15], "b": [5, 16]}
    found = read_references(pair, rollouts, references, cut=before([[5]]), masked=[3])
    chains = ([10, 11], [10, 11, 5, 8], [], [12, 13])
    for side, model in (("base", pair.base), ("rl", pair.rl)):
        for read, prompt in zip(found[side], ([1, 20, 21], [1, 30]), strict=True):
            reference = references[read.problem]
            for row, chain in enumerate(chains):
                start = prompt + chain
                np.testing.assert_allclose(read.logp[row], slow_logps(model, start + reference, len(start)), atol=1e-4)
            start = [*prompt, 3]
            np.testing.assert_allclose(read.masked, slow_logps(model, start + reference, len(start)), atol=1e-4)
            assert read.ranks is not None
            assert read.ranks.min() >= 1
            assert read.correct.tolist() == [1, 0, 1, 0]
            assert read.js is not None
            assert read.js.shape == read.logp.shape
            assert 0 < read.js.max() <= math.log(2) + 1e-6
    assert np.abs(found["base"][0].logp - found["rl"][0].logp).max() > 1e-3
    alone = read_references(pair.base, rollouts, references, cut=before([[5]]))["model"]
    np.testing.assert_allclose(alone[0].logp, found["base"][0].logp, atol=1e-5)
    assert alone[0].js is None
    assert pair.base.role == "base"
    with pytest.raises(ValueError, match="has no token"):
        read_references(pair, rollouts, {"a": []}, cut=before([[5]]))
    with pytest.raises(ValueError, match="None of the samples"):
        read_references(pair, rollouts, {"z": [1]}, cut=before([[5]]))
    assert isinstance(reflection(found["rl"], n_boot=20).frame, pd.DataFrame)
