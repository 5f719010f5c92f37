"""A direction keeps its vector, its papers and its file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

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
