"""Steering by strategy: the push is where and what it claims to be, the controls are what they claim to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.branches import branch_logits
from hooks.direction import Direction
from hooks.gate import Sight, js, random
from hooks.generate import generate
from hooks.mix import mix
from hooks.pair import Pair
from hooks.shift import Shift
from hooks.sites import Site
from hooks.steer import steering
from probes import routing
from probes.routing.steered import PICKS, chance, drawn, shift, strategy_arms
from probes.routing.vector_training import balanced
from probes.routing.vectors import StrategyVectors, initial, push

SITE = Site.parse("resid_post.1")


@pytest.fixture(scope="module")
def pair(llama_pair_dirs):
    return Pair.load(*llama_pair_dirs, dtype=torch.float64, device="cpu")


def vectors(pair, n=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    parts = initial(n, pair.base.d_model, 8, seed)
    return StrategyVectors(
        tuple("abcde"[:n]), parts[0] * 4, *parts[1:], torch.randn(n, pair.rl.d_model, generator=draw), torch.zeros(n),
        SITE, "resid_post.1",
    )  # fmt: skip


def test_branches_are_plain_forwards_pushed_at_one_place(pair):
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 0, 0]])
    places = torch.tensor([[1, 4, 2], [0, 3, 3]])
    amount = torch.linspace(-2, 2, pair.base.d_model, dtype=torch.float64)
    found = branch_logits(pair.base, ids, places, site=SITE, change=lambda hidden: hidden + amount)
    plain = branch_logits(pair.base, ids, places, site=SITE, change=lambda hidden: hidden)
    for row in range(2):
        for column, place in enumerate(places[row].tolist()):

            def change(_, hidden):
                hidden = hidden.clone()
                hidden[:, -1] += amount
                return hidden

            with pair.base.watch([SITE], change), torch.no_grad():
                alone = pair.base.net(ids[row : row + 1, : place + 1]).logits[0, -1]
            torch.testing.assert_close(found[row, column], alone)
    assert (found - plain).abs().max() > 1e-3
    with pytest.raises(ValueError, match="leaves a text at a position"):
        branch_logits(pair.base, ids, places + 4, site=SITE, change=lambda hidden: hidden)


def test_a_shift_of_one_sort_is_the_same_steering_at_places(pair):
    amount = torch.linspace(-3, 3, pair.base.d_model)
    prompts = ["1+2=", "9", "wait 77 answer 3+3="]
    own = Shift(
        SITE, lambda sight: torch.zeros_like(sight.index), lambda hidden, sorts: amount.to(hidden).expand_as(hidden)
    )
    options = {"gate": js(0.01), "max_new_tokens": 10, "write": "steered", "reach": "place"}
    ours = mix(pair, prompts, steering=own, **options)
    theirs = mix(pair, prompts, steering=steering(Direction(amount, SITE), 1.0, positions="all"), **options)
    assert list(ours.frame["ids"]) == list(theirs.frame["ids"])
    assert sum(sum(row) for row in ours.frame["changed"]) > 0
    assert {sort for row in ours.frame["sort"] for sort in row} == {0}


def test_sorts_are_read_off_the_other_model_whatever_is_drafted(pair):
    prompts = [f"{i}+{i}=" for i in range(6)]
    made = shift(vectors(pair))
    runs = [
        mix(pair, prompts, gate=js(0.01), write="steered", reach="place", steering=made, draft=draft, max_new_tokens=10,
            batch_size=size)
        for draft, size in ((1, 6), (5, 6), (4, 2))
    ]  # fmt: skip
    assert len({str(list(run.frame["ids"])) for run in runs}) == 1
    assert len({str(list(run.frame["sort"])) for run in runs}) == 1
    row = runs[0].frame.iloc[0]
    seen = []
    with pair.rl.watch(["resid_post.1"], lambda _, hidden: seen.append(hidden)), torch.no_grad():
        pair.rl.net(torch.tensor([[*row["prompt_ids"], *row["ids"]]]))
    begin = len(row["prompt_ids"]) - 1
    scores = vectors(pair).scores(seen[0][0, begin : begin + len(row["ids"])])
    assert scores.argmax(-1).tolist() == list(row["sort"])
    with pytest.raises(ValueError, match='needs="both"'):
        mix(pair, prompts, gate=random(0.5), write="steered", reach="place", steering=made)
    with pytest.raises(ValueError, match="single places"):
        mix(pair, prompts, gate=js(0.1), write="steered", steering=made)


def test_controls_pick_what_they_say(pair):
    scores = torch.tensor([[0.0, 3.0, 2.0, 1.0, -1.0]]).repeat(2000, 1)
    uniform = torch.from_numpy(np.random.default_rng(0).random(2000))
    every, rest = drawn(scores, 0, uniform), drawn(scores, 3, uniform)
    assert set(every.tolist()) == {0, 1, 2, 3, 4}
    assert torch.bincount(every).min() > 330
    assert set(rest.tolist()) == {0, 4}
    made = vectors(pair, 3)
    other = made.scrambled(1)
    torch.testing.assert_close(other.vectors.norm(dim=-1), made.vectors.norm(dim=-1))
    cosine = torch.nn.functional.cosine_similarity(made.vectors, other.vectors)
    assert cosine.abs().max() < 0.99
    one, two = made.vectors[0], made.vectors[1]
    unlike = replace(made, vectors=torch.stack([one, -one + 0.01 * two, two]))
    assert unlike.furthest().tolist()[:2] == [1, 0]
    assert other.digest != made.digest


def test_chance_belongs_to_a_sample_and_a_place():
    def sight(rows, index, samples):
        logits = torch.zeros(len(rows), 3)
        return Sight(
            logits, None, torch.tensor(index), torch.zeros(len(rows)), None, torch.zeros(len(rows), dtype=torch.int64),
            torch.tensor(rows), samples,
        )  # fmt: skip

    whole = chance(sight([0, 0, 1], [0, 7, 7], [("a", 0), ("b", 0)]), 0)
    part = chance(sight([0], [7], [("b", 0)]), 0)
    assert whole[2] == part[0]
    assert len(set(whole.tolist())) == 3
    assert chance(sight([0], [7], [("b", 0)]), 1) != part[0]


def test_push_equals_its_formula():
    vectors_, trunk, heads, biases = initial(2, 4, 3, 0)
    hidden = torch.randn(5, 4)
    sorts = torch.tensor([0, 1, 1, 0, 1])
    found = push(hidden, sorts, vectors_, trunk, heads, biases)
    for place in range(5):
        c = int(sorts[place])
        z = float(heads[c] @ torch.nn.functional.gelu(trunk @ hidden[place]) + biases[c])
        torch.testing.assert_close(found[place], float(np.log1p(np.exp(z))) * vectors_[c])


def test_a_rare_strategy_weighs_as_much_as_a_frequent_one():
    losses, category = torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([0, 0, 0, 2])
    assert float(balanced(losses, category)) == 3.0


def test_training_lowers_the_held_out_loss_and_survives_the_disk(pair, tmp_path):
    texts = generate(pair.rl, [f"{i}+{i}=" for i in range(40)], max_new_tokens=12)
    spans = pd.DataFrame(
        [
            {"problem": row.problem, "sample": row.sample, "strategy": name, "start": start, "stop": start + 6}
            for row in texts.frame.itertuples()
            for name, start in (("first", 0), ("second", 6))
            if len(row.ids) > start
        ]
    )
    made = routing.strategy_vectors(pair, texts, spans, width=16, epochs=8, patience=8, site=SITE)
    assert made.names == ("first", "second")
    assert made.scores_held_out["cross-entropy steered"] < made.scores_held_out["cross-entropy unsteered"]
    again = StrategyVectors.load(made.save(tmp_path / "v.safetensors"))
    assert again.digest == made.digest
    assert again.names == made.names
    assert "held out" in str(again)
    same = routing.strategy_vectors(pair, texts, spans, width=16, epochs=8, patience=8, site=SITE)
    assert same.digest == made.digest
    with pytest.raises(ValueError, match="no strategy has"):
        routing.strategy_vectors(pair, texts, spans.iloc[:0])
    with pytest.raises(FileNotFoundError):
        StrategyVectors.load(tmp_path / "nothing")


def test_all_six_controls_are_run_each_matched_to_the_full_arm(pair):
    told = []

    def write(arm):
        told.append(arm)
        return mix(
            pair, ["1+2=", "9+4="], gate=arm.gate, write=arm.write, steering=arm.steering, reach="place",
            max_new_tokens=8,
        )  # fmt: skip

    kinds = [arm.kind for arm, _ in strategy_arms(vectors(pair), "js > 0.01", js(0.01), write)]
    assert kinds == list(PICKS)
    assert len(kinds) == 7
    assert told[0].matched == "js > 0.01"
    assert {arm.matched for arm in told[1:]} == {told[0].name}
    assert all(arm.gate.needs == "both" for arm in told)
    assert len({str(arm.steering) for arm in told}) == 6
