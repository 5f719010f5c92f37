"""Full rank is no finding where noise has it: planted updates of low rank, of noise, of a sparse mask, and spread."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from probes.claims import Evidence, judge
from probes.rules.sparse_updates import sparse_updates
from probes.stats import Estimate
from probes.weights import compare, shuffled
from tests.probes.weights.test_weights import network, save

Plant = Callable[[torch.Size, torch.Generator], torch.Tensor]


def noise(shape: torch.Size, draw: torch.Generator) -> torch.Tensor:
    return 0.02 * torch.randn(shape, generator=draw)


def mask(shape: torch.Size, draw: torch.Generator) -> torch.Tensor:
    return noise(shape, draw) * (torch.rand(shape, generator=draw) < 0.1)


def low(shape: torch.Size, draw: torch.Generator) -> torch.Tensor:
    """Rank two, so small beside the weights that rounding hides most of it and fills every direction."""
    return 2e-5 * torch.randn(shape[0], 2, generator=draw) @ torch.randn(2, shape[1], generator=draw)


def spread(shape: torch.Size, draw: torch.Generator) -> torch.Tensor:
    """Many directions, the first of them stronger than chance."""
    first = torch.randn(shape[0], 1, generator=draw) @ torch.randn(1, shape[1], generator=draw)
    return noise(shape, draw) + 0.0045 * first


def planted(folder, plant: Plant):
    base = network(d=96)
    draw = torch.Generator().manual_seed(0)
    rl = {
        name: value.bfloat16().float() + plant(value.shape, draw) if value.dim() == 2 else value
        for name, value in base.items()
    }
    return compare(save(folder / "base", base), save(folder / "rl", rl))


@pytest.mark.parametrize(
    ("plant", "verdict"),
    [(low, "contradicted"), (noise, "not identified"), (mask, "not identified"), (spread, "supported")],
)
def test_what_full_rank_is_worth(tmp_path, plant, verdict):
    delta = planted(tmp_path, plant)
    # The published measure tells none of the four from another.
    assert delta.totals["rank_share"] > 0.95
    found = sparse_updates(Evidence.gather(delta=delta))[2]
    assert found.verdict == verdict, found
    assert "numerical rank" in found.name
    assert "entropy rank" in found.name
    if plant is low:
        # Small directions made by rounding pass for rank in the entropy, not in the stable rank.
        assert delta.over_shuffled("entropy_rank").value > 0.5 > delta.over_shuffled().high
    if plant is mask:
        claim = next(one for one in judge(Evidence.gather(delta=delta)) if one.key == "sparse_updates")
        assert claim.findings[0].verdict == "supported"
        assert claim.verdict == "not identified"


def test_the_ratio_is_the_mean_over_matrices_of_plain_decompositions(tmp_path):
    delta = planted(tmp_path, spread)
    base, rl = ({name: value.float() for name, value in torch_load(tmp_path / side).items()} for side in ("base", "rl"))
    ratios = []
    for name, value in base.items():
        if value.dim() == 2:
            own = (rl[name] - value).double()
            twin = shuffled(own, label=name.removeprefix("model."))
            ratios.append(np.prod([(s @ s / s[0] ** 2) ** p for s, p in zip(map(svd, (own, twin)), (1, -1))]))
    found = delta.over_shuffled()
    assert found.value == pytest.approx(np.mean(ratios), rel=1e-4)
    assert found.low < found.value < found.high
    assert (found.n, "one run" in found.method) == (len(ratios), True)


def svd(matrix: torch.Tensor) -> np.ndarray:
    return np.linalg.svd(matrix.numpy(), compute_uv=False)


def torch_load(folder) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_what_an_adapter_sets_identifies_nothing():
    evidence = Evidence(unchanged_tolerance=0.66, unchanged_relative=0.9, rank_spread=Estimate(0.02, 0.01, 0.03, 9, ""))
    plain = sparse_updates(evidence)
    assert [one.verdict for one in plain] == ["contradicted", "supported", "contradicted"]
    assert not any("LoRA" in one.rule for one in plain)
    found = sparse_updates(replace(evidence, adapter_rank=8))
    assert [one.verdict for one in found] == ["contradicted", "supported", "not identified"]
    assert all("LoRA adapter of rank 8" in one.rule for one in found)
    assert sparse_updates(Evidence(adapter_rank=8))[2].verdict == "not measured"


def test_without_ranks_or_with_one_matrix_there_is_no_verdict(tmp_path):
    assert sparse_updates(Evidence())[2].verdict == "not measured"
    root = save(tmp_path / "base", network(d=16))
    still = compare(root, root)
    assert not still.over_shuffled().measured
    assert sparse_updates(Evidence.gather(delta=still))[2].verdict == "not measured"
    alone = Evidence(rank_spread=Estimate(0.2, math.nan, math.nan, 1, "one matrix"))
    assert sparse_updates(alone)[2].verdict == "not identified"
    over = Evidence(rank_spread=Estimate(3.0, 2.5, 3.5, 9, "orthogonal updates"))
    assert sparse_updates(over)[2].verdict == "supported"
