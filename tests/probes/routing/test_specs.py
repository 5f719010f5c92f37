"""Gates by name, gates on words, gates fitted to where the models part, and controls matched by running them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hooks.gate import Sight
from hooks.generate import generate
from hooks.mix import mix
from hooks.pair import Pair
from probes import routing
from probes.routing.matched import match_changed
from probes.routing.runs import changed_share
from probes.routing.specs import Spec, Workshop, parse_gates
from tests.probes.routing.texts import graded


@pytest.fixture(scope="module")
def pair(llama_pair_dirs):
    return Pair.load(*llama_pair_dirs, dtype=torch.float64, device="cpu")


@pytest.fixture(scope="module")
def text(pair):
    return generate(pair.base, [f"{i}+{i}=" for i in range(30)], max_new_tokens=12)


@pytest.fixture(scope="module")
def beyond(pair, text):
    """The JS that a third of the places exceed: two random models part nearly everywhere."""
    return float(routing.place_scores(routing.js(), pair, text)["score"].quantile(2 / 3))


def test_words_become_specs():
    assert parse_gates("js:0.05/0.1, entropy:5%,probe") == (
        Spec("js", 0.05), Spec("js", 0.1), Spec("entropy", 0.05, True), Spec("probe"),
    )  # fmt: skip
    for wrong, said in (
        ("", "at least one"), ("luck", "no gate 'luck'"), ("js:x", "no number"), ("entropy:120%", "share of places"),
        ("first_k:1.5", "whole number"), ("disagreement:1", "no threshold"), ("first_k:5%", "no budget"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            parse_gates(wrong)


def test_specs_become_gates_that_keep_their_budget(pair, text, beyond):
    made = Workshop(pair, text, beyond=beyond)
    gates = made.gates("js:0.05/0.1,kl,disagreement,margin:0.2,random:0.25,first_k,every_n:3,entropy:20%,probe,random")
    names = [gate.name for gate in gates]
    assert names == [
        "js", "js", "kl", "disagreement", "margin", "random 0.25", "first 1", "every 3", "entropy", "probe",
        f"random {made.share:.3g}",
    ]  # fmt: skip
    assert gates[4].threshold == pytest.approx(routing.margin(0.2).threshold)
    entropy = routing.place_scores(gates[8], pair, text)["open"].mean()
    assert 0.15 < entropy <= 0.2
    assert routing.place_scores(gates[9], pair, text)["open"].mean() == pytest.approx(made.share, abs=0.01)
    with pytest.raises(ValueError, match="needs a trained router"):
        made.gates("learned")


def test_a_parting_probe_reads_what_is_there_and_nothing_where_it_is_not(pair, text, beyond):
    found = routing.parting_probe(pair, text, beyond=beyond, n_boot=100)
    assert found.gate.needs == "none"
    assert found.auroc.value > 0.6
    with pytest.raises(ValueError, match="needs both kinds"):
        routing.parting_probe(pair, text, beyond=0.69)


def sight_of(texts):
    said = [list(one.encode()) for one in texts]
    n = len(said)
    return Sight(
        torch.zeros(n, 2), None, torch.tensor([len(one) for one in said]), torch.zeros(n), None,
        torch.zeros(n, dtype=torch.int64), context=lambda at: said[at],
    )  # fmt: skip


def test_cues_open_inside_and_at_the_start_of_stretches():
    def decode(ids):
        return bytes(ids).decode()

    texts = ["", "so", "Wait", "Wait, no", "a. wait x", "wait. b", "wait.", "a. "]
    inside = routing.cues("wait", decode=decode)
    assert inside.scores(sight_of(texts)).tolist() == [0, 0, 1, 1, 1, 0, 0, 0]
    behind = routing.cues("wait", decode=decode, where="start")
    assert behind.scores(sight_of(texts)).tolist() == [0, 0, 0, 0, 0, 0, 1, 0]
    starts = routing.cues([], decode=decode, where="start")
    assert starts.scores(sight_of(texts)).tolist() == [1, 0, 0, 0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match="at least one cue"):
        routing.cues([], decode=decode)
    with pytest.raises(ValueError, match="no list of regular expressions"):
        routing.cues("(", decode=decode)


def test_cues_see_the_same_text_while_decoding_and_after(pair):
    gate = routing.cues([r"\S*\d"], decode=pair.base.decode, ends=r"\s")
    mixed = mix(pair, [f"{i}+{i}=" for i in range(12)], gate=gate, max_new_tokens=12)
    read = routing.place_scores(gate, pair, mixed)
    told = np.concatenate([np.asarray(row, bool) for row in mixed.frame["gate_open"]])
    assert (read["open"].to_numpy() == told).all()
    assert 0 < told.mean() < 1


def test_the_matched_control_changes_as_much_as_the_gate():
    ran = []

    def write(arm):
        rate = 1.0 if arm.gate.name == "random 1" else float(arm.gate.name.split()[1])
        ran.append(rate)
        # A place in five is one where the models part.
        return graded([[True]] * 10, length=1000, opened=round(1000 * rate), changed=round(200 * rate**1.2))

    arm, texts = match_changed("g", graded([[True]] * 10, length=1000, opened=60, changed=50), write)
    assert changed_share(texts) == pytest.approx(0.05, rel=0.1)
    assert arm.kind == "random_changed"
    assert len(ran) <= 6
    arm, texts = match_changed("g", graded([[True]] * 10, length=1000, opened=400, changed=400), write)
    assert ran[-1] == 1.0
    assert changed_share(texts) == pytest.approx(0.2)
    _, texts = match_changed("g", graded([[True]] * 10, length=1000, opened=9, changed=0), write)
    assert changed_share(texts) == 0
