"""Did several RL runs move the same weights? Updated-index sets of runs from one base, held against four nulls.

``I_r`` is the set of entries that run ``r`` changed: ``|bf16(w_r) - bf16(w)| > tolerance``, at tolerance 0 any change.
For two runs with ``p = |I_1|/n`` and ``q = |I_2|/n``:

* ``o1 = |I_1 n I_2| / |I_1|`` with the null ``q``, and ``o2 = |I_1 n I_2| / |I_2|`` with the null ``p``
  (arXiv 2505.11711);
* Jaccard ``|I_1 n I_2| / |I_1 u I_2|`` with the null ``pq / (p + q - pq)`` of independent entries (arXiv 2511.08567);
* the same with the expected intersection where more is held fixed and the rest is chance (nulls of this package):
  ``tensors`` the density of each tensor, ``sizes`` of each binade of base weights in each tensor (bfloat16 hides small
  changes of large weights, so two runs agree on large ones without having learned the same), ``stripes`` of each row
  and column, ``sum_i a_i b_i sum_j c_j d_j / (|I_1| |I_2|)`` with both runs' counts in row ``i`` and column ``j``;
* ``same_sign``: of the entries that both changed, the share changed the same way (chance: one half);
* ``cosine`` of the two updates (chance: 0), which still tells something where nearly every entry moved.

With ``R`` runs the consensus map is ``C_ij``, the share of runs that changed an entry; row and column update ratios
``rho_i``, ``kappa_j`` are the shares changed in a row or a column. Their variance over that of independent entries,
``var(rho) columns / (p (1 - p))``, is 1 without stripes.

Assumptions: all runs started from this base. Every figure is an exact count over fixed files, so an interval would need
more runs; over pairs of runs the range is told. What it does not show: why an entry moved in both runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from hooks.pair import Pair
from probes.weights.common_sets import Overlap
from probes.weights.files import Checkpoint, place
from probes.weights.matching import common_shape, is_matrix, line_up
from probes.weights.sources import runs_of

MOST = 8
"""Runs that can be compared at once: their combinations are counted in one table."""
_CHUNK = 1 << 17
_MAP = 48  # blocks on a side of the map that is kept of each matrix


@dataclass(frozen=True)
class Tally:
    """What is counted of one parameter over all runs; a sum over chunks of rows."""

    table: Int64[np.ndarray, "combination binade"]
    """Entries by the set of runs that changed them (bit ``r`` for run ``r``) and the exponent of the base weight."""
    rows: Int64[np.ndarray, "run row"]
    """Changed entries of each row."""
    columns: Int64[np.ndarray, "run column"]
    """Changed entries of each column."""
    same: Int64[np.ndarray, "run run"]
    """Entries that two runs changed in the same direction."""
    dots: Float[np.ndarray, "run run"]
    """Inner products of the updates."""
    map: Float[np.ndarray, "block_row block_column"]
    """Mean consensus over blocks of the matrix."""


def overlap(
    pair_or_base: Pair | str | Path,
    runs: Mapping[str, str | Path] | Sequence[str | Path] | None = None,
    *,
    tolerance: float = 0.0,
    progress: Callable[[int, int], object] | None = None,
) -> Overlap:
    """Overlap of what several RL runs changed in one base, a row a tensor and pair of runs.

    Give the base and at least two runs (a mapping names them), or an organism's name for its base and all its RL seeds.
    All files are read once, by rows; of each matrix row ratios, column ratios and a coarse map are kept.

    Raises:
        FileNotFoundError: a checkpoint is not there.
        ValueError: fewer than two runs or more than :data:`MOST`, two runs of one name, or no tensor in common.

    It does not show why an entry moved in both runs.
    """
    base_path, named = runs_of(pair_or_base, runs)
    if not 2 <= len(named) <= MOST:
        raise ValueError(f"An overlap needs two to {MOST} RL runs of one base; {len(named)} given.")
    tallies: dict[str, Tally] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    with ExitStack() as stack:
        base = stack.enter_context(Checkpoint.open(base_path))
        opened = [stack.enter_context(Checkpoint.open(path)) for path in named.values()]
        lined = [line_up(base, run) for run in opened]
        shared = [name for name in lined[0][0] if all(name in names for names, _ in lined)]
        if not shared:
            raise ValueError("The runs have no parameter in common with the base and each other; are they one model?")
        for done, name in enumerate(shared):
            stored = base.tensors[name].name
            shapes[stored] = common_shape(name, base, *opened)
            tallies[stored] = tally(_masks(base, opened, name, tolerance), shapes[stored], len(opened))
            if progress is not None:
                progress(done + 1, len(shared))
        places = {base.tensors[name].name: place(name) for name in shared}
    notes = {f"{run}: {what}": told for run, (_, own) in zip(named, lined) for what, told in own.items()}
    return Overlap.of(tallies, shapes, places, tuple(named), notes=notes, base=str(base_path), tolerance=tolerance)


def consensus_map(
    pair_or_base: Pair | str | Path,
    runs: Mapping[str, str | Path] | Sequence[str | Path] | None = None,
    *,
    tensor: str,
    tolerance: float = 0.0,
) -> Float32[np.ndarray, "row column"]:
    """The whole map ``C_ij`` of one matrix: the share of the runs that changed each entry.

    Raises:
        ValueError: there is no matrix of that name.

    It does not show how independent runs would agree; :func:`overlap` has the null.
    """
    base_path, named = runs_of(pair_or_base, runs)
    with ExitStack() as stack:
        base = stack.enter_context(Checkpoint.open(base_path))
        opened = [stack.enter_context(Checkpoint.open(path)) for path in named.values()]
        own = [name for name, stored in base.tensors.items() if tensor in (name, stored.name)]
        if not own or not is_matrix(own[0], base.tensors[own[0]].shape):
            some = ", ".join(stored.name for stored in list(base.tensors.values())[:4])
            raise ValueError(f"{base_path} has no matrix {tensor!r}; it has {some}, …")
        parts = [masks.mean(0, dtype=np.float32) for _, masks, _ in _masks(base, opened, own[0], tolerance)]
    return np.concatenate(parts)


Chunk = tuple[Tensor, Bool[np.ndarray, "run row column"], Float32[np.ndarray, "run row column"]]


def _masks(base: Checkpoint, runs: Sequence[Checkpoint], name: str, tolerance: float) -> Iterator[Chunk]:
    """Chunk by chunk of rows: the base in bfloat16, what each run changed, and by how much."""
    shape = common_shape(name, base, *runs)
    width = math.prod(shape[1:])
    rows = shape[0] if shape else 1
    step = max(1, _CHUNK // max(1, width))
    for start in range(0, rows, step):
        span = (start, min(start + step, rows))
        own = base.rows(name, *span).bfloat16().reshape(span[1] - span[0], -1)
        moved = torch.stack([run.rows(name, *span).bfloat16().reshape(own.shape).float() for run in runs])
        delta = (moved - own.float()).numpy()
        yield own, np.abs(delta) > tolerance, delta


def tally(chunks: Iterator[Chunk], shape: tuple[int, ...], n_runs: int) -> Tally:
    """Count everything about one parameter that the overlap is made of, in one pass over its chunks.

    It does not show anything by itself; :class:`probes.weights.common_sets.Overlap` puts the counts beside their nulls.
    """
    rows, width = shape[0] if shape else 1, math.prod(shape[1:])
    table = np.zeros((1 << n_runs, 256), dtype=np.int64)
    by_row, by_column = np.zeros((n_runs, rows), dtype=np.int64), np.zeros((n_runs, width), dtype=np.int64)
    same, dots = np.zeros((n_runs, n_runs), dtype=np.int64), np.zeros((n_runs, n_runs))
    blocks = _Blocks(rows, width)
    done = 0
    for own, masks, delta in chunks:
        code = (own.contiguous().view(torch.int16).numpy().astype(np.uint16) >> 7) & 0xFF
        code = code.astype(np.uint32)
        for run in range(n_runs):
            code |= masks[run].astype(np.uint32) << np.uint32(8 + run)
        table += np.bincount(code.ravel(), minlength=table.size).reshape(table.shape)
        here = slice(done, done + own.shape[0])
        by_row[:, here] = masks.sum(2)
        by_column += masks.sum(1)
        blocks.add(masks.sum(0), done)
        up, down = masks & (delta > 0), masks & (delta < 0)
        for a in range(n_runs):
            for b in range(a, n_runs):
                same[a, b] += np.count_nonzero(up[a] & up[b]) + np.count_nonzero(down[a] & down[b])
                dots[a, b] += float(np.dot(delta[a].ravel(), delta[b].ravel()))
        done += own.shape[0]
    return Tally(table, by_row, by_column, same, dots, blocks.mean() / n_runs)


class _Blocks:
    """Means over at most 48 x 48 blocks of a matrix that comes in rows."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.shape = (max(1, min(_MAP, rows)), max(1, min(_MAP, columns)))
        self.sums = np.zeros(self.shape)
        self.of_column = np.arange(columns) * self.shape[1] // max(1, columns)

    def add(self, part: Int64[np.ndarray, "row column"], first: int) -> None:
        of_row = (first + np.arange(len(part))) * self.shape[0] // max(1, self.rows)
        narrow = np.stack([np.bincount(self.of_column, row, minlength=self.shape[1]) for row in part])
        np.add.at(self.sums, of_row, narrow)

    def mean(self) -> Float[np.ndarray, "block_row block_column"]:
        heights = np.bincount(np.arange(self.rows) * self.shape[0] // max(1, self.rows), minlength=self.shape[0])
        widths = np.bincount(self.of_column, minlength=self.shape[1])
        return self.sums / np.maximum(1, heights[:, None] * widths)
