"""What moved: the difference of two checkpoints, streamed from disk tensor by tensor.

For base weights ``w`` and RL weights ``w'`` of one parameter, shares of entries (arXiv 2505.11711 and 2511.08567):

* ``unchanged_exact``: ``bf16(w') == bf16(w)``, bit for bit, with +0 and -0 the same;
* ``unchanged_tolerance``: ``|bf16(w') - bf16(w)| <= 1e-5``, the definition behind the popular "5-30 % of parameters";
* ``unchanged_relative``: ``|w' - w| <= eta * max(|w|, |w'|)``, ``eta = 1e-3``, the default test of 2511.08567;
* ``unchanged_stored``: equal in the stored types, before any rounding;
* ``one_ulp``: moved by exactly one bfloat16 step, the least change that this format can show.

Beside them the Frobenius norm of the update and, for matrices, its ranks with the null of shuffled entries
(:mod:`probes.weights.spectrum`), and whether the changes can be told from rounding (:mod:`probes.weights.rounding`).
Where both files hold it in float32 or wider, entries are also counted by the size of their change.
Where the two files hold a parameter in two types, both are rounded to bfloat16 first, so that a cast alone is no
update; ``unchanged_stored`` still tells it. Totals are weighted by size; tied tensors count once.

Assumptions: ``base`` is the checkpoint RL started from, and both were stored at the precision they were trained in.
What it does not show: which entries mattered. In bfloat16 a small step that rounds away leaves no trace, so a share of
unchanged entries is a fact about the format and the step size as much as about the method (arXiv 2511.08567).
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, TypeVar

import torch
from torch import Tensor

from hooks.pair import Pair
from probes.weights.counts import CHUNK, ETA, TOLERANCE, Counts, Room, count, difference, finite
from probes.weights.delta import Delta
from probes.weights.files import Checkpoint, place
from probes.weights.matching import common_shape, is_matrix, line_up
from probes.weights.rounding import reading, rounding_norm
from probes.weights.sources import paths_of
from probes.weights.spectrum import Spectrum, shuffled, spectrum

_SPAN = 4  # chunks that a thread takes at a time
_AHEAD = (
    8  # spans that may wait for their turn in the sum; the kernel is told of them, so that reading goes on meanwhile
)
_THREADS = min(8, os.cpu_count() or 1)

Span = tuple[str, int, int]
Item = TypeVar("Item")
Found = TypeVar("Found")


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
    progress: Callable[[int, int], object] | None = None,
) -> Delta:
    """The update between two checkpoints on disk, a row a tensor.

    Give a pair, or two folders (or files). Both files are read in chunks; where a rank is wanted the float32 difference
    of one matrix is held as well, on ``device``, where its decomposition runs. ``ranks=False`` leaves out the
    decompositions; ``null=False`` leaves out those of the shuffled matrix.

    Raises:
        FileNotFoundError: a checkpoint is not there or has no safetensors.
        ValueError: an adapter, quantised weights, a value that is not finite, or no tensor in common.

    It does not show which changes matter, nor changes too small for the stored format.
    """
    base_path, rl_path = paths_of(pair_or_base, rl)
    rows: list[dict[str, Any]] = []
    total = Counts()
    with Checkpoint.open(base_path) as base, Checkpoint.open(rl_path) as tuned, ThreadPoolExecutor(_THREADS) as threads:
        shared, notes = line_up(base, tuned)
        counter = _Counter(base, tuned, tolerance, eta, threads)
        # Without ranks the chunks of all tensors make one queue; with them one difference is held at a time.
        for group in [[name] for name in shared] if ranks else [shared]:
            delta = counter.room_for(group[0], device) if ranks else None
            for name, counts in counter.counts(group, delta):
                total += counts
                measured = _ranks(delta, counts, name, null=null, seed=seed)
                rows.append(_row(base, tuned, name, counts) | measured)
                if progress is not None:
                    progress(len(rows), len(shared))
    options = {"tolerance": tolerance, "eta": eta, "ranks": ranks, "null": null, "seed": seed}
    return Delta.of(rows, base=str(base_path), rl=str(rl_path), notes=notes, options=options, by_size=total.by_size)


class _Counter:
    """Counts of the shared parameters of two open checkpoints, chunk by chunk, on several threads."""

    def __init__(self, base: Checkpoint, rl: Checkpoint, tolerance: float, eta: float, threads: Executor) -> None:
        self.base, self.rl = base, rl
        self.tolerance, self.eta = tolerance, eta
        self.threads = threads
        self.own = local()

    def size(self, name: str) -> int:
        return math.prod(common_shape(name, self.base, self.rl))

    def room_for(self, name: str, device: str) -> Tensor | None:
        """Room for the difference of a matrix; None for anything else."""
        shape = common_shape(name, self.base, self.rl)
        return torch.empty(shape, device=device) if is_matrix(name, shape) else None

    def counts(self, names: Iterable[str], delta: Tensor | None) -> Iterator[tuple[str, Counts]]:
        """Counts of each parameter in order; ``delta`` takes the difference of the only one, where it is given."""
        sizes = {name: self.size(name) for name in names}
        step = _SPAN * CHUNK
        spans = [
            (name, start, min(start + step, size))
            for name, size in sizes.items()
            for start in range(0, size or 1, step)
        ]
        total = Counts()
        parts = in_order(self.threads, lambda span: self._span(*span, delta), self._told(spans))
        for (name, _, stop), part in zip(spans, parts):
            # Sums are taken in the order of the file, so that the number of threads changes no digit.
            total += part
            if stop == sizes[name]:
                if not finite(total):
                    raise ValueError(f"{name} holds values that are not finite in one checkpoint; repair it first.")
                yield name, total
                total = Counts()

    def _told(self, spans: Iterable[Span]) -> Iterator[Span]:
        """The spans, each announced to the kernel as its turn to wait comes."""
        for span in spans:
            self.base.announce(*span)
            self.rl.announce(*span)
            yield span

    def _span(self, name: str, begin: int, end: int, delta: Tensor | None) -> Counts:
        if not hasattr(self.own, "room"):
            self.own.room = Room()
        room: Room = self.own.room
        total = Counts()
        for start in range(begin, end, CHUNK):
            stop = min(start + CHUNK, end)
            one = self.base.entries(name, start, stop, room.read[0])
            other = self.rl.entries(name, start, stop, room.read[1])
            if delta is not None:
                delta.view(-1)[start:stop] = difference(one, other).to(delta.device)
            total += count(one, other, tolerance=self.tolerance, eta=self.eta, room=room)
        return total


def in_order(threads: Executor, work: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """Results of ``work`` in the order of the items, a bounded number of them under way."""
    waiting: deque[Future[Found]] = deque()
    for item in items:
        waiting.append(threads.submit(work, item))
        if len(waiting) > _AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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
        "rounding_norm": rounding_norm(counts),
        "largest": counts.largest,
    }


def _ranks(delta: Tensor | None, counts: Counts, name: str, *, null: bool, seed: int) -> dict[str, Any]:
    """Rank measures of one update and of its shuffled twin; NaN where it is no matrix or was not asked for."""
    fields = ("rank_share", "stable_rank", "entropy_rank", "energy_top")
    measured: Spectrum | None = spectrum(delta) if delta is not None else None
    twin: Spectrum | None = None
    if delta is not None and null:
        twin = spectrum(shuffled(delta, seed=seed, label=name))
    out: dict[str, Any] = {field: getattr(measured, field) if measured else math.nan for field in fields}
    out |= {f"{field}_null": getattr(twin, field) if twin else math.nan for field in fields}
    out["short_side"] = float(min(delta.shape)) if delta is not None else math.nan
    return out | {"reading": reading(counts, delta if null else None, seed=seed, label=name)}
