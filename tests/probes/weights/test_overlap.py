"""Overlap: counts against sets, independent masks at their nulls, planted overlap and stripes found, refusals."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from probes.weights import consensus_map, overlap
from tests.probes.weights.test_weights import network, save


def moved_where(base: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The base with every entry of a mask larger by several bfloat16 steps."""
    return {name: torch.where(masks[name], value * 1.04 + value.sign() * 1e-3, value) for name, value in base.items()}


def uniform(base: dict[str, torch.Tensor], share: float, seed: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(value.shape, generator=draw) < share for name, value in base.items()}


def test_counts_equal_plain_sets(tmp_path):
    base = network(d=24)
    masks = [uniform(base, share, seed) for seed, share in ((1, 0.3), (2, 0.5), (3, 0.1))]
    runs = {f"r{number}": save(tmp_path / f"r{number}", moved_where(base, own)) for number, own in enumerate(masks)}
    found = overlap(save(tmp_path / "base", base), runs)
    changed = [{(name, *place.tolist()) for name, value in own.items() for place in value.nonzero()} for own in masks]
    size = sum(value.numel() for value in base.values())
    for row in found.frame.to_dict("records"):
        one, two = changed[int(row["run_1"][1])], changed[int(row["run_2"][1])]
        p, q = len(one) / size, len(two) / size
        assert row["o1"] == pytest.approx(len(one & two) / len(one))
        assert row["o2"] == pytest.approx(len(one & two) / len(two))
        assert (row["o1_null"], row["o2_null"]) == (pytest.approx(q), pytest.approx(p))
        assert row["jaccard"] == pytest.approx(len(one & two) / len(one | two))
        assert row["jaccard_null"] == pytest.approx(p * q / (p + q - p * q))
        assert row["same_sign"] == 1.0
    shares = [sum(sum(place in own for own in changed) == k for place in set().union(*changed)) for k in (1, 2, 3)]
    assert found.consensus["share"].tolist()[1:] == pytest.approx([share / size for share in shares])
    assert found.consensus[["share", "null"]].sum().tolist() == pytest.approx([1.0, 1.0])
    name = "model.layers.1.mlp.up_proj.weight"
    everyone = torch.stack([own[name] for own in masks]).float()
    assert np.allclose(consensus_map(tmp_path / "base", runs, tensor=name), everyone.mean(0))
    assert np.allclose(found.rows[name], everyone.mean(2))
    assert np.allclose(found.columns[name], everyone.mean(1))
    assert np.allclose(found.maps[name].mean(), everyone.mean(), atol=1e-6)


def test_nulls_and_cosine_equal_plain_loops(tmp_path):
    base = network(d=16, layers=1)
    masks = [uniform(base, share, seed) for seed, share in ((1, 0.3), (2, 0.5))]
    runs = [moved_where(base, own) for own in masks]
    found = overlap(
        save(tmp_path / "base", base), {f"r{i}": save(tmp_path / f"r{i}", run) for i, run in enumerate(runs)}
    )
    sizes = stripes = 0.0
    deltas: list[list[float]] = [[], []]
    for name, value in base.items():
        binades: dict[int, list[int]] = {}
        rounded = value.bfloat16().double()
        for place, weight in enumerate(rounded.flatten().tolist()):
            cell = binades.setdefault(math.frexp(weight)[1], [0, 0, 0])
            for kind, hit in enumerate((1, *(int(own[name].flatten()[place]) for own in masks))):
                cell[kind] += hit
        sizes += sum(p * q / n for n, p, q in binades.values())
        one, two = (own[name].double() for own in masks)
        if value.dim() == 2:
            stripes += float(sum(
                one[i].sum() * two[i].sum() * one[:, j].sum() * two[:, j].sum()
                for i in range(value.shape[0]) for j in range(value.shape[1])
            ) / (one.sum() * two.sum()))  # fmt: skip
            row = found.stripes.query("tensor == @name and run == 'r0'").iloc[0]
            p = float(one.mean())
            chance = p * (1 - p) / value.shape[1]
            assert row["row_dispersion"] == pytest.approx(float(one.mean(1).var()) / chance)
        else:
            stripes += float(one.sum() * two.sum()) / value.numel()
        for own, run in zip(deltas, runs):
            own += (run[name].bfloat16().double() - rounded).flatten().tolist()
    row = found.frame.iloc[0]
    both = [sum(int(own[name].sum()) for name in base) for own in masks]
    assert row["jaccard_sizes"] == pytest.approx(sizes / (sum(both) - sizes))
    assert row["jaccard_stripes"] == pytest.approx(stripes / (sum(both) - stripes), rel=1e-6)
    assert row["cosine"] == pytest.approx(
        float(np.dot(*deltas) / np.prod([np.linalg.norm(d) for d in deltas])), rel=1e-5
    )


def test_independent_masks_stand_at_every_null(tmp_path):
    base = network(d=96)
    runs = [save(tmp_path / f"r{seed}", moved_where(base, uniform(base, 0.2, seed))) for seed in range(3)]
    found = overlap(save(tmp_path / "base", base), runs)
    for row in found.frame.to_dict("records"):
        for null in ("null", "tensors", "sizes", "stripes"):
            assert abs(row["jaccard"] - row[f"jaccard_{null}"]) < 4 * row["jaccard_null_error"] + 1e-3, null
        assert row["jaccard_null"] == pytest.approx(0.2 * 0.2 / (0.4 - 0.04), abs=0.01)
    assert np.allclose(found.consensus["share"], found.consensus["null"], atol=0.01)
    assert found.stripes["row_dispersion"].mean() == pytest.approx(1.0, abs=0.15)
    assert found.stripes["column_dispersion"].mean() == pytest.approx(1.0, abs=0.15)
    assert found.tensors["row_correlation"].abs().mean() < 0.15


def test_planted_overlap_is_found(tmp_path):
    base = network(d=96)
    shared = uniform(base, 0.1, 9)
    masks = [{name: own | shared[name] for name, own in uniform(base, 0.1, seed).items()} for seed in range(2)]
    runs = [save(tmp_path / f"r{seed}", moved_where(base, own)) for seed, own in enumerate(masks)]
    row = overlap(save(tmp_path / "base", base), runs).frame.iloc[0]
    both = 0.1 + 0.9 * 0.01
    assert row["jaccard"] == pytest.approx(both / (2 * 0.19 - both), abs=0.01)
    assert row["jaccard"] - row["jaccard_stripes"] > 10 * row["jaccard_null_error"]


def test_shared_stripes_are_told_from_shared_entries(tmp_path):
    base = network(d=96)
    draw = torch.Generator().manual_seed(0)
    density = {
        name: torch.rand(len(value), 1, generator=draw).expand_as(value) * 0.6
        if value.dim() == 2
        else torch.full(value.shape, 0.3)
        for name, value in base.items()
    }
    masks = [{name: torch.rand(p.shape, generator=draw) < p for name, p in density.items()} for _ in range(2)]
    runs = [save(tmp_path / f"r{seed}", moved_where(base, own)) for seed, own in enumerate(masks)]
    found = overlap(save(tmp_path / "base", base), runs)
    row = found.frame.iloc[0]
    assert row["jaccard"] - row["jaccard_tensors"] > 8 * row["jaccard_null_error"]
    assert row["jaccard"] == pytest.approx(row["jaccard_stripes"], abs=4 * row["jaccard_null_error"])
    matrices = found.stripes[found.stripes["kind"] != "norm"]
    assert matrices["row_dispersion"].min() > 5
    assert matrices["column_dispersion"].mean() == pytest.approx(1.0, abs=0.3)
    assert found.tensors["row_correlation"].mean() > 0.9


def test_what_the_format_hides_is_told_from_what_was_learned(tmp_path):
    """Two independent updates of one size: both show where weights are small, and only there."""
    base = network(d=128)
    draw = torch.Generator().manual_seed(1)
    runs = []
    for number in range(2):
        moved = {
            name: value.bfloat16().float() + 3e-5 * torch.randn(value.shape, generator=draw)
            for name, value in base.items()
        }
        runs.append(save(tmp_path / f"r{number}", moved))
    row = overlap(save(tmp_path / "base", base), runs).frame.iloc[0]
    assert row["jaccard"] - row["jaccard_tensors"] > 20 * row["jaccard_null_error"]
    # Binades are coarse: most of the overlap, not all of it, is explained by them.
    explained = (row["jaccard_sizes"] - row["jaccard_tensors"]) / (row["jaccard"] - row["jaccard_tensors"])
    assert explained > 0.8
    assert row["same_sign"] == pytest.approx(0.5, abs=0.03)
    assert row["cosine"] == pytest.approx(0.0, abs=0.03)


def test_seeds_of_an_organism_move_together():
    found = overlap("organism:latent")
    assert found.runs == ("rl", "rl-seed1", "rl-seed2")
    assert len(found.frame) == 3
    assert (found.frame[["share_1", "share_2"]] > 0.9).all(axis=None)
    # Nearly every entry moved, so the sets say little; the directions of the moves do not.
    assert (found.frame["jaccard"] - found.frame["jaccard_sizes"]).abs().max() < 0.02
    assert found.frame["cosine"].min() > 0.2
    assert found.frame["same_sign"].min() > 0.55
    two = overlap("organism:latent:base", ["organism:latent:rl-seed1", "organism:latent:rl-seed2"])
    same = found.frame.query("run_1 == 'rl-seed1'").iloc[0]
    assert two.frame.iloc[0]["jaccard"] == same["jaccard"]
    coarse = overlap("organism:latent", tolerance=1e-2).frame
    assert coarse["share_1"].max() < 0.5
    assert (coarse["jaccard"] > coarse["jaccard_null"]).all()


def test_nothing_changed_is_not_a_number_and_other_tensors_are_named(tmp_path):
    base = network(d=16)
    del base["model.norm.weight"]
    root = save(tmp_path / "base", network(d=16))
    found = overlap(root, {"a": root, "b": save(tmp_path / "short", base)})
    row = found.frame.iloc[0]
    assert all(math.isnan(row[name]) for name in ("o1", "jaccard", "same_sign", "cosine"))
    assert found.consensus["share"].tolist() == [1.0, 0.0, 0.0]
    assert found.notes["b: only in base"] == ("model.norm.weight",)
    assert "pair" in str(found)
    assert len(found.plot().data) > 3
    assert len(found.by("module")) == found.tensors["module"].nunique()


def test_refusals(tmp_path):
    root = save(tmp_path / "base", network(d=16))
    with pytest.raises(ValueError, match="two to 8"):
        overlap(root, [root])
    with pytest.raises(ValueError, match="mapping"):
        overlap(root, [root, root])
    with pytest.raises(ValueError, match="no matrix 'nosuch'"):
        consensus_map(root, {"a": root, "b": root}, tensor="nosuch")


def test_chunks_do_not_matter(tmp_path, monkeypatch):
    base = network(d=32)
    runs = [save(tmp_path / f"r{seed}", moved_where(base, uniform(base, 0.2, seed))) for seed in range(2)]
    root = save(tmp_path / "base", base, shards=3)
    whole = overlap(root, runs)
    monkeypatch.setattr(sys.modules["probes.weights.overlap"], "_CHUNK", 70)
    parts = overlap(root, runs)
    for name in ("jaccard", "jaccard_sizes", "cosine"):
        assert parts.frame[name][0] == pytest.approx(whole.frame[name][0])
    assert all(np.allclose(parts.maps[name], whole.maps[name]) for name in whole.maps)
