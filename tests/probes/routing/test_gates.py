"""Gates by name, thresholds from a budget, and scores on given text equal to those recorded while decoding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hooks.generate import generate
from hooks.mix import mix
from hooks.pair import Pair
from probes import routing

PROMPTS = ["1+2=", "then 3*4-5=", "9", "wait 77 answer 3+3="]


@pytest.fixture(scope="module")
def pair(llama_pair_dirs):
    return Pair.load(*llama_pair_dirs, dtype=torch.float64, device="cpu")


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.floats(0, 1))
def test_a_threshold_opens_on_at_most_its_share_and_on_no_less_than_ties_force(scores, share):
    values = np.array(scores)
    threshold = routing.threshold_at(values, share)
    opened = int((values > threshold).sum())
    assert opened <= math.floor(share * len(values) + 1e-9)
    lower = values[values < threshold]
    if len(lower):
        assert (values > lower.max()).sum() > math.floor(share * len(values) + 1e-9)


def test_threshold_edges():
    values = np.array([3.0, 1.0, 2.0])
    assert routing.threshold_at(values, 1.0) == -math.inf
    assert routing.threshold_at(values, 0.0) == 3.0
    assert routing.threshold_at(values, 0.34) == 2.0
    for scores, share in (([], 0.5), ([math.nan], 0.5), ([1.0], 1.5)):
        with pytest.raises(ValueError, match="budget"):
            routing.threshold_at(np.array(scores), share)


@pytest.mark.parametrize(
    "gate",
    [
        routing.js(), routing.kl(), routing.disagreement(), routing.entropy(), routing.margin(), routing.first_k(2),
        routing.probe(torch.linspace(-1, 1, 32, dtype=torch.float64), 0.1, site="resid_post.1"),
    ],
    ids=lambda gate: gate.name,
)  # fmt: skip
@pytest.mark.parametrize("primary", ["base", "rl"])
def test_scores_on_text_equal_those_recorded_while_decoding(pair, gate, primary):
    shut = replace(gate, threshold=math.inf)
    text = mix(pair, PROMPTS, gate=shut, primary=primary, max_new_tokens=12, temperature=1.0, n=2)
    table = routing.place_scores(gate, pair, text, primary=primary, batch_tokens=40)
    recorded = np.concatenate([np.asarray(row, dtype=float) for row in text.frame["gate_score"]])
    assert table["score"].to_numpy() == pytest.approx(recorded, rel=1e-6, abs=1e-9)
    assert table["id"].tolist() == [token for ids in text.frame["ids"] for token in ids]
    assert recorded.std() > 0


def test_a_budget_holds_on_its_text(pair):
    text = generate(pair.base, PROMPTS, n=4, temperature=1.0, max_new_tokens=16)
    for share in (0.0, 0.1, 0.5, 1.0):
        gate = routing.budgeted(routing.entropy(), share, pair=pair, text=text)
        opened = routing.place_scores(gate, pair, text)["open"]
        assert opened.mean() <= share
        # Samples of one prompt tie at its first place: up to four of them stay shut together.
        assert opened.mean() >= share - 5 / len(opened)


def test_controls_carry_their_size_in_their_name():
    assert routing.first_k(3).name == "first 3"
    assert routing.every_n(4).name == "every 4"
    assert str(routing.js(0.1)) == "js > 0.1"
    assert routing.random(0.25).name == "random 0.25"
    with pytest.raises(ValueError, match="first_k"):
        routing.first_k(-1)
    assert routing.always().needs == routing.never().needs == "none"


def test_text_without_a_token_gives_an_empty_table(pair):
    text = generate(pair.base, ["1+2="], max_new_tokens=4)
    bare = text.with_columns(ids=[[]], logp=[[]], author=[[]])
    assert routing.place_scores(routing.js(), pair, bare).empty
    with pytest.raises(ValueError, match="no text"):
        routing.budgeted(routing.js(), 0.5, pair=pair, text=bare)
