"""Base and RL: what differs is named, what cannot be compared is refused, equal tensors are one."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hooks.checkpoint import Source, find_source
from hooks.model import Model
from hooks.pair import Pair
from hooks.sharing import same_bytes, share_storage
from tests.families import CHAT, FAMILIES, tiny

IDS = torch.tensor([[1, 5, 9, 12, 30, 7, 41]])


def logits_of(model: Model) -> Tensor:
    with torch.no_grad():
        return model.net(IDS).logits


def edit(folder: Path, name: str, **changes: Any) -> Path:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_tensors_are_one_and_nothing_changes(family: str):
    base_dir, rl_dir = tiny(family, seed=2), tiny(family, seed=2, perturb=0.1)
    alone = [logits_of(Model.load(folder)) for folder in (base_dir, rl_dir)]
    pair = Pair.load(base_dir, rl_dir)
    assert torch.equal(logits_of(pair.base), alone[0])
    assert torch.equal(logits_of(pair.rl), alone[1])
    assert not torch.equal(alone[0], alone[1])
    rl = dict(pair.rl.net.named_parameters())
    for name, tensor in pair.base.net.named_parameters():
        one = tensor.data_ptr() == rl[name].data_ptr()
        assert one == torch.equal(tensor, rl[name]), name
    assert 0 < pair.shared_bytes_fraction < 1
    equal, of = pair.shared_tensors
    assert 0 < equal < of == len(rl)
    assert pair.same_shape
    assert pair.differences.empty
    assert "no differences besides the weights" in str(pair)


def test_sharing_can_be_refused_and_the_slow_way_agrees(llama_pair_dirs: tuple[Path, Path]):
    pair = Pair.load(*llama_pair_dirs, share=False)
    assert math.isnan(pair.shared_bytes_fraction)
    base, rl = (dict(model.net.named_parameters()) for model in (pair.base, pair.rl))
    assert not {t.data_ptr() for t in base.values()} & {t.data_ptr() for t in rl.values()}
    equal = [name for name in base if torch.equal(base[name], rl[name])]
    slow = sum(base[name].nbytes for name in equal) / sum(tensor.nbytes for tensor in rl.values())
    saved = share_storage(pair.base.net, pair.rl.net)
    assert saved.fraction == pytest.approx(slow)
    assert saved.tensors == len(equal)


def test_the_bridges_of_a_pair_share_too(llama_pair_dirs: tuple[Path, Path]):
    pair = Pair.load(*llama_pair_dirs)
    base, rl = ({t.data_ptr() for t in model.bridge.parameters()} for model in (pair.base, pair.rl))
    assert len(base & rl) == pair.shared_tensors[0]
    for model in (pair.base, pair.rl):
        with torch.no_grad():
            torch.testing.assert_close(model.bridge(IDS), logits_of(model), atol=3e-5, rtol=1e-4)


def test_tied_models_share(llama_pair_dirs: tuple[Path, Path]):
    tied, loose = tiny("llama", seed=4, tie_word_embeddings=True), tiny("llama", seed=4)
    pair = Pair.load(tied, tied)
    assert pair.shared_bytes_fraction == 1.0
    before = logits_of(Model.load(loose))
    mixed = Pair.load(tied, loose)
    assert torch.equal(logits_of(mixed.rl), before)
    assert list(mixed.differences["item"]) == ["config.tie_word_embeddings"]


def test_bytes_not_values():
    nan = torch.tensor([float("nan"), 1.0])
    assert same_bytes(nan, nan.clone())
    assert not same_bytes(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bytes(torch.zeros(2), torch.zeros(3))
    assert not same_bytes(torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16))
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int8):
        assert same_bytes(torch.ones(3, 2, dtype=dtype), torch.ones(2, 3, dtype=dtype).T)


def test_hashes_of_a_pair_are_those_of_its_models(llama_pair_dirs: tuple[Path, Path]):
    pair = Pair.load(*llama_pair_dirs)
    for model, folder in zip((pair.base, pair.rl), llama_pair_dirs, strict=True):
        assert model.weights_hash == Model.load(folder).weights_hash
    assert pair.base.weights_hash != pair.rl.weights_hash
    assert (pair.base.role, pair.rl.role) == ("base", "rl")


# ----------------------------------------------------------------------------------------------------------- comparing


def items(pair: Pair) -> set[str]:
    return set(pair.differences["item"])


def test_a_padded_vocabulary_is_cut():
    pair = Pair.load(tiny("llama", d_vocab=64), tiny("llama", d_vocab=80, n_tokens=64))
    assert pair.d_vocab == 64
    assert items(pair) == {"rows of the vocabulary"}
    assert pair.same_shape
    logits = logits_of(pair.rl)
    assert logits.shape[-1] == 80
    assert torch.equal(pair.cut(logits), logits[..., :64])
    assert pair.cut(logits).data_ptr() == logits.data_ptr()
    assert pair.cut(logits_of(pair.base)).shape[-1] == 64


def test_added_tokens_are_named():
    pair = Pair.load(tiny("llama", d_vocab=64, n_tokens=62), tiny("llama", d_vocab=64, n_tokens=64))
    row = pair.differences.set_index("item").loc["tokens of one side"]
    assert row["base"] == "-"
    assert row["rl"].startswith("62 '<filler")
    assert pair.d_vocab == 64


def test_other_vocabularies_are_refused(tmp_path: Path):
    folder = tiny("llama", path=tmp_path / "rl")
    text = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = text["model"]["vocab"]
    vocabulary["7"], vocabulary["8"] = vocabulary["8"], vocabulary["7"]
    (folder / "tokenizer.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match=r"id 15 is '7' in base and '8' in rl; id 16 is '8' .* same base"):
        Pair.load(tiny("llama"), folder)


def test_a_token_that_moved_is_refused(tmp_path: Path):
    folder = tiny("llama", path=tmp_path / "rl", d_vocab=72, n_tokens=64)
    text = json.loads((folder / "tokenizer.json").read_text())
    text["model"]["vocab"]["z"] = 70
    (folder / "tokenizer.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match="'z' is id 43 in base and id 70 in rl"):
        Pair.load(tiny("llama"), folder)


def test_every_kind_of_difference_is_said(tmp_path: Path):
    rl = tiny("llama", path=tmp_path / "rl", chat_template=CHAT, bos=False, dtype=torch.bfloat16, rms_norm_eps=1e-3)
    edit(rl, "tokenizer_config.json", eos_token="<unk>")
    edit(rl, "generation_config.json", temperature=0.6, do_sample=True, eos_token_id=[2, 9])
    pair = Pair.load(tiny("llama"), rl)
    assert items(pair) == {
        "stored dtype",
        "config.rms_norm_eps",
        "eos token",
        "tokens that end a text",
        "chat template",
        "begins a text with bos",
        "generation.temperature",
        "generation.do_sample",
    }
    row = pair.differences.set_index("item").loc["generation.temperature"]
    assert (row["base"], row["rl"]) == ("None", "0.6")
    for item in items(pair):
        assert item in str(pair)
    assert pair.base.dtype == pair.rl.dtype == torch.float32
    assert pair.rl.stored_dtype == torch.bfloat16


def test_tokenizers_that_cut_differently_are_said(tmp_path: Path):
    rl = tiny("llama", path=tmp_path / "rl")
    text = (rl / "tokenizer.json").read_text()
    (rl / "tokenizer.json").write_text(text.replace("wait|answer|then|", "wait|then|"))
    pair = Pair.load(tiny("llama"), rl)
    assert items(pair) == {"tokenizer's pre_tokenizer", "ids of 'Wait, that is wrong: 7 -'"}


def test_another_shape_is_flagged():
    pair = Pair.load(tiny("llama"), tiny("qwen2", hidden_size=24, num_hidden_layers=2))
    assert not pair.same_shape
    assert items(pair) == {"architecture", "d_model", "n_layers"}
    assert pair.shared_tensors[0] == 0
    assert "not compared weight by weight" in str(pair)
    wider = Pair.load(tiny("llama"), tiny("llama", intermediate_size=64))
    assert not wider.same_shape
    assert items(wider) == {"config.intermediate_size"}


def test_numerics_have_to_be_alike(llama_pair_dirs: tuple[Path, Path]):
    base, rl = llama_pair_dirs
    with pytest.raises(ValueError, match="load both alike"):
        Pair.of(Model.load(base), Model.load(rl, dtype="bfloat16"))
    assert Pair.load(base, rl, dtype="bfloat16").rl.dtype == torch.bfloat16


def test_one_name_is_no_pair(llama_dir: Path):
    with pytest.raises(ValueError, match="a pair needs two"):
        Pair.load(llama_dir)
    with pytest.raises(ValueError, match="one member"):
        Pair.load("organism:latent:base")
    with pytest.raises(ValueError, match="no organism"):
        Pair.load("organism:nothing")
    with pytest.raises(FileNotFoundError, match="no folder"):
        Pair.load(llama_dir, llama_dir / "nothing")


# ------------------------------------------------------------------------------------------------------------- adapters


@pytest.fixture(scope="module")
def adapter(llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A folder with a LoRA adapter of the fixture's Llama, and the logits that peft gives with it unmerged."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(llama_dir)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "down_proj"], layers_to_transform=[1])
    tuned = get_peft_model(net, config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in tuned.named_parameters():
            if "lora_" in name:
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
        logits = tuned(IDS).logits
    folder = tmp_path_factory.mktemp("adapter")
    tuned.save_pretrained(folder)
    return folder, logits


def test_an_adapter_is_merged(llama_dir: Path, adapter: tuple[Path, Tensor]):
    folder, logits = adapter
    for rl in (folder, f"{llama_dir}+{folder}"):
        pair = Pair.load(llama_dir, rl)
        torch.testing.assert_close(logits_of(pair.rl), logits, atol=1e-5, rtol=1e-5)
        assert (logits_of(pair.base) - logits).abs().max() > 1e-2
        assert pair.shared_tensors == (28, 30)
        assert pair.same_shape
        assert type(pair.rl.net) is type(pair.base.net)
        torch.testing.assert_close(pair.rl.bridge(IDS), logits, atol=3e-5, rtol=1e-4)


def test_an_adapter_alone_finds_its_base(llama_dir: Path, adapter: tuple[Path, Tensor]):
    torch.testing.assert_close(logits_of(Model.load(adapter[0])), adapter[1], atol=1e-5, rtol=1e-5)


def test_loading_an_adapter_draws_nothing_from_the_callers_generator(adapter: tuple[Path, Tensor]):
    before = torch.get_rng_state()
    Model.load(adapter[0])
    assert torch.equal(before, torch.get_rng_state())


def test_adapters_that_cannot_be_merged(llama_dir: Path, adapter: tuple[Path, Tensor], tmp_path: Path):
    folder, _ = adapter
    with pytest.raises(ValueError, match="cannot be merged"):
        Model.load(f"{tiny('llama', hidden_size=24)}+{folder}")
    (tmp_path / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="holds no adapter_model"):
        Model.load(f"{llama_dir}+{tmp_path}")
    edit(tmp_path, "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(ValueError, match="names no base model"):
        Model.load(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "drop"), [("layers", "blocks", ""), ("", "", "lora_B"), ("layers.1.", "layers.7.", "")]
)
def test_an_adapter_of_another_model_is_refused(
    llama_dir: Path, adapter: tuple[Path, Tensor], tmp_path: Path, old: str, new: str, drop: str
):
    folder, _ = adapter
    (tmp_path / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    held = load_file(folder / "adapter_model.safetensors")
    kept = {name.replace(old, new): value for name, value in held.items() if not drop or drop not in name}
    assert set(kept) != set(held)
    save_file(kept, tmp_path / "adapter_model.safetensors")
    # Loaded as far as it fits, it would leave the base as it is, or half of it.
    with pytest.raises(ValueError, match="have no counterpart"):
        Model.load(f"{llama_dir}+{tmp_path}")


def test_a_base_that_is_an_adapter_is_refused(llama_dir: Path, adapter: tuple[Path, Tensor], tmp_path: Path):
    folder, _ = adapter
    other = shutil.copytree(folder, tmp_path / "other")
    edit(other, "adapter_config.json", base_model_name_or_path=str(llama_dir))
    for name, base in ((f"{other}+{folder}", None), (str(folder), str(other))):
        with pytest.raises(ValueError, match="is itself an adapter"):
            find_source(name, adapter_base=base)


def test_an_adapter_goes_on_a_member_and_on_a_folder_with_a_plus(
    llama_dir: Path, adapter: tuple[Path, Tensor], tmp_path: Path
):
    folder, _ = adapter
    with_plus = shutil.copytree(llama_dir, tmp_path / "a+b" / "base")
    assert find_source(f"{with_plus}+{folder}") == Source(f"{with_plus}+{folder}", str(with_plus), adapter=str(folder))
    source = find_source(f"organism:latent:base+{folder}")
    assert (Path(source.path).name, source.adapter) == ("base", str(folder))
