"""What a LoRA adapter could change at all: its rank, and which tensors it was trained on.

An adapter adds ``s B A`` to each of its matrices, with ``A`` of ``r`` rows (Hu et al. 2021, arXiv 2106.09685): the rank
of that update is at most ``r`` before it is rounded, and every other tensor stays the base's.  A low rank and untouched
tensors are then set by the method and say nothing of RL.  What it does not show: what full training would have changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hooks.checkpoint import ADAPTER_FILE
from hooks.model import Model
from probes.weights.files import canonical

_PARTS = (".lora_A", ".lora_B", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter as its own files describe it."""

    rank: int
    """The largest rank of its updates."""
    modules: tuple[str, ...]
    """Last names of the modules it adapts, such as ``q_proj``."""
    tensors: frozenset[str]
    """Canonical names of the tensors that it was trained on."""

    def within(self, frame: pd.DataFrame, shares: Sequence[str]) -> dict[str, float]:
        """Number, entries and shares of the tensors in a table of :func:`probes.weights.compare` it was trained on.

        Shares are weighted by size; NaN where none of its tensors is in the table.
        """
        own = frame[[canonical(str(name)) in self.tensors for name in frame["tensor"]]]
        size = own["size"].to_numpy(dtype=float)
        out: dict[str, float] = {"tensors": float(len(own)), "size": float(size.sum())}
        for name in shares:
            values = own[name].to_numpy(dtype=float)
            out[name] = float(np.average(values, weights=size)) if size.sum() else np.nan
        return out


def adapter_of(model: Model) -> Adapter | None:
    """The LoRA adapter that was merged into a model's weights; None where there is none, or of another kind.

    Raises:
        FileNotFoundError: its files are no longer where the model was loaded from.
    """
    if model.adapter is None:
        return None
    described = json.loads(_file(model.adapter, ADAPTER_FILE).read_text(encoding="utf-8"))
    if described.get("peft_type") != "LORA" or not described.get("r"):
        return None
    ranks = [int(described["r"]), *map(int, (described.get("rank_pattern") or {}).values())]
    names = _trained(_file(model.adapter, "adapter_model.safetensors"))
    modules = {name.removesuffix(".weight").rpartition(".")[2] for name in names}
    return Adapter(max(ranks), tuple(sorted(modules)), frozenset(names))


def _trained(file: Path) -> set[str]:
    """Tensors of the base that an adapter's file holds parts of, or holds whole."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        stored = list(opened.keys())
    found = set()
    for name in stored:
        part = next((one for one in _PARTS if one in name), None)
        found.add(canonical(name if part is None else f"{name.partition(part)[0]}.weight"))
    return found


def _file(adapter: str, name: str) -> Path:
    """A file of an adapter's folder, or of its snapshot on this machine."""
    from transformers.utils import cached_file

    found = cached_file(adapter, name, local_files_only=True, _raise_exceptions_for_missing_entries=False)
    if found is None:
        raise FileNotFoundError(f"the adapter {adapter} holds no {name}; name the folder that has both of its files")
    return Path(found)
