"""Planted phrases mined, a planted bend found and no bend claimed where there is none, against slow references."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hooks.rollouts import Rollouts
from probes.stats import wilson
from probes.training import ENGLISH, Checkpoint, Grams, Series, group_advantage, hicra_advantage, two_phases
from probes.training.bend import find_bend, slope_after
from probes.training.curves import curves
from probes.training.phrases import Corpus, entropy, match, planning
from probes.training.words import Words
from tests.probes.training.runs import FILLERS, PHRASES, STEPS, VOCABULARY, offsets, run

PLANTED = Grams.of({phrase: [phrase] for phrase in PHRASES})


def test_words_hide_numbers_and_keep_places() -> None:
    found = Words.of("Let's take 3,141.5 + x_1")
    assert found.words == ("let's", "take", "#", "+", "x", "_", "#")
    assert found.starts == (0, 6, 11, 19, 21, 22, 23)


def test_planted_phrases_are_mined_and_fillers_are_not() -> None:
    series = Series.of(run(steps=(0, 60, 120)))
    solutions = Corpus.of(series).solutions()
    mined = Grams.mine(solutions, clusters=20)
    # Fillers stand beside phrases by chance, but no phrase of fillers alone is kept.
    assert all(not set(gram.split()) <= set(FILLERS) for gram in mined.frame["gram"])
    assert any(gram in phrase for gram in mined.frame["gram"] for phrase in PHRASES)
    assert mined.frame["cluster_df"].min() >= mined.frame["df"].min()
    again = Grams.mine(solutions, clusters=20)
    pd.testing.assert_frame_equal(again.frame, mined.frame)
    # Document frequency against a plain count.
    gram = mined.frame["gram"].iloc[0]
    assert mined.frame["df"].iloc[0] == sum(f" {gram} " in f" {text} " for text in solutions)


def test_an_embedder_may_cluster_and_the_top_is_kept() -> None:
    solutions = ["a b c d"] * 9 + ["e f g"] * 5 + ["h i j"] * 3
    letters = {gram: index for index, gram in enumerate("abcdefghij")}
    mined = Grams.mine(
        solutions, clusters=4, top=0.25, embed=lambda texts: np.eye(10)[[letters[text[0]] for text in texts]]
    )
    assert len(set(mined.frame["cluster"])) == 1
    assert mined.frame["cluster_df"].unique().tolist() == [9]
    with pytest.raises(ValueError, match="give more solutions"):
        Grams.mine(["a b c", "d e f"])
    with pytest.raises(ValueError, match="no phrase"):
        Grams.of({})
    with pytest.raises(ValueError, match="no word"):
        Grams.of({"x": [" "]})


def test_the_seed_lexicon_is_found_in_english() -> None:
    texts = [Words.of("Wait, let me check this. We can use the fact that 3 < 5.")]
    grams = Grams.of(ENGLISH)
    corpus = Corpus(
        tuple(texts), np.array([True]), np.array([0]), np.array([0]), np.array([0]),
        pd.DataFrame(columns=["logp", "entropy", "checkpoint", "problem", "word"]),
    )  # fmt: skip
    events = match(corpus, grams).events
    assert events["cluster"].tolist() == ["backtracking", "deduction"]
    assert events["follows"].tolist() == [". we can", "# < #"]


def test_tokens_in_phrases_are_planning_and_nothing_else() -> None:
    series = Series.of(run(steps=(0, 60), problems=5))
    corpus = Corpus.of(series, offsets)
    plan = planning(corpus, match(corpus, PLANTED))
    ids = [token for one in series.checkpoints for row in one.rollouts.frame["ids"] for token in row]
    assert plan.tolist() == [VOCABULARY[token] not in FILLERS for token in ids]


def test_curves_are_what_a_plain_loop_gives() -> None:
    series = Series.of(run(steps=(0, 60, 120), problems=6))
    corpus = Corpus.of(series, offsets)
    matches = match(corpus, PLANTED)
    found = curves(series, corpus, matches, n_boot=20, seed=0)
    plan = planning(corpus, matches)
    for index, one in enumerate(series.checkpoints):
        own = one.tokens
        assert own is not None
        inside = plan[(corpus.tokens["checkpoint"] == index).to_numpy()]
        assert found.values["entropy_execution"][0, index] == pytest.approx(own["entropy"][~inside].mean())
        first = series.checkpoints[0].tokens
        assert first is not None
        before = plan[(corpus.tokens["checkpoint"] == 0).to_numpy()]
        expected = np.exp(-own["logp"][inside].mean()) / np.exp(-first["logp"][before].mean())
        assert found.values["relative_ppl_planning"][0, index] == pytest.approx(expected)
        phrases = Counter(p for text in one.rollouts.frame["text"] for p in PHRASES for _ in range(text.count(p)))
        total = sum(phrases.values())
        plain = -sum(c / total * math.log(c / total) for c in phrases.values())
        assert found.values["semantic_entropy"][0, index] == pytest.approx(plain + (len(phrases) - 1) / (2 * total))
        pairs = followed(one.rollouts.frame["text"])
        given = corrected(Counter(pairs)) - corrected(Counter(phrase for phrase, _ in pairs))
        assert found.values["conditional_entropy"][0, index] == pytest.approx(given)
        assert found.values["length"][0, index] == pytest.approx(one.rollouts.frame["ids"].map(len).mean())
        assert found.values["planning_share"][0, index] == pytest.approx(inside.mean())
        texts = one.rollouts.frame["text"]
        covered = sum(text.count(p) * len(p.split()) for text in texts for p in PHRASES)
        words = sum(len(Words.of(text).words) for text in texts)
        assert found.values["words_in_phrases"][0, index] == pytest.approx(covered / words)
        assert np.ptp(found.values["words_in_phrases"][1:, index]) > 0
        high = own["entropy"] >= np.quantile(own["entropy"], 0.8)
        assert found.values["planning_of_high_entropy"][0, index] == pytest.approx(inside[high].mean())
    assert found.values["accuracy"].shape == (21, 3)


def followed(texts: pd.Series) -> list[tuple[str, str]]:
    """Each phrase of each text with the three words behind it, where there are any."""
    out = []
    for text in texts:
        for phrase in PHRASES:
            for rest in text.split(f"{phrase} ")[1:]:
                out.append((phrase, " ".join(text[text.index(f"{phrase} {rest}") + len(phrase) :].split()[:3])))
    return out


def corrected(counts: Counter) -> float:
    """Entropy in nats, Miller-Madow, by the formula."""
    total = sum(counts.values())
    return -sum(c / total * math.log(c / total) for c in counts.values()) + (len(counts) - 1) / (2 * total)


def test_miller_madow_is_nearer_the_truth_than_the_plug_in_value() -> None:
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(30))
    truth = -(chances * np.log(chances)).sum()
    counts = rng.multinomial(60, chances, size=400).astype(float)
    shares = counts / 60
    plain = -np.where(shares > 0, shares * np.log(np.maximum(shares, 1e-300)), 0).sum(axis=1).mean()
    assert abs(entropy(counts).mean() - truth) < abs(plain - truth) / 2
    assert math.isnan(entropy(np.zeros((1, 3)))[0])


def test_a_planted_bend_is_found_with_its_phases() -> None:
    found = two_phases(run(), offsets=offsets, n_boot=100)
    assert found.breakpoint.low <= 40 <= found.breakpoint.high
    assert found.breakpoint.high - found.breakpoint.low < 30
    assert found.semantic_slope.low > 0
    assert found.over_placebo.low > 0
    assert found.robust == 1.0
    assert "falls until step" in str(found)
    arms = found.arms.set_index("arm")
    assert len(arms) == 7
    # Placebo phrases cover as much but do not spread.
    assert arms.loc["placebo", "coverage"] == pytest.approx(arms.loc["all", "coverage"], rel=0.1)
    assert arms.loc["placebo", "semantic_slope"] < arms.loc["all", "semantic_slope"] / 2
    assert found.frame["planning_of_high_entropy"].iloc[-1] > 0.9
    assert found.frame["relative_ppl_execution"].iloc[0] == 1.0
    assert found.frame["relative_ppl_execution"].iloc[-1] < 0.6
    assert len(found.plot().data) == 6
    small, again = (two_phases(run(problems=6), offsets=offsets, grams=PLANTED, n_boot=20, drops=1) for _ in range(2))
    pd.testing.assert_frame_equal(again.arms, small.arms)


def test_a_flat_run_claims_no_bend_at_the_nominal_rate() -> None:
    x = np.array(STEPS, dtype=float)
    rng = np.random.default_rng(0)
    small = sum(find_bend(x, rng.normal(0, 1, len(x))).p <= 0.05 for _ in range(200))
    assert 2 <= small <= 20
    flat = two_phases(run(bend=None, noise=0.01, problems=12), offsets=offsets, grams=PLANTED, n_boot=100, drops=1)
    assert not flat.breakpoint.measured
    assert not flat.semantic_slope.measured
    assert "no bend" in flat.note or "does not" in flat.note


def test_a_straight_fall_has_no_bend_and_a_rise_is_no_first_phase() -> None:
    x = np.array(STEPS, dtype=float)
    noise = np.random.default_rng(1).normal(0, 0.02, len(x))
    assert find_bend(x, 1 - x / 150 + noise).p > 0.05
    series = run(bend=None, problems=12)
    lifted = [
        replace(one, tokens=one.tokens.assign(entropy=one.tokens["entropy"] + min(one.step, 40) / 50))
        for one in series
        if one.tokens is not None
    ]
    found = two_phases(lifted, offsets=offsets, grams=PLANTED, n_boot=100, drops=0)
    assert found.bend.p < 0.05
    assert "does not fall before" in found.note
    assert not found.breakpoint.measured


def test_the_bend_is_the_best_of_all_places() -> None:
    x = np.array(STEPS, dtype=float)
    y = np.where(x < 30, 2 - x / 20, 0.5) + np.random.default_rng(3).normal(0, 0.03, len(x))
    places = np.linspace(x[1], x[-2], 80)
    sse = []
    for at in places:
        design = np.stack([np.ones_like(x), np.minimum(x - at, 0), np.maximum(x - at, 0)], axis=1)
        coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
        sse.append((np.square(y - design @ coefficients).sum(), at, *coefficients[1:]))
    best = min(sse)
    found = find_bend(x, y)
    assert [found.at.value, found.before.value, found.after.value] == pytest.approx(best[1:])
    assert found.at.low <= 30 <= found.at.high
    assert found.p < 0.01


def test_slope_after_is_a_line_through_what_is_left() -> None:
    x = np.arange(8.0)
    y = np.random.default_rng(0).normal(size=(2, 8))
    slopes = slope_after(x, y, np.array([3.0, 6.0]))
    assert slopes[0] == pytest.approx(np.polyfit(x[3:], y[0, 3:], 1)[0])
    assert math.isnan(slopes[1])


def test_few_checkpoints_show_curves_without_a_bend_and_texts_alone_show_phrases() -> None:
    few = two_phases(run(steps=(0, 20, 40, 60), problems=8), offsets=offsets, grams=PLANTED, n_boot=50, drops=1)
    assert "needs at least 6 checkpoints" in few.note
    assert math.isnan(few.bend.p)
    assert few.frame["entropy_execution"].notna().all()
    texts = two_phases([replace(one, tokens=None) for one in run(problems=8)], grams=PLANTED, n_boot=50, drops=0)
    assert texts.frame["entropy_execution"].isna().all()
    assert texts.frame["semantic_entropy"].notna().all()


def test_series_are_cut_to_what_all_have_and_refuse_what_does_not_fit() -> None:
    whole = run(steps=(0, 10, 20), problems=6)
    fewer = replace(whole[1], rollouts=whole[1].rollouts.subset([f"p{i:02d}" for i in range(4)]))
    series = Series.of([whole[0], fewer, whole[2]], samples=3)
    assert (len(series.problems), series.samples, series.left_out) == (4, 3, 2)
    assert all(len(one.rollouts) == 12 for one in series.checkpoints)
    assert series.accuracy().shape == (4, 3)
    with pytest.raises(ValueError, match="must rise"):
        Series.of([whole[1], whole[0]])
    with pytest.raises(ValueError, match="at least 2"):
        Series.of(whole[:1])
    assert whole[0].tokens is not None
    with pytest.raises(ValueError, match="score them anew"):
        Series.of([replace(whole[0], tokens=whole[0].tokens.iloc[1:]), whole[1]])
    with pytest.raises(ValueError, match="no column 'entropy'"):
        Series.of([replace(whole[0], tokens=whole[0].tokens.drop(columns="entropy")), whole[1]])


def test_hicra_lifts_planning_tokens_and_damps_their_penalty() -> None:
    advantage = group_advantage(np.array([[1.0, 0.0, 0.0, 0.0]]))
    assert advantage[0].tolist() == [0.75, -0.25, -0.25, -0.25]
    mask = np.array([[True, False]] * 4)
    lifted = hicra_advantage(advantage[0], mask)
    assert lifted[0].tolist() == pytest.approx([0.9, 0.75])
    assert lifted[1].tolist() == pytest.approx([-0.2, -0.25])
    with pytest.raises(ValueError, match="cannot be -1"):
        hicra_advantage(advantage[0], mask, alpha=-1)


def test_a_share_rests_on_the_problems_that_hold_its_tokens() -> None:
    """All uncertain tokens stand in phrases of 4 of 60 problems: that is a share of 1 in 4 problems, not in 60."""
    series = Series.of(run(steps=(0, 60), problems=60, samples=1))
    corpus = Corpus.of(series, offsets)
    plan, few = planning(corpus, match(corpus, PLANTED)), (corpus.tokens["problem"] < 4).to_numpy()
    tokens = corpus.tokens.assign(entropy=np.where(few & plan, 2.0, 0.0))
    # Of the other problems one token each is left, so that the uncertain ones are more than a fifth of all.
    tokens = tokens[few | ~tokens.duplicated(["checkpoint", "problem"]).to_numpy()].reset_index(drop=True)
    corpus = replace(corpus, tokens=tokens)
    found = curves(series, corpus, match(corpus, PLANTED), n_boot=400, seed=0)
    assert found.rests["planning_of_high_entropy"].tolist() == [4, 4]
    assert found.rests["planning_share"].tolist() == [60, 60]
    assert found.rests["words_in_phrases"].tolist() == [60, 60]
    last = found.frame(0.95).iloc[-1]
    assert last["planning_of_high_entropy"] == 1.0
    assert last["planning_of_high_entropy_low"] == pytest.approx(wilson(4, 4).low)
    assert last["planning_of_high_entropy_high"] == 1.0


def test_empty_texts_have_no_share_of_words_and_leave_the_mean_coverage_alone() -> None:
    whole = run(steps=(0, 30, 60), problems=8)
    usual = two_phases([replace(one, tokens=None) for one in whole], grams=PLANTED, n_boot=20, drops=0)

    def silent(one: Checkpoint) -> Checkpoint:
        frame = one.rollouts.frame.assign(text="")
        return replace(one, rollouts=Rollouts(frame), tokens=None)

    empty = [replace(whole[0], tokens=None), silent(whole[1]), replace(whole[2], tokens=None)]
    found = two_phases(empty, grams=PLANTED, n_boot=20, drops=0)
    shares = found.frame["words_in_phrases"]
    assert math.isnan(shares.iloc[1])
    assert math.isnan(found.frame["words_in_phrases_low"].iloc[1])
    assert shares.iloc[[0, 2]].tolist() == usual.frame["words_in_phrases"].iloc[[0, 2]].tolist()
    assert found.arms["coverage"].iloc[0] == pytest.approx(shares.iloc[[0, 2]].mean())
    nothing = two_phases([silent(one) for one in whole], grams=PLANTED, n_boot=20, drops=0)
    assert math.isnan(nothing.arms["coverage"].iloc[0])


def test_the_share_of_planning_says_of_which_checkpoint_it_is() -> None:
    found = two_phases(run(steps=(0, 30, 60), problems=8), offsets=offsets, grams=PLANTED, n_boot=20, drops=0)
    assert found.planning_of_high.method.endswith("at the last checkpoint")
    assert found.planning_of_high.value == found.frame["planning_of_high_entropy"].iloc[-1]
