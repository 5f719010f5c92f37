"""Grafting: exactly the entries that were asked for, and neither model touched."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hooks.chooser import low_rank, row_scores
from hooks.generate import generate
from hooks.graft import grafted, weights_of
from hooks.model import Model
from hooks.pair import Pair
from hooks.part import Part
from probes.weights.files import canonical, place
from tests.families import FAMILIES, tiny

PROMPTS = ["1+2=", "9", "wait 77 answer 3+3="]


@functools.cache
def pair_of(family: str = "llama", **other: Any) -> Pair:
    """A pair whose layer 1 and final norm differ."""
    return Pair.load(tiny(family, **other), tiny(family, perturb=0.2, **other), device="cpu")


@functools.cache
def far_pair(**other: Any) -> Pair:
    """A pair in which every entry differs."""
    return Pair.load(tiny("llama", **other), tiny("llama", seed=5, **other), device="cpu")


def state(model: Model) -> dict[str, torch.Tensor]:
    return dict(model.net.named_parameters(remove_duplicate=False))


def hashes(pair: Pair) -> tuple[str, str]:
    for model in (pair.base, pair.rl):
        model.__dict__.pop("weights_hash", None)
    return pair.base.weights_hash, pair.rl.weights_hash


def texts(model: Model) -> list[list[int]]:
    return [list(ids) for ids in generate(model, PROMPTS, max_new_tokens=12).frame["ids"]]


@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_the_update_is_rl_and_none_of_it_the_base(family: str) -> None:
    pair = pair_of(family)
    before = hashes(pair)
    for part, model in (("whole", pair.rl), ("nothing", pair.base), ("rank:999", pair.rl), ("rows", pair.rl)):
        with grafted(pair, part) as graft:
            assert all(torch.equal(tensor, state(model)[name]) for name, tensor in state(graft.model).items())
            assert texts(graft.model) == texts(model)
            assert graft.energy == pytest.approx(float(model is pair.rl))
    assert texts(pair.base) != texts(pair.rl)
    assert hashes(pair) == before


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2", "olmo2"])
def test_kinds_are_those_of_the_comparison_on_disk(family: str) -> None:
    pair = pair_of(family)
    for weight in weights_of(pair):
        layer, _, kind = place(canonical(weight.names[0]))
        assert (weight.layer, weight.kind) == (layer, kind), weight.names


def test_an_exception_leaves_both_models_as_they_were_and_the_graft_empty() -> None:
    pair = far_pair()
    before = hashes(pair)
    with pytest.raises(KeyError, match="mine"), grafted(pair, "largest:0.5") as graft:
        raise KeyError("mine")
    assert hashes(pair) == before
    assert all(tensor.numel() == 0 for tensor in state(graft.model).values())


@pytest.mark.parametrize("share", [0.001, 0.1, 0.7])
def test_the_largest_entries_are_those_of_a_sort(share: float) -> None:
    pair = far_pair()
    weights = weights_of(pair)
    delta = torch.cat([weight.delta.abs().flatten() for weight in weights])
    least = delta.sort(descending=True).values[round(share * len(delta)) - 1]
    with grafted(pair, f"largest:{share}") as graft:
        assert graft.share == pytest.approx(share, abs=1 / len(delta))
        for weight in weights:
            new = state(graft.model)[weight.names[0]]
            assert torch.equal(new, torch.where(weight.delta.abs() >= least, weight.rl, weight.base))
    with grafted(pair, f"without:largest:{share}") as rest, grafted(pair, f"random:{share}") as null:
        assert rest.share == pytest.approx(1 - share, abs=2e-4)
        assert null.share == pytest.approx(share, abs=0.01)
        assert null.energy < graft.energy


def test_entries_that_moved_by_one_step_are_drawn_to_the_share(tmp_path: Path) -> None:
    base, rl = Model.load(tiny("llama"), device="cpu"), Model.load(tiny("llama"), device="cpu")
    with torch.no_grad():
        for tensor in rl.net.parameters():
            tensor.copy_((tensor * 64).round() / 64 + 0.125)
        for tensor in base.net.parameters():
            tensor.copy_((tensor * 64).round() / 64)
    pair = Pair.of(base, rl, share=False)
    with grafted(pair, "largest:0.25") as graft:
        assert graft.share == pytest.approx(0.25, abs=0.01)
        kept = state(graft.model)["model.layers.0.mlp.up_proj.weight"].clone()
    with grafted(pair, "largest:0.25", seed=1) as again:
        assert not torch.equal(state(again.model)["model.layers.0.mlp.up_proj.weight"], kept)


def test_random_entries_are_drawn_among_those_that_changed() -> None:
    pair = pair_of()
    with grafted(pair, "random:0.05") as graft:
        assert graft.share == pytest.approx(0.05, abs=0.01)
        assert all(
            torch.equal(state(graft.model)[weight.names[0]], weight.base)
            for weight in weights_of(pair) if not bool(weight.delta.any())
        )  # fmt: skip


def test_rows_and_ranks_against_numpy() -> None:
    pair = far_pair()
    weight = next(one for one in weights_of(pair) if one.kind == "mlp")
    delta = weight.delta.double().numpy()
    u, s, vt = np.linalg.svd(delta, full_matrices=False)
    best = (u[:, :3] * s[:3]) @ vt[:3]
    assert np.allclose(low_rank(weight.delta, 3).numpy(), best, atol=1e-8)
    assert np.allclose(row_scores(weight.delta).numpy(), np.sqrt((delta**2).mean(axis=1)), atol=1e-6)
    with grafted(pair, "rank:3") as graft:
        new = state(graft.model)[weight.names[0]]
        assert np.allclose((new - weight.base).double().numpy(), best, atol=1e-6)
        assert 0 < graft.energy < 1
    with grafted(pair, "rows:0.2") as graft:
        assert graft.share == pytest.approx(0.2, abs=0.01)
        moved = (state(graft.model)[weight.names[0]] != weight.base).any(dim=1)
        left = row_scores(weight.delta)[~moved]
        assert row_scores(weight.delta)[moved].min() > left.max()


def test_tied_embeddings_stay_tied_and_come_apart_only_with_rl() -> None:
    pair = far_pair(tie_word_embeddings=True)
    with grafted(pair, "module:embedding") as graft:
        net = graft.model.net
        assert net.get_input_embeddings().weight is net.get_output_embeddings().weight
        assert graft.share == pytest.approx(64 * 32 / sum(p.numel() for p in pair.base.net.parameters()))
    untied = Pair.load(tiny("llama", tie_word_embeddings=True), tiny("llama", seed=5), device="cpu")
    with grafted(untied, "whole") as graft:
        assert texts(graft.model) == texts(untied.rl)


def test_further_rows_of_a_vocabulary_stay_the_base_s() -> None:
    pair = Pair.load(tiny("llama", d_vocab=72, n_tokens=64), tiny("llama", seed=5, n_tokens=64), device="cpu")
    ours = pair.base.net.get_input_embeddings().weight
    for part in ("whole", "largest:1", "rank:40"):
        with grafted(pair, part) as graft:
            new = graft.model.net.get_input_embeddings().weight
            assert torch.equal(new[64:], ours[64:])
            assert torch.equal(new[:64], pair.rl.net.get_input_embeddings().weight)


def test_layers_add_up_and_a_graft_can_be_looked_into() -> None:
    pair = far_pair()
    shares = []
    for part in ("layer:0", "layer:1", "layer:2", "outside"):
        with grafted(pair, part) as graft:
            shares.append(graft.share)
    assert sum(shares) == pytest.approx(1.0)
    with grafted(pair, "upto:1") as graft:
        assert graft.share == pytest.approx(sum(shares[:2]))
        site = "resid_post.1"
        rows = graft.model.encode(["1+2="])
        theirs = graft.model.bridge_activations(rows, site)[site][0]
        assert not torch.allclose(theirs, pair.base.bridge_activations(rows, site)[site][0], atol=1e-3)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("half", "no part 'half'"),
        ("layer", "whole number"),
        ("layer:9", "layers 0 to 2"),
        ("largest:0", "share above 0"),
        ("rank:0", "whole number"),
        ("module:tail", "no kind of module"),
        ("module:other", "the model has no other"),
        ("whole:1", "one word too many"),
        ("without:rank:2", "no rest"),
        ("largest:0.1:0.2", "one value too many"),
    ],
)
def test_a_wrong_part_says_what_is_right(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence), grafted(far_pair(), text):
        pass


def test_parts_are_read_as_they_are_written() -> None:
    for text in ("whole", "layer:3", "largest:0.01", "without:rows:0.5", "module:mlp", "rank:8"):
        assert str(Part.parse(text)) == text
    with pytest.raises(ValueError, match=r"only one model has model\.layers\.2"):
        weights_of(Pair.load(tiny("llama"), tiny("llama", num_hidden_layers=2), device="cpu"))
    with pytest.raises(ValueError, match=r"differ in shape at .*mlp"):
        weights_of(Pair.load(tiny("llama"), tiny("llama", intermediate_size=64), device="cpu"))
