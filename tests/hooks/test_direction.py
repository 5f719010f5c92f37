"""A direction keeps its vector, its papers and its file."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hooks.control_vectors import from_gguf, from_repeng, from_steering_vectors, to_gguf
from hooks.direction import FORMAT, Direction
from hooks.sites import Site


def direction() -> Direction:
    return Direction(
        torch.tensor([3.0, -4.0, 0.0]),
        Site("resid_post", 2),
        kind="mean",
        model="organism:latent:base",
        revision="main",
        weights_hash="abc",
        origin="base activations, base text",
        label="verification",
        typical_norm=10.0,
        data_hash="def",
        scores={"auroc": 0.71, "folds": 5.0, "note": "held out", "missing": None},
    )


def test_norms_and_copies() -> None:
    d = direction()
    assert (d.norm, d.relative_norm, d.d_model) == (5.0, 0.5, 3)
    assert d.unit().norm == pytest.approx(1.0)
    assert d.unit().cosine(d) == pytest.approx(1.0)
    assert d.scaled(-2.0).norm == pytest.approx(10.0)
    assert d.scaled(-2.0).cosine(d.vector) == pytest.approx(-1.0)
    assert math.isnan(d.at("resid_pre.1").typical_norm)
    assert d.vector.tolist() == [3.0, -4.0, 0.0]
    assert "0.50 of the typical activation" in str(d)
    assert "auroc 0.710" in str(d)


def test_the_vector_is_kept_in_full_precision_on_the_cpu() -> None:
    half = Direction(torch.tensor([1.0, 2.0], dtype=torch.bfloat16).requires_grad_(True), Site("mlp_out", 0))
    assert half.vector.dtype == torch.float32
    assert not half.vector.requires_grad
    assert math.isnan(half.relative_norm)
    assert "origin not stated" in str(half)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    d = direction()
    back = Direction.load(d.save(tmp_path / "deep" / "verify.safetensors"))
    assert torch.equal(back.vector, d.vector)
    assert back.header() == d.header()
    assert back.scores == d.scores
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["verify.safetensors"]
    unmeasured = d.at("resid_pre.1")
    assert math.isnan(Direction.load(unmeasured.save(tmp_path / "two")).typical_norm)


def test_the_header_is_plain_json(tmp_path: Path) -> None:
    with safe_open(direction().save(tmp_path / "d"), framework="pt") as file:
        header = json.loads(file.metadata()[FORMAT])
    assert header["site"] == "resid_post.2"
    assert header["norm"] == 5.0


def test_what_is_no_direction_is_refused(tmp_path: Path) -> None:
    for vector, message in (
        (torch.zeros(3), "zero"),
        (torch.tensor([1.0, math.nan]), "finite"),
        (torch.zeros(0), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            Direction(vector, Site("resid_post", 0))
    with pytest.raises(ValueError, match="no vector of the model"):
        Direction(torch.ones(3), Site("z", 0))
    with pytest.raises(FileNotFoundError, match="no direction at"):
        Direction.load(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        Direction.load(tmp_path / "text")
    save_file({"vector": torch.ones(2)}, tmp_path / "plain")
    with pytest.raises(ValueError, match="without a direction"):
        Direction.load(tmp_path / "plain")
    later = direction().header() | {"version": 99}
    save_file({"vector": torch.ones(2)}, tmp_path / "later", metadata={FORMAT: json.dumps(later)})
    with pytest.raises(ValueError, match="version 99"):
        Direction.load(tmp_path / "later")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = direction().save(tmp_path / "d")
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        direction().scaled(2.0).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


class TestControlVectors:
    def test_a_gguf_file_byte_for_byte(self, tmp_path: Path) -> None:
        path = to_gguf(direction(), tmp_path / "v.gguf", model_hint="llama")
        content = path.read_bytes()
        # The format as ggml writes it down: magic, version, counts, values, tensor infos, padding, data.
        head = b"GGUF" + struct.pack("<IQQ", 3, 1, 3)
        for key, value in ((b"general.architecture", b"controlvector"), (b"controlvector.model_hint", b"llama")):
            head += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
        head += struct.pack("<Q", 25) + b"controlvector.layer_count" + struct.pack("<II", 4, 1)
        head += struct.pack("<Q", 11) + b"direction.2" + struct.pack("<IQIQ", 1, 3, 0, 0)
        start = -(-len(head) // 32) * 32
        assert content[: len(head)] == head
        assert struct.unpack("<3f", content[start : start + 12]) == (3.0, -4.0, 0.0)
        assert len(content) == start + 32

    def test_gguf_comes_back(self, tmp_path: Path) -> None:
        other = replace(direction(), vector=torch.tensor([0.5, 1.5, -2.0]), site=Site("resid_post", 1))
        back = from_gguf(to_gguf([direction(), other], tmp_path / "v.gguf", model_hint="qwen2"), label="mine")
        assert [str(one.site) for one in back] == ["resid_post.1", "resid_post.2"]
        assert torch.equal(back[0].vector, other.vector)
        assert torch.equal(back[1].vector, direction().vector)
        assert (back[0].model, back[0].label, back[0].weights_hash) == ("qwen2", "mine", "")

    def test_what_gguf_cannot_hold(self, tmp_path: Path) -> None:
        for bad in (direction().at("mlp_out.1"), direction().at("resid_post.0")):
            with pytest.raises(ValueError, match="not at"):
                to_gguf(bad, tmp_path / "v", model_hint="llama")
        with pytest.raises(ValueError, match="one direction a layer"):
            to_gguf([direction(), direction()], tmp_path / "v", model_hint="llama")
        with pytest.raises(FileNotFoundError):
            from_gguf(tmp_path / "absent")
        (tmp_path / "text").write_bytes(b"hello, this is no model")
        with pytest.raises(ValueError, match="not a GGUF file"):
            from_gguf(tmp_path / "text")
        whole = to_gguf(direction(), tmp_path / "v.gguf", model_hint="llama").read_bytes()
        for length in (20, 60, len(whole) - 30):
            (tmp_path / "cut").write_bytes(whole[:length])
            with pytest.raises(ValueError, match="cut off"):
                from_gguf(tmp_path / "cut")

    def test_objects_of_other_packages(self) -> None:
        control = SimpleNamespace(model_type="llama", directions={3: np.ones(4, np.float32), 1: np.arange(4.0)})
        first, second = from_repeng(control)
        assert (str(first.site), str(second.site)) == ("resid_post.1", "resid_post.3")
        assert first.vector.tolist() == [0.0, 1.0, 2.0, 3.0]
        steering = SimpleNamespace(layer_type="self_attn", layer_activations={2: torch.ones(4, dtype=torch.float16)})
        (one,) = from_steering_vectors(steering, label="kind")
        assert (str(one.site), one.label, one.origin) == ("attn_out.2", "kind", "imported from steering-vectors")
        with pytest.raises(ValueError, match="negative layers"):
            from_repeng(SimpleNamespace(model_type="llama", directions={-1: np.ones(4)}))
        with pytest.raises(ValueError, match="'input_layernorm' is no site"):
            from_steering_vectors(SimpleNamespace(layer_type="input_layernorm", layer_activations={}))
