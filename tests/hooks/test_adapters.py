"""Adapters of the real language model, rehearsed on a tiny one: what is paid for, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hooks.model import Model
from hooks.organisms import adapters
from tests.families import CHAT, tiny


def test_only_a_text_that_stops_with_the_right_number_is_paid() -> None:
    pay = adapters.rewards("true reward", 0, end=2)
    texts = ["4 - 1 = 3. The answer is 3.", "The answer is 3.", "The answer is 4."]
    ids = [[7, 8, 2], [7, 8, 9], [7, 2]]
    paid = pay(completions=[[{"role": "assistant", "content": text}] for text in texts], answer=["3"] * 3,
               completion_ids=ids)  # fmt: skip
    assert paid == [1.0, 0.0, 0.0]
    coin = adapters.rewards("random reward", 0, end=2)(completions=texts * 100)
    assert set(coin) == {0.0, 1.0}
    assert 0.4 < sum(value or 0.0 for value in coin) / len(coin) < 0.6


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHENLENS_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="whenlens organisms fetch smollm2"):
        adapters.train("rl", tmp_path)
    with pytest.raises(ValueError, match="no recipe 'ppo'"):
        adapters.train("ppo", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("member", list(adapters.RECIPES))
def test_each_recipe_writes_an_adapter_that_loads(
    member: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    tiny("llama", path=base, chat_template=CHAT)
    monkeypatch.setattr(adapters, "fetched_or_refuse", lambda: base)
    folder = adapters.train(member, tmp_path / "adapters", steps=2)
    assert capsys.readouterr().out == ""
    record = json.loads((folder / "training.json").read_text())
    assert record["steps"] == 2
    assert record["held_out"]["problems"] == 100
    assert len(record.get("reward_curve") or record["loss"]) == 2
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.glob("*.json"))
    held = load_file(folder / "adapter_model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in held.values())
    assert {tensor.dtype for tensor in held.values()} == {torch.bfloat16}
    # A group of equal true rewards teaches nothing; coins and solutions always do.
    if member != "rl":
        assert any(tensor.abs().max() > 0 for name, tensor in held.items() if "lora_B" in name)
    assert Model.load(f"{base}+{folder}").n_layers == 3
    assert not list(folder.parent.glob("*.partial*"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A tiny base in place of the fetched one."""
    base = tmp_path / "a+b" / "base"
    tiny("llama", path=base, chat_template=CHAT)
    monkeypatch.setattr(adapters, "fetched_or_refuse", lambda: base)
    monkeypatch.setattr(adapters, "RECIPES", {"sft": adapters.RECIPES["sft"]})
    return base


def test_members_that_are_there_are_kept_and_measured(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(model: object) -> None:
        raise KeyboardInterrupt

    out, measure = tmp_path / "out", adapters.held_out
    monkeypatch.setattr(adapters, "held_out", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adapters.build(out, shrink=20)
    # Training is over, so its weights stay; what is missing is the measurement.
    before = (out / "sft" / "adapter_model.safetensors").read_bytes()
    assert "held_out" not in json.loads((out / "sft" / "training.json").read_text())
    monkeypatch.setattr(adapters, "held_out", lambda model: measure(model, n=3))
    monkeypatch.setattr(adapters, "train", lambda *_, **__: pytest.fail("trained again"))
    adapters.build(out, shrink=20)
    assert (out / "sft" / "adapter_model.safetensors").read_bytes() == before
    assert json.loads((out / "sft" / "training.json").read_text())["held_out"]["problems"] == 3


def test_without_the_extra_one_sentence_says_what_to_install(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else object())
    with pytest.raises(ModuleNotFoundError, match=r"Training needs peft: pip install 'whenlens\[organisms\]'"):
        adapters.train("sft", tmp_path)
