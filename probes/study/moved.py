"""The stage that compares the weights: what moved, where it lies in the base, and what further runs moved as well."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import pandas as pd

from probes.evidence import Evidence
from probes.stats import Estimate
from probes.study.materials import Materials
from probes.study.noted import note
from probes.weights import Delta, Overlap, compare, geometry, overlap
from probes.weights.adapter import Adapter, adapter_of
from probes.weights.common_sets import NULLS
from probes.weights.delta import SHARES
from probes.weights.sources import seeds_of

RENAMED = {
    "unchanged_exact": "unchanged_bf16",
    "unchanged_tolerance": "unchanged_1e5",
    "rank_share": "numerical_rank",
    "rank_share_null": "null_rank",
}
"""Columns of the weight table under the names the report reads."""
SPREADS: tuple[Literal["stable_rank", "entropy_rank"], ...] = ("stable_rank", "entropy_rank")
"""Ranks that are told beside those of shuffled entries."""


def weights(materials: Materials) -> None:
    """What moved between the two checkpoints on disk, and in the further RL seeds of an organism that has some."""
    folder, seed = materials.folder, materials.config.seed
    delta = compare(materials.pair, seed=seed)
    folder.table("weights", delta.frame.rename(columns=RENAMED))
    adapter = adapter_of(materials.pair.rl)
    note(folder, "weights", _evidence(delta, adapter))
    totals: dict[str, object] = {RENAMED.get(name, name): value for name, value in delta.totals.items()}
    totals |= {f"{name}_over_shuffled": _numbers(delta.over_shuffled(name, seed=seed)) for name in SPREADS}
    notes = {what: list(names) for what, names in delta.notes.items()}
    if adapter is not None:
        totals["adapter"] = _described(adapter, delta)
    folder.json("weights", {**totals, "reading": delta.reading, "notes": notes})
    folder.table("weights_modules", delta.by("module").rename(columns=RENAMED))
    folder.figure("weights", delta.plot())
    if len(delta.sizes):
        folder.table("weights_sizes", delta.sizes)
    if delta.frame["kind"].isin(["attention", "mlp"]).any():
        placed = geometry(materials.pair, seed=seed)
        folder.table("moved_geometry", placed.frame)
        folder.table("moved_geometry_modules", placed.by("module"))
        folder.json("moved_geometry", dict(placed.totals))
    further = seeds_of(materials.config.base) if materials.config.rl is None else {}
    if further:
        _together(materials, overlap(materials.config.base))


def _evidence(delta: Delta, adapter: Adapter | None) -> Evidence:
    """What the claims are judged by; with an adapter its rank, which bounds what the update could be."""
    return replace(Evidence.gather(delta=delta), adapter_rank=None if adapter is None else adapter.rank)


def _described(adapter: Adapter, delta: Delta) -> dict[str, object]:
    """The adapter's rank and modules, and the shares unchanged over the tensors that it was trained on."""
    within = adapter.within(delta.frame, SHARES)
    return {
        "rank": adapter.rank,
        "modules": list(adapter.modules),
        **{RENAMED.get(name, name): value for name, value in within.items()},
    }


def _numbers(value: Estimate) -> dict[str, float | None]:
    """As JSON has them: None for what is not finite."""
    ends = {"value": value.value, "low": value.low, "high": value.high}
    return {name: one if math.isfinite(one) else None for name, one in ends.items()}


def _together(materials: Materials, found: Overlap) -> None:
    materials.folder.table("moved_overlap", found.frame)
    materials.folder.table("moved_overlap_modules", _modules(found))
    materials.folder.table("moved_consensus", found.consensus)
    materials.folder.table("moved_stripes", found.stripes)
    materials.folder.figure("moved_overlap_map", found.plot())


def _modules(found: Overlap) -> pd.DataFrame:
    """Means over the pairs of runs in each module, with the least and the largest over pairs."""
    groups = found.by("module").groupby("module", sort=False)
    out = groups[["size", "share_1", "jaccard", *NULLS, "same_sign", "cosine"]].mean()
    for name in ("jaccard", "same_sign", "cosine"):
        out[f"{name}_low"], out[f"{name}_high"] = groups[name].min(), groups[name].max()
    return out.reset_index()
