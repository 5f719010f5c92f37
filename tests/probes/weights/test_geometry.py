"""Geometry: formulas against a full decomposition, updates planted on and off principal weights, random at its null."""

from __future__ import annotations

import math

import pytest
import torch

from probes.weights import geometry
from probes.weights.geometry import angles, decompose, measure, principal
from probes.weights.spectrum import shuffled
from tests.probes.weights.test_weights import network, save

K, TOP = 5, 0.1


def base_matrix(rows: int = 60, columns: int = 48, seed: int = 0) -> torch.Tensor:
    """A few strong directions and noise, exact in bfloat16."""
    draw = torch.Generator().manual_seed(seed)
    strong = torch.randn(rows, K, generator=draw) @ torch.randn(K, columns, generator=draw)
    return (0.02 * strong + 0.01 * torch.randn(rows, columns, generator=draw)).bfloat16()


def reference(base: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    """The definitions by one plain SVD of each matrix."""
    u, s, v = torch.linalg.svd(base.double(), full_matrices=False)
    u1, s1, v1 = torch.linalg.svd(other.double(), full_matrices=False)
    rebuilt = (u[:, :K] * s[:K]) @ v[:K]
    count = round(TOP * base.numel())
    bar = rebuilt.abs().flatten().sort(descending=True).values[count - 1]
    changed = base != other
    left = torch.linalg.svdvals(u[:, :K].T @ u1[:, :K]).clamp(max=1).acos().rad2deg()
    right = torch.linalg.svdvals(v[:K] @ v1[:K].T).clamp(max=1).acos().rad2deg()
    return {
        "overlap": float((changed & (rebuilt.abs() >= bar)).sum() / changed.sum()),
        "drift": float((s1 - s).norm() / s.norm()),
        "angle_left": float(left.max()),
        "angle_right": float(right.max()),
        "mean_left": float(left.mean()),
    }


@pytest.mark.parametrize("shape", [(60, 48), (48, 60)])
def test_measures_equal_a_full_decomposition(shape):
    base = base_matrix(*shape)
    other = (base.float() + 0.004 * torch.randn(shape, generator=torch.Generator().manual_seed(1))).bfloat16()
    found = measure(base, other, k=K, top=TOP)
    for name, value in reference(base, other).items():
        assert found[name] == pytest.approx(value, rel=1e-5), name
    assert math.isnan(found["drift_null"])
    assert 0 < found["drift_of_update"] <= 1


def on(base: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return torch.where(where, base.float() * 1.1 + base.float().sign() * 1e-3, base.float()).bfloat16()


def test_updates_on_off_and_regardless_of_the_principal_weights():
    base = base_matrix(120, 96)
    count = round(TOP * base.numel())
    chosen = torch.zeros(base.numel(), dtype=torch.bool)
    chosen[principal(decompose(base.double(), K), count)] = True
    chosen = chosen.reshape(base.shape)
    draw = torch.Generator().manual_seed(2)
    half = torch.rand(base.shape, generator=draw) < 0.5
    planted = measure(base, on(base, chosen & half), k=K, top=TOP)
    assert planted["overlap"] == 1.0
    assert planted["overlap"] > planted["overlap_sizes"] + 0.2
    off = measure(base, on(base, ~chosen & half), k=K, top=TOP)
    assert off["overlap"] == 0.0
    assert off["overlap_sizes"] > 0.03
    anywhere = measure(base, on(base, half), k=K, top=TOP)
    assert anywhere["overlap"] == pytest.approx(anywhere["overlap_null"], abs=4 * anywhere["overlap_null_error"])
    assert anywhere["overlap"] == pytest.approx(anywhere["overlap_sizes"], abs=0.02)
    assert anywhere["overlap_small"] == pytest.approx(TOP, abs=0.02)


def test_small_updates_miss_principal_weights_only_by_the_size_of_weights():
    base = base_matrix(160, 120)
    noise = 1e-5 * torch.randn(base.shape, generator=torch.Generator().manual_seed(3))
    found = measure(base, (base.float() + noise).bfloat16(), k=K, top=TOP)
    assert found["overlap"] < found["overlap_null"] - 4 * found["overlap_null_error"]
    assert abs(found["overlap"] - found["overlap_sizes"]) < 0.25 * (found["overlap_null"] - found["overlap"])
    assert found["overlap_small"] > 2 * TOP


def test_a_planted_rotation_and_a_planted_scaling():
    u, s, v = torch.linalg.svd(base_matrix().double(), full_matrices=False)
    turn = math.radians(20)
    first, last = u[:, 0].clone(), u[:, K].clone()
    turned = u.clone()
    turned[:, 0] = math.cos(turn) * first + math.sin(turn) * last
    turned[:, K] = math.cos(turn) * last - math.sin(turn) * first
    base = (u * s) @ v
    rotated = measure(base, (turned * s) @ v, k=K)
    assert rotated["angle_left"] == pytest.approx(20.0, abs=1e-4)
    assert rotated["mean_left"] == pytest.approx(20.0 / K, abs=1e-4)
    assert rotated["angle_right"] == pytest.approx(0.0, abs=1e-4)
    assert rotated["drift"] == pytest.approx(0.0, abs=1e-6)
    scaled = measure(base, (u * (1.1 * s)) @ v, k=K)
    assert scaled["angle_left"] == pytest.approx(0.0, abs=1e-4)
    assert scaled["drift"] == pytest.approx(0.1, rel=1e-5)
    assert scaled["drift_of_update"] == pytest.approx(1.0, rel=1e-5)
    assert scaled["kept"] == pytest.approx(1.0)


def test_a_random_update_stands_at_its_null_and_one_against_the_base_does_not():
    base = base_matrix(120, 96).float()
    draw = torch.Generator().manual_seed(5)
    delta = 0.003 * torch.randn(base.shape, generator=draw)
    random = measure(base, base + delta, k=K, twin=shuffled(delta))
    assert random["mean_left"] == pytest.approx(random["mean_left_null"], rel=0.3)
    assert random["drift"] == pytest.approx(random["drift_null"], rel=0.3)
    u, _, v = torch.linalg.svd(base, full_matrices=False)
    aimed = torch.outer(u[:, K + 3], v[0])
    aimed *= delta.norm() / aimed.norm()
    turned = measure(base, base + aimed, k=K, twin=shuffled(aimed))
    assert turned["angle_left"] > 3 * turned["angle_left_null"]


def test_small_angles_keep_their_digits():
    basis = torch.linalg.qr(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)).double())[0]
    other = basis.clone()
    tiny = 1e-9
    orthogonal = torch.linalg.qr(torch.cat([basis, torch.eye(30, 1).double()], 1))[0][:, 3]
    other[:, 0] = math.cos(tiny) * basis[:, 0] + math.sin(tiny) * orthogonal
    assert float(angles(basis, other).max()) == pytest.approx(math.degrees(tiny), rel=1e-4)
    assert float(angles(basis, basis).max()) < 1e-12


def test_every_matrix_of_two_checkpoints(tmp_path):
    base = network(d=48)
    draw = torch.Generator().manual_seed(7)
    rl = {name: value + 0.002 * torch.randn(value.shape, generator=draw) for name, value in base.items()}
    seen: list[tuple[int, int]] = []
    roots = save(tmp_path / "base", base), save(tmp_path / "rl", rl, shards=2)
    found = geometry(*roots, progress=lambda *at: seen.append(at))
    assert len(found.frame) == 6
    assert seen[-1] == (6, 6)
    assert set(found.frame["k"]) == {5.0}
    t = found.totals
    assert t["mean_left"] == pytest.approx(t["mean_left_null"], rel=0.2)
    assert t["overlap"] == pytest.approx(t["overlap_sizes"], abs=0.01)
    assert "one run" in str(found)
    assert len(found.plot().data) == 5
    assert len(found.by("layer")) == 2
    bare = geometry(*roots, kinds=("embedding",), null=False)
    assert len(bare.frame) == 1
    assert "nan" not in bare.headline()


def test_nothing_moved_and_refusals(tmp_path):
    root = save(tmp_path / "base", network(d=16))
    still = geometry(root, root)
    assert math.isnan(still.totals["overlap"])
    assert still.totals["drift"] == 0.0
    assert still.totals["angle_left"] == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="top is a share"):
        geometry(root, root, top=1.5)
    with pytest.raises(ValueError, match="no matrix of the kinds"):
        geometry(root, root, kinds=("head",))
    with pytest.raises(ValueError, match="not finite"):
        measure(torch.full((3, 3), math.nan), torch.zeros(3, 3), k=1)


def test_an_organism_in_a_second():
    found = geometry("organism:latent")
    assert len(found.frame) == 28
    assert found.totals["angle_left"] > 0
