"""A subnetwork trained alone: given back exactly, not by random entries, nor by a tolerance that hides the update."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from probes.weights import sufficiency, write_mask
from tests.probes.weights.test_weights import network, save


def regression(start: torch.Tensor, mask: torch.Tensor, steps: int = 400) -> torch.Tensor:
    """Gradient descent on a fixed least-squares problem, gradients outside the mask held at zero."""
    draw = torch.Generator().manual_seed(3)
    inputs = torch.randn(200, start.shape[1], generator=draw)
    goal = (
        inputs @ (start + 0.05 * torch.randn(start.shape, generator=draw) * (torch.arange(len(start)) < 5)[:, None]).T
    )
    weight = start.clone()
    for _ in range(steps):
        gradient = (inputs @ weight.T - goal).T @ inputs / len(inputs)
        weight -= 0.2 * gradient * mask
    return weight


def test_the_subnetwork_alone_gives_the_run_back_and_random_entries_do_not(tmp_path):
    base = {"model.layers.0.mlp.up_proj.weight": network(d=24)["model.layers.0.mlp.up_proj.weight"].bfloat16().float()}
    name, start = next(iter(base.items()))
    full = {name: regression(start, torch.ones_like(start))}
    roots = [save(tmp_path / side, it, dtype=torch.float32) for side, it in (("base", base), ("full", full))]
    mask = load_file(write_mask(*roots, tmp_path / "mask.safetensors"))[name]
    assert torch.equal(mask, start.bfloat16() != full[name].bfloat16())
    assert mask[:5].float().mean() > 0.9
    assert not mask[5:].any()
    alone = sufficiency(*roots, save(tmp_path / "alone", {name: regression(start, mask)}, dtype=torch.float32))
    assert alone.totals["equal"] == 1.0
    assert alone.totals["closed"] > 0.99
    assert alone.totals["outside"] == 0.0
    assert alone.totals["equal_base"] < 0.05
    order = torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(0))
    shuffled = regression(start, mask.flatten()[order].reshape(mask.shape))
    random = sufficiency(*roots, save(tmp_path / "random", {name: shuffled}, dtype=torch.float32)).totals
    assert random["closed"] < 0.3
    assert random["equal"] < 0.3
    assert "distance closed" in str(alone)
    assert len(alone.plot().data) == 3


def test_counts_equal_a_plain_loop(tmp_path):
    draw = torch.Generator().manual_seed(5)
    base = {name: value.bfloat16().float() for name, value in network(d=16).items()}
    full, again = (
        {name: value * (1 + 0.01 * (torch.rand(value.shape, generator=draw) < 0.4)) for name, value in base.items()}
        for _ in range(2)
    )
    folders = [save(tmp_path / side, it, dtype=torch.float32) for side, it in (("a", base), ("b", full), ("c", again))]
    found = sufficiency(*folders, tolerance=1e-4)
    inside = near = moved = 0
    left = start = 0.0
    for name in base:
        for w, f, r in zip(*(one[name].flatten() for one in (base, full, again)), strict=True):
            if w.bfloat16() != f.bfloat16():
                inside += 1
                near += abs(float(r) - float(f)) <= 1e-4
                left, start = left + (float(r) - float(f)) ** 2, start + (float(w) - float(f)) ** 2
            else:
                moved += int(w.bfloat16() != r.bfloat16())
    t = found.totals
    assert t["changed"] == inside
    assert t["equal"] == pytest.approx(near / inside)
    assert t["closed"] == pytest.approx(1 - math.sqrt(left / start))
    assert t["outside"] == pytest.approx(moved / (t["size"] - inside))
    # A second run that has nothing to do with the first closes nothing, but the tolerance calls much of it equal.
    assert t["closed"] < 0.3


def test_a_small_update_is_equal_before_it_was_trained_and_edges(tmp_path):
    base = {name: value.bfloat16().float() for name, value in network(d=16).items()}
    full = {name: value + 9e-5 * (value.abs() < 0.01) for name, value in base.items()}
    roots = [save(tmp_path / side, it, dtype=torch.float32) for side, it in (("a", base), ("b", full))]
    untrained = sufficiency(*roots, roots[0]).totals
    assert untrained["equal"] == untrained["equal_base"] == 1.0
    assert untrained["closed"] == 0.0
    assert sufficiency(*roots, roots[1]).totals["closed"] == 1.0
    with pytest.raises(ValueError, match="no subnetwork"):
        sufficiency(roots[0], roots[0], roots[1])
    with pytest.raises(FileNotFoundError, match="no_such"):
        sufficiency(*roots, tmp_path / "no_such")
