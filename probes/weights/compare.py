"""What moved: the difference of two checkpoints, streamed from disk tensor by tensor.

For base weights ``w`` and RL weights ``w'`` of one parameter, shares of entries (arXiv 2505.11711 and 2511.08567):

* ``unchanged_exact``: ``bf16(w') == bf16(w)``, bit for bit, with +0 and -0 the same;
* ``unchanged_tolerance``: ``|bf16(w') - bf16(w)| <= 1e-5``, the definition behind the popular "5-30 % of parameters";
* ``unchanged_relative``: ``|w' - w| <= eta * max(|w|, |w'|)``, ``eta = 1e-3``, on the stored values;
* ``unchanged_stored``: equal in the stored types, before any rounding;
* ``one_ulp``: moved by exactly one bfloat16 step, the least change that this format can show.

Beside them the Frobenius norm of the update and, for matrices, its ranks with the null of shuffled entries
(:mod:`probes.weights.spectrum`). Totals are weighted by size; tied tensors count once.

Assumptions: ``base`` is the checkpoint RL started from, and both were stored at the precision they were trained in.
What it does not show: which entries mattered. In bfloat16 a small step that rounds away leaves no trace, so a share of
unchanged entries is a fact about the format and the step size as much as about the method (arXiv 2511.08567).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.pair import Pair
from probes.weights.counts import ETA, TOLERANCE, Counts, count, finite
from probes.weights.delta import Delta
from probes.weights.files import Checkpoint, place
from probes.weights.sources import paths_of
from probes.weights.spectrum import Spectrum, shuffled, spectrum

_CHUNK = 1 << 17  # entries compared at a time: all temporaries stay in the processor's cache
_THREADS = min(4, os.cpu_count() or 1)  # while one chunk comes from the disk another is compared


def compare(
    pair_or_base: Pair | str | Path,
    rl: str | Path | None = None,
    *,
    ranks: bool = True,
    null: bool = True,
    tolerance: float = TOLERANCE,
    eta: float = ETA,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Delta:
    """The update between two checkpoints on disk, a row a tensor.

    Give a pair, or two folders (or files). Rows of both tensors are read in chunks; where a rank is wanted the float32
    difference of one matrix is held as well, on ``device``, where its decomposition runs. ``ranks=False`` leaves the
    decompositions out and reads each file once; ``null=False`` leaves out those of the shuffled matrix.

    Raises:
        FileNotFoundError: a checkpoint is not there or has no safetensors.
        ValueError: an adapter, quantised weights, a value that is not finite, or no tensor in common.

    It does not show which changes matter, nor changes too small for the stored format.
    """
    base_path, rl_path = paths_of(pair_or_base, rl)
    rows: list[dict[str, Any]] = []
    with Checkpoint.open(base_path) as base, Checkpoint.open(rl_path) as tuned, ThreadPoolExecutor(_THREADS) as threads:
        shared, notes = _line_up(base, tuned)
        on = device if ranks else None
        for done, name in enumerate(shared):
            counts, delta = _read(base, tuned, name, tolerance=tolerance, eta=eta, device=on, threads=threads)
            rows.append(_row(base, tuned, name, counts) | _ranks(delta, name, null=null, seed=seed))
            if progress is not None:
                progress(done + 1, len(shared))
    options = {"tolerance": tolerance, "eta": eta, "ranks": ranks, "null": null, "seed": seed}
    return Delta.of(rows, base=str(base_path), rl=str(rl_path), notes=notes, options=options)


def _line_up(base: Checkpoint, rl: Checkpoint) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Names that both have with comparable shapes, and everything a reader must know about the rest."""
    shared, shapes, types, renamed, cut = [], [], [], [], []
    for name in base.tensors:
        if name not in rl.tensors:
            continue
        one, other = base.tensors[name], rl.tensors[name]
        if one.shape != other.shape:
            if place(name)[2] in ("embedding", "head") and one.shape[1:] == other.shape[1:]:
                cut.append(f"{name}: {one.shape[0]} and {other.shape[0]} rows, the first {_rows(one, other)} compared")
            else:
                shapes.append(f"{name}: {one.shape} and {other.shape}, left out")
                continue
        if one.dtype != other.dtype:
            types.append(f"{name}: {one.dtype} and {other.dtype}")
        if one.name != other.name:
            renamed.append(f"{one.name} = {other.name}")
        shared.append(name)
    if not shared:
        raise ValueError(f"{base.path} and {rl.path} have no parameter of one name and shape; are they one model?")
    notes = {
        "only in base": tuple(base.tensors[name].name for name in base.tensors if name not in rl.tensors),
        "only in rl": tuple(rl.tensors[name].name for name in rl.tensors if name not in base.tensors),
        "other shape": tuple(shapes),
        "rows cut to the common ones": tuple(cut),
        "other type": tuple(types),
        "renamed": tuple(renamed),
        "tied, counted once": tuple(sorted({*base.tied, *rl.tied})),
        "buffers, not counted": tuple(sorted({*base.skipped, *rl.skipped})),
    }
    return shared, {what: names for what, names in notes.items() if names}


def _rows(one: Any, other: Any) -> int:
    return min(one.shape[0], other.shape[0]) if one.shape else 1


def _starts(rows: int, width: int) -> Iterator[tuple[int, int]]:
    """First and last row of each chunk."""
    step = max(1, _CHUNK // max(1, width))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def _read(
    base: Checkpoint, rl: Checkpoint, name: str, *, tolerance: float, eta: float, device: str | None, threads: Executor
) -> tuple[Counts, Float[Tensor, "row column"] | None]:
    """Counts of one parameter, and its difference in float32 where it is a matrix and a device is given."""
    shape = base.tensors[name].shape
    matrix = device is not None and len(shape) == 2 and min(shape) > 1 and place(name)[2] != "norm"
    rows = _rows(base.tensors[name], rl.tensors[name])
    delta = torch.empty(rows, shape[1], device=device) if matrix else None

    def work(span: tuple[int, int]) -> Counts:
        one, other = base.rows(name, *span), rl.rows(name, *span)
        if delta is not None:
            delta[slice(*span)] = (other.float() - one.float()).to(delta.device)
        return count(one, other, tolerance=tolerance, eta=eta)

    # Sums are taken in the order of the chunks, so that the number of threads changes no digit.
    counts = sum(threads.map(work, _starts(rows, math.prod(shape[1:]))), Counts())
    if not finite(counts):
        raise ValueError(f"{name} holds values that are not finite in one of the checkpoints; repair it first.")
    return counts, delta


def _row(base: Checkpoint, rl: Checkpoint, name: str, counts: Counts) -> dict[str, Any]:
    layer, module, kind = place(name)
    stored = base.tensors[name]
    norm, base_norm = math.sqrt(counts.squares), math.sqrt(counts.base_squares)
    size = counts.size
    return {
        "tensor": stored.name,
        "layer": layer,
        "module": module,
        "kind": kind,
        "shape": "x".join(map(str, stored.shape)),
        "size": size,
        "dtype_base": stored.dtype,
        "dtype_rl": rl.tensors[name].dtype,
        "unchanged_exact": counts.exact / size if size else math.nan,
        "unchanged_tolerance": counts.tolerance / size if size else math.nan,
        "unchanged_relative": counts.relative / size if size else math.nan,
        "unchanged_stored": counts.stored / size if size else math.nan,
        "one_ulp": counts.one_ulp / size if size else math.nan,
        "norm": norm,
        "norm_base": base_norm,
        "relative_norm": norm / base_norm if base_norm else math.nan,
        "largest": counts.largest,
    }


def _ranks(delta: Tensor | None, name: str, *, null: bool, seed: int) -> dict[str, float]:
    """Rank measures of one update and of its shuffled twin; NaN where it is no matrix or was not asked for."""
    fields = ("rank_share", "stable_rank", "entropy_rank", "energy_top")
    measured: Spectrum | None = spectrum(delta) if delta is not None else None
    twin: Spectrum | None = None
    if delta is not None and null:
        twin = spectrum(shuffled(delta, seed=seed, label=name))
    out = {field: getattr(measured, field) if measured else math.nan for field in fields}
    out |= {f"{field}_null": getattr(twin, field) if twin else math.nan for field in fields}
    return out | {"short_side": float(min(delta.shape)) if delta is not None else math.nan}
