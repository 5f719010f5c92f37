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
    if member == "sft":
        assert any(tensor.abs().max() > 0 for name, tensor in held.items() if "lora_B" in name)
    assert Model.load(f"{base}+{folder}").n_layers == 3
