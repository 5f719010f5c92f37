"""One set of weights, two module trees: equal at every site, padded or alone, before and after."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hooks.model import Model
from hooks.padding import pad_left
from hooks.sites import FINE, KINDS, Site
from tests.families import CHAT, CONFIGS, FAMILIES, tiny

TEXTS = ["wait 12+3=15; then answer 4?", "7*8", "answer"]
ALL = tuple(CONFIGS)


@cache
def model_of(family: str, **config: object) -> Model:
    return Model.load(tiny(family, seed=3, **config))


def rows_of(model: Model) -> list[list[int]]:
    return model.encode(TEXTS)


def bare_activations(model: Model, rows: list[list[int]], sites: str) -> dict[str, list[Tensor]]:
    """The oracle of a padded batch: each row read alone."""
    seen: dict[str, list[Tensor]] = {}
    for row in rows:
        with torch.no_grad(), model.watch(sites, lambda site, x: seen.setdefault(str(site), []).append(x[0].clone())):
            model.net(torch.tensor([row]))
    return seen


def kinds_of(model: Model) -> tuple[str, ...]:
    parallel = model.net.config.model_type == "gpt_neox" and model.net.config.use_parallel_residual
    return tuple(kind for kind in KINDS if not (parallel and kind == "resid_mid"))


@pytest.mark.parametrize("family", ALL)
def test_sites_are_equal_on_both_trees(family: str):
    model = model_of(family)
    rows = rows_of(model)
    for kind in kinds_of(model):
        bridged = model.bridge_activations(rows, f"{kind}.*")
        bare = bare_activations(model, rows, f"{kind}.*")
        assert list(bridged) == list(bare) == [f"{kind}.{layer}" for layer in range(3)]
        for name in bare:
            for row, one, other in zip(rows, bare[name], bridged[name], strict=True):
                assert one.shape == (len(row), 32)
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_sequential_neox_has_a_middle():
    model = model_of("gpt_neox", use_parallel_residual=False)
    rows = rows_of(model)
    bare, bridged = bare_activations(model, rows, "resid_mid.*"), model.bridge_activations(rows, "resid_mid.*")
    for name in bare:
        torch.testing.assert_close(bare[name], bridged[name], atol=1e-5, rtol=1e-5)


def test_parallel_blocks_have_no_middle():
    with pytest.raises(ValueError, match=r"resid_mid\.0 does not exist: attention and MLP .* in parallel"):
        bare_activations(model_of("gpt_neox"), [[5, 6]], "resid_mid.*")
    with pytest.raises(ValueError, match=r"no resid_mid\.0"):
        model_of("gpt_neox").bridge_activations([[5, 6]], "resid_mid.0")


@pytest.mark.parametrize("family", ALL)
def test_the_residual_stream_is_the_sum_of_its_parts(family: str):
    model = model_of(family)
    acts = bare_activations(model, rows_of(model), ",".join(f"{kind}.*" for kind in kinds_of(model)))
    for layer in range(3):
        of = {kind: acts[f"{kind}.{layer}"] for kind in kinds_of(model)}
        for index in range(len(TEXTS)):
            parts = of["resid_pre"][index] + of["attn_out"][index]
            if "resid_mid" in of:
                torch.testing.assert_close(parts, of["resid_mid"][index])
            torch.testing.assert_close(parts + of["mlp_out"][index], of["resid_post"][index], atol=1e-5, rtol=1e-5)
            if layer:
                torch.testing.assert_close(of["resid_pre"][index], acts[f"resid_post.{layer - 1}"][index])
    assert model.residual_error < 1e-5


@pytest.mark.parametrize("family", ALL)
def test_fine_sites_padded_as_alone(family: str):
    model = model_of(family)
    rows, sites = rows_of(model), [f"{kind}.{layer}" for kind in FINE for layer in (0, 2)]
    together = model.bridge_activations(rows, sites)
    heads = model.net.config.num_attention_heads
    for index, row in enumerate(rows):
        alone = model.bridge_activations([row], sites)
        for name in sites:
            torch.testing.assert_close(together[name][index], alone[name][0], atol=1e-5, rtol=1e-5)
        assert together["pattern.0"][index].shape == (heads, len(row), len(row))
        torch.testing.assert_close(together["pattern.0"][index].sum(-1), torch.ones(heads, len(row)))
        assert together["q.2"][index].shape == together["z.2"][index].shape == (len(row), heads, 8)
        # What attention mixes: z is the pattern's average of v, so the three names fit each other.
        v = together["v.2"][index].repeat_interleave(heads // together["v.2"][index].shape[1], dim=1)
        z = torch.einsum("hqk,khd->qhd", together["pattern.2"][index], v)
        torch.testing.assert_close(z, together["z.2"][index], atol=1e-5, rtol=1e-5)


def test_sites_of_unequal_rows_are_numbers_in_float64():
    model = model_of("llama", dtype=torch.float64)
    rows = rows_of(model)
    together = model.bridge_activations(rows, ["resid_post.2", "pattern.1"])
    for index, row in enumerate(rows):
        alone = model.bridge_activations([row], ["resid_post.2", "pattern.1"])
        for name, values in together.items():
            assert values[index].isfinite().all()
            torch.testing.assert_close(values[index], alone[name][0])


@pytest.mark.parametrize("family", ALL)
def test_padded_logits_as_alone_and_differ_without_a_mask(family: str):
    model = model_of(family)
    rows = rows_of(model)
    batch = pad_left(rows, pad_id=model.pad_id)
    with torch.no_grad():
        logits = model.net(**batch.inputs()).logits
        blind = model.net(batch.input_ids).logits
        for index, row in enumerate(rows):
            alone = model.net(torch.tensor([row])).logits[0]
            torch.testing.assert_close(logits[index, -len(row) :], alone, atol=2e-5, rtol=1e-5)
    assert (blind[-1, -1] - logits[-1, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", [*FAMILIES, "tied llama"])
def test_two_trees_over_one_storage(family: str):
    tied = family.startswith("tied ")
    model = Model.load(tiny(family.removeprefix("tied "), seed=5, tie_word_embeddings=tied))
    ids = torch.tensor([rows_of(model)[0]])
    modules = len(list(model.net.modules()))
    with torch.no_grad():
        before = model.net(ids).logits
        through = model.bridge(ids)
        after = model.net(ids).logits
    assert torch.equal(before, after)
    torch.testing.assert_close(before, through, atol=3e-5, rtol=1e-4)
    bridged = {tensor.data_ptr() for tensor in model.bridge.parameters()}
    assert {tensor.data_ptr() for tensor in model.net.parameters()} <= bridged
    assert len(list(model.net.modules())) == modules < len(list(model.bridge.original_model.modules()))
    assert model.net.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_the_bridge_leaves_the_tokenizer_alone(family: str):
    model = Model.load(tiny(family, bos=False))
    before = [(t.pad_token, t.padding_side, t.bos_token, len(t)) for t in [model.tokenizer]], model.encode(TEXTS)
    assert model.bridge is model.bridge
    after = [(t.pad_token, t.padding_side, t.bos_token, len(t)) for t in [model.tokenizer]], model.encode(TEXTS)
    assert before == after


def test_half_precision_trees_agree_to_its_rounding():
    model = Model.load(tiny("llama", dtype=torch.bfloat16), dtype="bfloat16")
    rows = rows_of(model)
    bare, bridged = bare_activations(model, rows, "resid_post.*"), model.bridge_activations(rows, "resid_post.*")
    for name in bare:
        for one, other in zip(bare[name], bridged[name], strict=True):
            assert one.dtype == other.dtype == torch.bfloat16
            assert (one - other).float().norm() < 0.03 * one.float().norm()


def test_padding():
    batch = pad_left([[5, 6, 7], np.array([8])], pad_id=9)
    assert batch.input_ids.tolist() == [[5, 6, 7], [9, 9, 8]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert batch.lengths == (3, 1)
    for rows in ([], [[5], []]):
        with pytest.raises(ValueError, match="at least one"):
            pad_left(rows, pad_id=0)


@pytest.mark.parametrize("family", ALL)
def test_backbone_and_unembed_are_the_model(family: str):
    model = model_of(family)
    rows = rows_of(model)
    batch = pad_left(rows, pad_id=model.pad_id)
    with torch.no_grad():
        whole = model.net(**batch.inputs()).logits
        ours = model.unembed(model.backbone(**batch.inputs()))
        torch.testing.assert_close(ours, whole, atol=1e-6, rtol=1e-6)
        cache = model.new_cache()
        steps = []
        for t in range(batch.input_ids.shape[1]):
            hidden = model.backbone(
                batch.input_ids[:, t : t + 1],
                batch.attention_mask[:, : t + 1],
                batch.position_ids[:, t : t + 1],
                past_key_values=cache,
                use_cache=True,
            )
            steps.append(model.unembed(hidden)[:, 0])
    for index, row in enumerate(rows):
        cached = torch.stack(steps, dim=1)[index, -len(row) :]
        torch.testing.assert_close(cached, whole[index, -len(row) :], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ALL)
def test_an_activation_put_in_goes_on_through_the_stream(family: str):
    """Written at resid_mid, the stream itself changes: resid_post is the new middle plus the MLP's reading of it."""
    model = model_of(family)
    ids = torch.tensor([rows_of(model)[0]])
    push = torch.linspace(-1, 1, 32)
    acts: dict[str, Tensor] = {}
    plain: dict[str, Tensor] = {}
    for kind in kinds_of(model):
        site = Site(kind, 1)
        with torch.no_grad():
            clean = model.net(ids).logits
            with (
                model.watch(site, lambda _, x: x + push),
                model.watch([f"{name}.1" for name in kinds_of(model)], lambda s, x: acts.update({s.kind: x.clone()})),
            ):
                moved = model.net(ids).logits
            with model.watch(site, lambda s, x: plain.update({s.kind: x.clone()})):
                again = model.net(ids).logits
        assert torch.equal(clean, again), "hooks were left behind"
        assert (moved - clean).abs().max() > 1e-3
        torch.testing.assert_close(acts[kind], plain[kind] + push)
        parts = acts["resid_pre"] + acts["attn_out"] + acts["mlp_out"]
        if kind == "resid_post":
            parts = parts + push
        if kind == "resid_mid":
            parts = parts + push
            torch.testing.assert_close(acts["resid_post"], acts["resid_mid"] + acts["mlp_out"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(parts, acts["resid_post"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["resid_pre", "resid_post", "attn_out", "mlp_out"])
def test_an_activation_put_in_does_the_same_on_both_trees(kind: str):
    model = model_of("qwen3")
    ids = torch.tensor([rows_of(model)[0]])
    push = torch.linspace(-1, 1, 32)
    with torch.no_grad():
        with model.watch(f"{kind}.1", lambda _, x: x + push):
            bare = model.net(ids).logits
        bridged = model.bridge.run_with_hooks(
            ids, fwd_hooks=[(Site(kind, 1).bridge_name, lambda x, hook: x + push)], return_type="logits"
        )
    torch.testing.assert_close(bare, bridged, atol=1e-5, rtol=1e-5)


def test_gradients_flow_through_what_is_put_in(llama_dir: Path):
    model = Model.load(llama_dir)
    for kind in KINDS:
        push = torch.zeros(32, requires_grad=True)
        with model.watch(f"{kind}.1", lambda _, x, push=push: x + push):
            model.net(torch.tensor([[5, 6, 7]])).logits[0, -1, 9].backward()
        assert push.grad is not None
        assert push.grad.norm() > 0
    assert all(tensor.grad is None for tensor in model.net.parameters())


def hook_count(model: Model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.net.modules())


def test_hooks_go_when_something_is_raised(llama_dir: Path):
    model = Model.load(llama_dir)

    def fail(site: Site, x: Tensor) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"), model.watch("*.*", fail):
        model.net(torch.tensor([[5]]))
    assert hook_count(model) == 0
    with pytest.raises(ValueError), model.watch(["resid_post.0", "resid_post.9"], fail):
        pass
    with pytest.raises(ValueError, match=r"resid_mid\.0"), model_of("gpt_neox").watch("*.0", fail):
        pass
    assert hook_count(model) == hook_count(model_of("gpt_neox")) == 0


def test_two_models_are_watched_apart(llama_pair_dirs: tuple[Path, Path]):
    one, two = (Model.load(folder) for folder in llama_pair_dirs)
    seen: list[int] = []
    with torch.no_grad(), one.watch("resid_pre.0", lambda *_: seen.append(1)):
        two.net(torch.tensor([[5]]))
        assert seen == []
        one.net(torch.tensor([[5]]))
    assert seen == [1]


def test_watch_refuses_fine_sites_and_wrong_shapes(llama_dir: Path):
    model = Model.load(llama_dir)
    with pytest.raises(ValueError, match="bridge_activations"), model.watch("z.0", lambda *_: None):
        pass
    with pytest.raises(ValueError, match="shape"), model.watch("resid_post.0", lambda _, x: x[:, :1]):
        model.net(torch.tensor([[5, 6]]))


def test_a_family_that_scales_what_it_adds(tmp_path: Path):
    """Granite multiplies attention and MLP before adding them, and divides its logits: the names would lie."""
    from transformers import GraniteConfig, GraniteForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = GraniteConfig(
        **shape, num_key_value_heads=2, vocab_size=64, residual_multiplier=0.3, logits_scaling=3.0, pad_token_id=0
    )
    GraniteForCausalLM(config).save_pretrained(tmp_path)
    shutil.copy(tiny("llama") / "tokenizer.json", tmp_path)
    shutil.copy(tiny("llama") / "tokenizer_config.json", tmp_path)
    model = Model.load(tmp_path)
    with model.watch("resid_post.*", lambda *_: None):
        pass
    with pytest.raises(ValueError, match=r"attn_out\.0 .* is not what is added"), model.watch("attn_out.0", print):
        pass


# ------------------------------------------------------------------------------------------------------- text and ids


def test_bos_exactly_once():
    chat = Model.load(tiny("llama", chat_template=CHAT))
    text = "user: 7*8\nassistant:"
    plain = Model.load(tiny("llama"))
    bos = plain.tokenizer.bos_token_id
    assert plain.encode(["7*8"]) == [[bos, *plain.tokenizer("7*8", add_special_tokens=False).input_ids]]
    golden = [bos, *plain.tokenizer(text, add_special_tokens=False).input_ids]
    assert chat.encode(["7*8"]) == chat.encode(["7*8"], template="chat") == [golden]
    assert chat.encode(["7*8"], template="none") == plain.encode(["7*8"])
    assert plain.encode(["<bos>7*8", "<bos><bos>7*8"]) == plain.encode(["7*8", "7*8"])
    none = Model.load(tiny("llama", bos=False))
    assert none.encode(["7*8"]) == [golden[:0] + none.tokenizer("7*8").input_ids]
    assert bos not in none.encode(["7*8"])[0]


def test_encode_never_closes_a_text():
    from tokenizers import processors

    model = Model.load(tiny("llama"))
    special = [("<bos>", 1), ("<eos>", 2)]
    model.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A $B <eos>", special_tokens=special
    )
    assert model.tokenizer("7").input_ids[-1] == 2
    ids = model.encode(["7"])[0]
    assert ids[0] == 1
    assert ids[-1] != 2


def test_encode_refuses(llama_dir: Path):
    model = Model.load(llama_dir)
    with pytest.raises(ValueError, match="chat template"):
        model.encode(["x"], template="chat")
    with pytest.raises(TypeError, match="list of texts"):
        model.encode("12")
    with pytest.raises(ValueError, match="no tokens"):
        Model.load(tiny("llama", bos=False)).encode([""])


def test_decode_leaves_specials_out(llama_dir: Path):
    model = Model.load(llama_dir)
    ids = model.encode(["wait 12 , 3"])[0]
    assert model.decode([*ids, 2, 0]) == "wait 12 , 3"
    assert model.decode(np.array(ids)) == "wait 12 , 3"
    assert model.decode([]) == ""


@pytest.mark.parametrize("family", ALL)
def test_the_tokenizer_is_read_as_it_was_saved(family: str):
    model = model_of(family)
    assert model.decode(model.encode([TEXTS[0]])[0]) == TEXTS[0]


def test_tokens_that_end_a_text(tmp_path: Path):
    folder = tiny("llama", path=tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [2, 9]}))
    assert Model.load(folder).eos_ids == (2, 9)
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": 40}))
    # Without saved settings, what config.json repeats from its class must not stop a text.
    assert Model.load(folder).eos_ids == (2,)
    assert Model.load(folder).pad_id == 0


# ------------------------------------------------------------------------------------------------------------- loading


def test_half_precision_is_widened_on_a_cpu_and_hashed_as_stored():
    folder = tiny("llama", dtype=torch.bfloat16)
    wide, narrow = Model.load(folder, device="cpu"), Model.load(folder, dtype="bfloat16", device="cpu")
    assert (wide.dtype, wide.stored_dtype) == (torch.float32, torch.bfloat16)
    assert (narrow.dtype, narrow.stored_dtype) == (torch.bfloat16, torch.bfloat16)
    assert wide.weights_hash == narrow.weights_hash
    assert "stored bfloat16" in repr(wide)
    assert Model.load(folder, dtype=torch.float64).weights_hash == wide.weights_hash
    narrow.net.model.norm.weight.data[3] += 0.5
    del narrow.__dict__["weights_hash"]
    assert narrow.weights_hash != wide.weights_hash


def test_the_headers_say_what_is_stored_not_the_configuration(tmp_path: Path):
    folder = tiny("llama", dtype=torch.bfloat16, path=tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    assert Model.load(folder).stored_dtype == torch.bfloat16


def test_sharded_checkpoint(tmp_path: Path):
    from transformers import AutoModelForCausalLM

    folder = tiny("llama")
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="20KB")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / file, tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert Model.load(tmp_path).weights_hash == Model.load(folder).weights_hash


def broken(tmp_path: Path, *remove: str, **config: object) -> Path:
    folder = tiny("llama", path=tmp_path / "broken")
    for name in remove:
        (folder / name).unlink()
    if config:
        known = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**known, **config}))
    return folder


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="there is no folder '/nowhere/at/all'"):
        Model.load("/nowhere/at/all")
    with pytest.raises(FileNotFoundError, match="no model was named"):
        Model.load("")
    with pytest.raises(FileNotFoundError, match="holds no configuration"):
        Model.load(broken(tmp_path / "a", "config.json"))
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        Model.load(broken(tmp_path / "b", "tokenizer.json", "tokenizer_config.json"))
    with pytest.raises(FileNotFoundError, match="holds no safetensors"):
        Model.load(broken(tmp_path / "c", "model.safetensors"))
    with pytest.raises(FileNotFoundError, match="is a file"):
        Model.load(broken(tmp_path / "d") / "config.json")


def test_pickled_weights_are_not_read(tmp_path: Path):
    folder = broken(tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="other formats are not read"):
        Model.load(folder)


def test_no_network(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"'nobody/nothing' is no folder, .* network"):
        Model.load("nobody/nothing")
    with pytest.raises(FileNotFoundError, match="at revision 'step-3'"):
        Model.load("nobody/nothing", revision="step-3")


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    from transformers import BertConfig

    with pytest.raises(ValueError, match="architecture that the installed transformers does not know"):
        Model.load(broken(tmp_path / "a", model_type="martian"))
    BertConfig().save_pretrained(tmp_path / "bert")
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ValueError, match="'t5' model, not a decoder-only"):
        Model.load(tmp_path / "t5")
    with pytest.raises(ValueError, match="do not fit its config"):
        Model.load(broken(tmp_path / "b", hidden_size=64))
    with pytest.raises(ValueError, match="quantized"):
        Model.load(broken(tmp_path / "c", quantization_config={"quant_method": "fp8"}))
    with pytest.raises(ValueError, match="no floating-point dtype"):
        Model.load(tiny("llama"), dtype="int8")
    with pytest.raises(ValueError, match="There is no organism 'nothing'"):
        Model.load("organism:nothing:base")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no GPU"):
            Model.load(tiny("llama"), device="cuda")


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path):
    folder = broken(tmp_path)
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        Model.load(folder)


def test_importing_the_room_is_quick():
    code = "import sys, hooks.model, hooks.pair; print({'transformers', 'transformer_lens'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
