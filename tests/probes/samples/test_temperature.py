"""Softmax families whose matched temperature is known, entropies against a plain loop, refusals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.generate import generate
from hooks.model import Model
from probes.samples import matched_temperature, sampled_entropy
from probes.samples.temperature import token_entropies


def softmax_entropy(logits: np.ndarray, temperature: float) -> float:
    scaled = logits / temperature
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    return float(-(p * np.log(p)).sum())


LOGITS = np.random.default_rng(0).normal(size=40) * 2


def test_a_sharpened_softmax_is_matched_at_its_own_sharpness() -> None:
    # The RL model's logits are the base's, 2.5 times as sharp: the base at 0.6 is met at 0.6 x 2.5.
    target = softmax_entropy(LOGITS, 0.6)
    found = matched_temperature(target, lambda t: softmax_entropy(2.5 * LOGITS, t), tolerance=1e-4, steps=40)
    assert found.temperature == pytest.approx(1.5, rel=1e-3)
    assert found.reached == pytest.approx(target, rel=1e-4)
    same = matched_temperature(target, lambda t: softmax_entropy(LOGITS, t), tolerance=1e-4, steps=40)
    assert same.temperature == pytest.approx(0.6, rel=1e-3)
    assert "RL at temperature 0.6" in str(same)
    assert len(found.plot().data) == 1


def test_contrasts_are_told_by_the_ratio_of_temperatures() -> None:
    target = softmax_entropy(LOGITS, 0.6)
    options = {"tolerance": 1e-4, "steps": 40}
    others = {
        name: matched_temperature(target, lambda t, sharp=sharp: softmax_entropy(sharp * LOGITS, t), **options)
        for name, sharp in (("random reward", 1.0), ("SFT", 2.5))
    }
    found = matched_temperature(target, lambda t: softmax_entropy(2.5 * LOGITS, t), contrast=others, **options)
    assert found.contrasts is not None
    ratio = found.contrasts.set_index("contrast")["ratio"]
    assert ratio["random reward"] == pytest.approx(2.5, rel=2e-3)
    assert ratio["SFT"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="'random reward' is met at"):
        matched_temperature(2 * target, lambda t: softmax_entropy(LOGITS, t), contrast=others)


def test_a_table_gives_the_same_between_its_rows() -> None:
    temperatures = np.geomspace(0.2, 3, 25)
    table = pd.DataFrame(
        {"temperature": temperatures, "entropy": [softmax_entropy(2.5 * LOGITS, t) for t in temperatures]}
    )
    found = matched_temperature(softmax_entropy(LOGITS, 0.6), table.sample(frac=1, random_state=0))
    assert found.temperature == pytest.approx(1.5, rel=0.01)


def test_a_steep_entropy_is_met_in_few_temperatures() -> None:
    """A real model's entropies between 1/3 and 3 times its temperature, which halving leaves 14 % off after five."""
    temperature = np.log([0.233, 0.7, 0.921, 1.057, 1.132, 1.212, 2.1])
    entropy = np.log([0.0314, 0.126, 0.406, 0.631, 0.937, 1.763, 8.92])
    for target in (0.05, 0.2, 0.82, 3.0, 8.0):
        found = matched_temperature(
            target, lambda t: float(np.exp(np.interp(math.log(t), temperature, entropy))), low=0.24, high=2.09,
            tolerance=0.05, steps=5,
        )  # fmt: skip
        assert "off by" not in found.note
        assert found.temperature == pytest.approx(np.exp(np.interp(np.log(target), entropy, temperature)), rel=0.05)


def test_what_cannot_be_met_is_missing_with_the_reason() -> None:
    found = matched_temperature(50.0, lambda t: softmax_entropy(LOGITS, t))
    assert math.isnan(found.temperature)
    assert "outside" in str(found)
    assert len(found.frame) == 2
    # Certain below a temperature: the entropy is 0 there, which has no logarithm.
    frozen = matched_temperature(1.0, lambda t: max(0.0, 3 * math.log(t)), low=0.1, high=4.0, steps=20)
    assert frozen.temperature == pytest.approx(math.exp(1 / 3), rel=0.01)
    few = matched_temperature(softmax_entropy(LOGITS, 0.6), lambda t: softmax_entropy(LOGITS, t), steps=1)
    assert math.isnan(few.temperature)
    assert "off by" in few.note
    # A jump over the target is no match, however near its edge; an end of the search may be one.
    jump = matched_temperature(1.0, lambda t: 0.0 if t < 1.9 else 5.0, low=0.2, high=2.1)
    assert math.isnan(jump.temperature)
    below, above = (jump.frame["temperature"][jump.frame["entropy"] == nats] for nats in (0, 5))
    assert jump.note.endswith(f"it goes from 0 to 5 nats between {below.max():.4g} and {above.min():.4g}")
    end = matched_temperature(0.1, lambda t: 0.1004 if t < 1 else 2.0, low=0.2, high=2.1, tolerance=0.05)
    assert (end.temperature, end.reached) == (pytest.approx(0.2), 0.1004)
    with pytest.raises(ValueError, match=r"no token at temperature 0\.1"):
        matched_temperature(1.0, lambda t: math.nan)


def test_pass_at_k_is_taken_at_the_temperature_found() -> None:
    asked: list[float] = []

    def samples(temperature: float) -> pd.DataFrame:
        asked.append(temperature)
        return pd.DataFrame({"id": ["a", "b"], "c": [4, 0], "n": 4})

    base = pd.DataFrame({"id": ["a", "b"], "c": [1, 1], "n": 4})
    found = matched_temperature(
        softmax_entropy(LOGITS, 0.6), lambda t: softmax_entropy(LOGITS, t), samples=(base, samples),
        passk_options={"n_boot": 50},
    )  # fmt: skip
    assert asked == [found.temperature]
    assert found.passk is not None
    assert found.passk.at(4, "rl").value == 0.5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="positive number of nats"):
        matched_temperature(0.0, lambda t: t)
    with pytest.raises(ValueError, match="the lower first"):
        matched_temperature(1.0, lambda t: t, low=2.0, high=1.0)
    with pytest.raises(ValueError, match="'entropy'"):
        matched_temperature(1.0, pd.DataFrame({"temperature": [1.0]}))
    with pytest.raises(ValueError, match="two temperatures"):
        matched_temperature(1.0, pd.DataFrame({"temperature": [1.0], "entropy": [1.0]}))


def test_entropies_are_those_of_the_tempered_distribution_token_by_token(llama_dir: Path) -> None:
    model = Model.load(str(llama_dir), dtype="float32")
    texts = generate(model, ["1 + 2", "wait then 12"], n=2, temperature=0.7, max_new_tokens=5)
    found = token_entropies(model, texts, 0.7)
    plain = []
    for ids, start in texts.sequences():
        logits = model.net(torch.tensor([ids])).logits[0].detach().double().numpy()
        plain += [softmax_entropy(row, 0.7) for row in logits[start - 1 : len(ids) - 1]]
    assert found == pytest.approx(plain, abs=1e-4)
    # A nucleus only takes away.
    assert (token_entropies(model, texts, 0.7, top_p=0.5) <= found + 1e-5).all()
    with pytest.raises(ValueError, match="Greedy"):
        token_entropies(model, texts, 0.0)


@pytest.mark.slow
def test_the_organisms_base_is_met_by_its_rl_model_at_a_higher_temperature() -> None:
    from hooks import Pair
    from probes import tasks

    pair, problems = Pair.load("organism:latent"), tasks.load("organism:latent", n=24, seed=0)
    options = {"n": 2, "max_new_tokens": 96, "batch_size": 64}
    target = sampled_entropy(pair.base, problems, 0.6, **options)
    found = matched_temperature(
        target, lambda t: sampled_entropy(pair.rl, problems, t, **options), low=0.3, high=3.0, tolerance=0.05, steps=8
    )
    assert found.reached == pytest.approx(target, rel=0.05)
    # RL sharpened the choice of strategy, so that it takes more heat to be as uncertain.
    assert found.temperature > 0.6
