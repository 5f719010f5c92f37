"""Trained vectors: a planted one is found, the model's own samples teach nothing, and the model stays as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.control_vectors import from_gguf, to_gguf
from hooks.direction import Direction
from hooks.fingerprint import hash_tensors
from hooks.generate import generate
from hooks.model import Model
from hooks.rollouts import Rollouts
from hooks.sites import Site
from hooks.steer import steering
from hooks.streams import stream
from probes.latent.optimised import _Reader, optimised, targets_of
from probes.latent.spans import COLUMNS, Spans

SITE = "resid_post.1"
PROMPTS = [f"{number}+{number % 7}=" for number in range(40)]


@pytest.fixture(scope="module")
def model(llama_dir: Path) -> Model:
    return Model.load(llama_dir, dtype="float32", device="cpu")


def planted(model: Model) -> Direction:
    drawn = stream(0, "planted direction").standard_normal(model.d_model)
    return Direction(torch.from_numpy(drawn / np.linalg.norm(drawn) * 6).float(), Site.parse(SITE), label="truth")


def written(model: Model, plan: Direction | None) -> Rollouts:
    return generate(
        model, PROMPTS, max_new_tokens=24, temperature=1.0, seed=1,
        steering=None if plan is None else steering(plan, 1.0, positions="generated"),
    )  # fmt: skip


def everything(rollouts: Rollouts, strategy: str = "strategy") -> Spans:
    rows = [
        (row.problem, row.sample, row.model, strategy, 0, len(row.ids), row.text)
        for row in rollouts.frame.itertuples()
        if row.ids
    ]
    return Spans(pd.DataFrame(rows, columns=COLUMNS))


@pytest.fixture(scope="module")
def texts(model: Model) -> Rollouts:
    return written(model, planted(model))


@pytest.fixture(scope="module")
def found(model: Model, texts: Rollouts) -> Direction:
    return optimised(model, texts, everything(texts), strategy="strategy", site=SITE, epochs=25, batch=8, rate=5e-2)


def test_a_planted_vector_is_found_and_beats_random_ones_of_its_norm(model: Model, found: Direction) -> None:
    score = {name: float(value) for name, value in found.scores.items() if value is not None}
    assert score["gain_low"] > 0.1
    assert score["gain"] > score["gain_random"] + 0.1
    assert score["p"] == pytest.approx(1 / 21)
    assert score["loss"] < min(score["loss_start"], score["loss_unsteered"])
    assert score["gain"] == pytest.approx(score["loss_unsteered"] - score["loss"], abs=0.05)
    assert found.cosine(planted(model)) > 0.7
    assert (found.kind, found.label, found.weights_hash) == ("optimised", "strategy", model.weights_hash)
    parts = [score[f"problems_{name}"] for name in ("trained", "stopping", "tested")]
    assert (sum(parts), parts[2]) == (40, 10)


def test_what_the_model_samples_itself_teaches_it_nothing(model: Model) -> None:
    own = written(model, None)
    null = optimised(model, own, everything(own), strategy="strategy", site=SITE, epochs=10, batch=8, rate=5e-2)
    assert float(null.scores["gain"] or 0) < 0.03
    assert float(null.scores["gain_low"] or 0) <= 0


def test_the_loss_is_that_of_a_plain_forward_over_each_text_alone(model: Model, texts: Rollouts) -> None:
    targets, vector = targets_of(texts, everything(texts), "strategy")[:5], planted(model).vector
    fast = _Reader(model, Site.parse(SITE), "choices", 5).losses(targets, vector)
    slow = []
    for one in targets:
        n_prompt = int(one.at[0])
        with steering(planted(model), 1.0, positions="generated").on(model, n_prompt=n_prompt), torch.no_grad():
            logits = model.net(torch.from_numpy(one.ids)[None], use_cache=False).logits[0].log_softmax(dim=-1)
        slow += [-float(logits[at - 1, one.ids[at]]) for at in one.at]
    np.testing.assert_allclose(fast.numpy(), slow, atol=2e-4)
    without = _Reader(model, Site.parse(SITE), "choices", 5).losses(targets, None)
    assert float((fast - without).abs().max()) > 0.1


def test_at_the_tokens_places_the_first_token_is_not_reached(model: Model, texts: Rollouts) -> None:
    one, vector = targets_of(texts, everything(texts), "strategy")[:1], planted(model).vector
    plain = _Reader(model, Site.parse(SITE), "tokens", 1).losses(one, None)
    moved = _Reader(model, Site.parse(SITE), "tokens", 1).losses(one, vector)
    assert float(moved[0]) == pytest.approx(float(plain[0]), abs=1e-5)
    assert float((moved[1:] - plain[1:]).abs().max()) > 0.1


def test_the_model_is_left_as_it_was_and_the_same_seed_gives_the_same_vector(model: Model, texts: Rollouts) -> None:
    def state() -> str:
        return hash_tensors(model.net.state_dict(), stored_dtype=model.stored_dtype)

    before = state()
    ran = [
        optimised(model, texts, everything(texts), strategy="strategy", site=SITE, epochs=1, n_random=0)
        for _ in range(2)
    ]
    assert state() == before
    assert all(weight.grad is None and not weight.requires_grad for weight in model.net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())
    torch.testing.assert_close(ran[0].vector, ran[1].vector, rtol=0, atol=0)
    assert ran[0].scores["p"] is None
    other = optimised(model, texts, everything(texts), strategy="strategy", site=SITE, epochs=1, n_random=0, seed=1)
    assert ran[0].cosine(other) < 0.9


def test_an_exception_leaves_no_hook_behind(model: Model, texts: Rollouts, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(hidden: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of the blue")

    monkeypatch.setattr(model, "unembed", fail)
    with pytest.raises(RuntimeError, match="out of the blue"):
        optimised(model, texts, everything(texts), strategy="strategy", site=SITE)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())


def test_it_travels_like_any_direction_and_is_kept_from_other_weights(
    model: Model, found: Direction, tmp_path: Path, llama_pair_dirs: tuple[Path, Path]
) -> None:
    back = Direction.load(found.save(tmp_path / "v.safetensors"))
    assert back.header() == found.header()
    assert back.origin == found.origin
    torch.testing.assert_close(back.vector, found.vector, rtol=0, atol=0)
    (bare,) = from_gguf(to_gguf(found, tmp_path / "v.gguf", model_hint="llama"))
    torch.testing.assert_close(bare.vector, found.vector, rtol=0, atol=0)
    other = Model.load(llama_pair_dirs[1], dtype="float32", device="cpu")
    with pytest.raises(ValueError, match="other weights"), steering(back, 1.0).on(other):
        pass
    with steering(back, 1.0, transfer=True).on(other):
        pass


def test_what_cannot_be_trained_is_refused(model: Model, texts: Rollouts) -> None:
    spans = everything(texts)
    with pytest.raises(ValueError, match="no text has a span of 'planning'"):
        optimised(model, texts, spans, strategy="planning", site=SITE)
    few = Spans(spans.frame[spans.frame["problem"].isin(list(spans.frame["problem"].unique())[:2])])
    with pytest.raises(ValueError, match="3 are needed"):
        optimised(model, texts, few, strategy="strategy", site=SITE)
