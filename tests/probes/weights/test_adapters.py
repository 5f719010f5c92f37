"""A LoRA adapter is compared merged: not as the base it leaves untouched on disk."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hooks.checkpoint import find_source
from hooks.merged import merged_folder
from hooks.model import Model
from hooks.pair import Pair
from probes.weights import compare
from probes.weights.adapter import adapter_of
from tests.families import tiny


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A base in bfloat16 and an adapter that changes one matrix of one layer."""
    monkeypatch.setenv("WHENLENS_CACHE", str(tmp_path / "cache"))
    base = tmp_path / "base"
    tiny("llama", path=base)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    net = AutoModelForCausalLM.from_pretrained(base)
    tuned = get_peft_model(net, LoraConfig(r=2, lora_alpha=8, target_modules=["down_proj"], layers_to_transform=[1]))
    with torch.no_grad():
        for name, tensor in tuned.named_parameters():
            if "lora_" in name:
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)))
    tuned.save_pretrained(tmp_path / "adapter")
    return base, tmp_path / "adapter"


def test_one_matrix_moved_however_the_adapter_is_named(adapter: tuple[Path, Path]) -> None:
    base, folder = adapter
    for delta in (compare(Pair.load(base, folder)), compare(base, folder), compare(base, f"{base}+{folder}")):
        moved = delta.frame[delta.frame["unchanged_exact"] < 1]
        assert list(moved["tensor"]) == ["model.layers.1.mlp.down_proj.weight"]


def test_the_adapter_says_its_rank_and_what_it_was_trained_on(adapter: tuple[Path, Path]) -> None:
    base, folder = adapter
    pair = Pair.load(base, folder)
    found = adapter_of(pair.rl)
    assert found is not None
    assert adapter_of(pair.base) is None
    assert (found.rank, found.modules) == (2, ("down_proj",))
    assert found.tensors == {"layers.1.mlp.down_proj.weight"}
    delta = compare(pair)
    own = delta.frame.set_index("tensor").loc["model.layers.1.mlp.down_proj.weight"]
    within = found.within(delta.frame, ("unchanged_exact",))
    assert within == {"tensors": 1, "size": own["size"], "unchanged_exact": own["unchanged_exact"]}
    assert within["unchanged_exact"] < delta.totals["unchanged_exact"]


def test_a_larger_rank_of_one_module_and_another_kind_of_adapter(adapter: tuple[Path, Path]) -> None:
    base, folder = adapter
    model = Pair.load(base, folder).rl
    held = folder / "adapter_config.json"
    text = held.read_text()
    held.write_text(text.replace('"rank_pattern": {}', '"rank_pattern": {"down_proj": 16}'))
    found = adapter_of(model)
    assert found is not None
    assert found.rank == 16
    held.write_text(text.replace('"LORA"', '"IA3"'))
    assert adapter_of(model) is None
    held.unlink()
    with pytest.raises(FileNotFoundError, match="adapter_config"):
        adapter_of(model)


def test_the_merged_folder_holds_what_runs_rounded_to_the_stored_dtype(adapter: tuple[Path, Path]) -> None:
    base, folder = adapter
    merged = merged_folder(find_source(f"{base}+{folder}"))
    held = load_file(merged / "model.safetensors")
    assert {tensor.dtype for tensor in held.values()} == {torch.bfloat16}
    runs = dict(Model.load(f"{base}+{folder}").net.named_parameters())
    name = "model.layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(held[name].float(), runs[name], atol=1e-2, rtol=1e-2)
    assert merged_folder(find_source(f"{base}+{folder}")) == merged
    assert [path.name for path in merged.parent.iterdir()] == [merged.name]


def test_another_adapter_is_merged_anew(adapter: tuple[Path, Path]) -> None:
    base, folder = adapter
    first = merged_folder(find_source(f"{base}+{folder}"))
    held = folder / "adapter_config.json"
    held.write_text(held.read_text().replace('"lora_alpha": 8', '"lora_alpha": 4'))
    assert merged_folder(find_source(f"{base}+{folder}")) != first
    with pytest.raises(ValueError, match="no adapter"):
        merged_folder(find_source(base))
