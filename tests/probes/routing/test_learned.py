"""Learned routers: critical places are what they claim to be, a planted signal is learned, noise is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.generate import generate
from hooks.mix import mix
from hooks.pair import Pair
from probes import routing
from probes.routing import critical
from probes.routing.learned import LearnedRouter, features, learn_router, split, threshold_for
from probes.routing.network import fit_network
from probes.routing.sights import sights
from probes.stats import auroc
from probes.tasks import Problem

LENGTH = 10


@pytest.fixture(scope="module")
def pair(llama_pair_dirs):
    return Pair.load(*llama_pair_dirs, dtype=torch.float64, device="cpu")


@pytest.fixture(scope="module")
def problems():
    return [Problem(f"p{i:02d}", f"{i}+{i}=", "?", kind="exact") for i in range(40)]


@pytest.fixture(scope="module")
def rl(pair, problems):
    texts = generate(pair.rl, problems, max_new_tokens=LENGTH)
    return texts.with_columns(correct=[True] * len(texts), answer=["x"] * len(texts))


def fitted(signal: float, seed: int = 0) -> float:
    """AUROC on fresh rows of a network trained on rows whose label leans on the product of two features."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((3000, 12)).astype(np.float32)
    chance = 1 / (1 + np.exp(-signal * (rows[:, 0] * rows[:, 1] + rows[:, 2])))
    labels = draw.random(3000) < chance
    table = torch.from_numpy(rows)
    fit = fit_network(table[:1500], labels[:1500], table[1500:2000], labels[1500:2000], width=32, blocks=1, epochs=40,
                      patience=8)  # fmt: skip
    with torch.no_grad():
        return auroc(fit.network(table[2000:]).numpy(), labels[2000:])


def test_a_planted_signal_is_learned_and_noise_is_not():
    assert fitted(4.0) > 0.85
    nulls = [fitted(0.0, seed) for seed in range(3)]
    assert abs(np.mean(nulls) - 0.5) < 0.03


def test_the_start_is_named_by_the_seed_and_leaves_the_caller_alone():
    state = torch.random.get_rng_state()
    assert fitted(1.0) == fitted(1.0)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(ValueError, match="both kinds"):
        fit_network(torch.zeros(4, 2), np.zeros(4, bool), torch.zeros(2, 2), np.zeros(2, bool))


def test_threshold_keeps_the_recall_or_the_budget():
    scores = np.arange(100.0)
    critical_ = np.arange(100) % 10 == 5
    level = threshold_for(scores, critical_, recall=0.9)
    assert (scores[critical_] > level).mean() == 0.9
    assert (scores > threshold_for(scores, critical_, budget=0.07)).sum() == 7
    with pytest.raises(ValueError, match="recall"):
        threshold_for(scores, np.zeros(100, bool))


def test_problems_never_straddle_the_split():
    names = np.repeat([f"p{i}" for i in range(50)], 3)
    parts = split(names, 0)
    assert all(len(set(parts[names == name])) == 1 for name in set(names))
    assert set(parts) == {"train", "validation", "held out"}


def test_critical_places_swap_one_token_and_go_on_with_rl(pair, problems, rl, monkeypatch):
    written = {}

    def graded(texts, asked):
        for row in texts.frame.itertuples():
            written.setdefault(row.problem, []).append(list(row.ids))
        return texts.with_columns(correct=[len(ids) % 2 == 0 for ids in texts.frame["ids"]])

    monkeypatch.setattr(critical, "grade", graded)
    found = routing.critical_places(pair, problems, rl, most=2, max_new_tokens=LENGTH)
    assert len(found)
    assert found.groupby("problem").size().max() <= 2
    own = {row.problem: list(row.ids) for row in rl.frame.itertuples()}
    prompts = {row.problem: list(row.prompt_ids) for row in rl.frame.itertuples()}
    for name, rows in found.groupby("problem"):
        for place, text in zip(rows.itertuples(), written[name], strict=True):
            assert place.base_id != place.rl_id == own[name][place[2]]
            said = [*own[name][: place[2]], place.base_id]
            while len(said) < LENGTH and said[-1] not in pair.rl.eos_ids:
                with torch.no_grad():
                    said.append(int(pair.rl.net(torch.tensor([prompts[name] + said])).logits[0, -1].argmax()))
            assert text == said
            assert place.critical == (len(said) % 2 == 1)
    with pytest.raises(ValueError, match="not graded"):
        routing.critical_places(pair, problems, rl.with_columns(correct=[None] * len(rl)))


def test_a_planted_router_is_found_saved_and_needs_the_base_alone(pair, problems, rl, tmp_path):
    looks = replace(routing.never(), needs="primary", hidden=True)
    parts = [(table, features(sight, pair.base.net.get_input_embeddings().weight.detach()).float().numpy())
             for sight, table in sights(looks, pair, rl)]  # fmt: skip
    places = pd.concat([table for table, _ in parts], ignore_index=True)
    rows = np.concatenate([row for _, row in parts])
    line = rows[:, 0] - np.median(rows[:, 0])
    labels = places.assign(critical=line > 0, problem=places["problem"].astype(str))
    made = learn_router(pair, rl, labels, epochs=80, n_boot=50, width=32)
    assert made.scores["auroc"] > 0.78
    noise = learn_router(
        pair, rl, labels.assign(critical=np.random.default_rng(0).permutation(labels["critical"])), epochs=30,
        n_boot=50, width=32,
    )  # fmt: skip
    assert 0.3 < noise.scores["auroc"] < 0.7
    made.save(tmp_path / "r.safetensors")
    gate = routing.learned(tmp_path / "r.safetensors", pair)
    assert gate.needs == "primary"
    assert gate.threshold == made.threshold
    ours, theirs = (mix(pair, problems[:6], gate=one, max_new_tokens=LENGTH) for one in (made.gate(), gate))
    assert list(ours.frame["ids"]) == list(theirs.frame["ids"])
    scored = routing.place_scores(gate, pair, rl)
    assert 0 < scored["open"].mean() < 1
    other = Pair.of(pair.rl, pair.base)
    with pytest.raises(ValueError, match="another base"):
        LearnedRouter.load(tmp_path / "r.safetensors", other)
    with pytest.raises(ValueError, match="too few"):
        learn_router(pair, rl, labels.assign(critical=False))
