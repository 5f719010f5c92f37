"""Updates whose answer is known on a shipped base: of rank two by construction, of noise, none, and of GRPO itself."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from hooks.organisms import resolve
from probes.claims import Evidence
from probes.rules.sparse_updates import sparse_updates
from probes.weights import compare, geometry, overlap
from tests.probes.weights.test_weights import save

RANK = 2


def shipped() -> dict[str, torch.Tensor]:
    return {
        name: value.float() for name, value in load_file(resolve("organism:latent:base") / "model.safetensors").items()
    }


def tuned(base: dict[str, torch.Tensor], *, low: bool) -> dict[str, torch.Tensor]:
    """The base with an adapter of rank two merged into every matrix of a layer, or with noise of its size."""
    draw = torch.Generator().manual_seed(0)
    out = dict(base)
    for name, value in base.items():
        if "layers" in name and value.dim() == 2:
            rows, columns = value.shape
            up = torch.randn(rows, RANK, generator=draw) @ torch.randn(RANK, columns, generator=draw)
            out[name] = value + 2e-3 * (up if low else math.sqrt(RANK) * torch.randn(value.shape, generator=draw))
    return out


def test_a_merged_adapter_has_its_rank_in_float32_and_full_rank_in_bfloat16(tmp_path):
    base = shipped()
    rl = tuned(base, low=True)
    whole = compare(*(save(tmp_path / f"32{side}", it, dtype=torch.float32) for side, it in (("a", base), ("b", rl))))
    moved = whole.frame.query("norm > 0 and stable_rank > 0")
    # What float32 rounds away fills no direction above the tolerance of the numerical rank by more than a few.
    assert (moved["stable_rank"] <= RANK + 0.01).all()
    assert (moved["energy_top"] <= 1 + 1e-9).all()
    stored = compare(*(save(tmp_path / f"16{side}", it) for side, it in (("a", base), ("b", rl))))
    assert stored.frame.query("norm > 0")["rank_share"].min() > 0.95
    assert sparse_updates(Evidence.gather(delta=stored))[2].verdict == "contradicted"
    noise = compare(tmp_path / "16a", save(tmp_path / "16c", tuned(base, low=False)))
    assert sparse_updates(Evidence.gather(delta=noise))[2].verdict == "not identified"
    assert noise.totals["norm"] == pytest.approx(stored.totals["norm"], rel=0.1)


def test_grpo_moved_nearly_every_weight_and_nothing_of_the_base_beside_itself():
    delta = compare("organism:latent")
    # Trained in float32 with large steps, so that bfloat16 hides little: sparsity is no property of RL.
    assert delta.changed > 0.95
    assert "moved by more" in delta.reading
    assert delta.over_shuffled().high < 0.5
    own = resolve("organism:latent:base")
    still = compare(own, own)
    assert still.totals["unchanged_stored"] == 1.0
    assert "same values" in still.reading
    assert not still.over_shuffled().measured


def test_runs_from_one_base_go_one_way_and_a_random_reward_another():
    seeds = overlap("organism:latent").frame["cosine"]
    sham = overlap(
        "organism:latent:base", {"reward": resolve("organism:latent:rl"), "chance": resolve("organism:sham:rl")}
    ).frame["cosine"]
    assert sham.iloc[0] < seeds.min()


def test_a_shipped_base_that_only_grew_turns_nothing(tmp_path):
    base = shipped()
    grown = {name: value * 1.1 if value.dim() == 2 else value for name, value in base.items()}
    folders = (save(tmp_path / f"{side}", it, dtype=torch.float32) for side, it in (("a", base), ("b", grown)))
    found = geometry(*folders).totals
    assert found["angle_left"] < 0.01
    assert found["angle_left_null"] > 1
    assert found["drift"] == pytest.approx(0.1, rel=1e-4)
    assert found["drift_of_update"] == pytest.approx(1.0, rel=1e-4)
    assert found["drift_of_update_null"] < 0.7
