"""Activations out of a network: any sites, any positions, whole corpora, in memory or straight to disk.

    rows = capture(model, rollouts, sites="resid_post.*", positions="generated")
    rows["resid_post.3"]            # Float[Tensor, "row d_model"], one row a line of rows.rows

Sequences are batched by length, read by the bare Hugging Face tree with fused attention, and cut to the wanted rows on
the device; the forward ends with the last wanted layer and no logits are computed.  Rows come in the order of the data,
whatever the batches were, and equal TransformerLens' ``run_with_cache`` on unpadded input to rounding.

Inside ``with steering.on(model)`` the activations are the steered ones, at positions that count from each text's own
prompt, a dose a row being a dose a text; such rows stay in memory, since a store could not tell them from clean ones.

An activation is what the network computed at a place; that it can be read there does not show that anything uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hooks.activations import Activations
from hooks.deposit import SHARD_BYTES, SHARD_TOKENS, Ledger, Side, dtype_name, prepare
from hooks.model import Model
from hooks.packing import by_length, halving, pad_right, tokens_a_batch
from hooks.pair import Pair
from hooks.positions import Positions
from hooks.rows import Reduce, Selection, select_rows
from hooks.sequences import Sequences
from hooks.shards import ShardWriter
from hooks.sites import Site, expand_sites
from hooks.standing import standing
from hooks.store import ActivationStore
from hooks.tap import Cut, Tap, Transit, site_width

SideName = Literal["base", "rl", "model"]
Progress = Callable[[int, int], object]
Put = Callable[[str, Cut, Tensor], object]
"""Takes a site's rows of one batch to where the cut says that they belong."""


@dataclass(frozen=True)
class _Request:
    """A capture, checked once."""

    sequences: Sequences
    selection: Selection
    models: dict[str, Model]
    sites: dict[str, tuple[Site, ...]]
    dtypes: dict[str, torch.dtype]
    positions: str
    batch_tokens: int | None

    @property
    def longest(self) -> int:
        return int(self.sequences.lengths.max(initial=0))

    @property
    def total(self) -> int:
        return int(self.sequences.lengths.sum()) * len(self.models)

    def widths(self, name: str) -> dict[str, int]:
        return {str(site): site_width(self.models[name], site, self.longest) for site in self.sites[name]}

    def side(self, name: str) -> Side:
        model = self.models[name]
        return Side(model.name, model.revision, model.weights_hash, dtype_name(self.dtypes[name]), self.widths(name))


def capture(
    model: Model | Pair,
    data: Any,
    *,
    sites: str | Site | Sequence[str | Site] = "resid_post.*",
    positions: str | Positions = "all",
    reduce: Reduce | None = None,
    dtype: str | torch.dtype | None = None,
    batch_tokens: int | None = None,
    store: str | Path | None = None,
    side: SideName = "model",
    shard: tuple[int, int] | None = None,
    shard_bytes: int = SHARD_BYTES,
    shard_tokens: int = SHARD_TOKENS,
    progress: Progress | None = None,
) -> Any:
    """Read activations of a model, or of both models of a pair over the same ids.

    Args:
        model: a Model, or a Pair, which gives a dictionary with ``"base"`` and ``"rl"`` whose rows are the same rows.
        data: Rollouts, id lists, texts, or a padded batch with its mask; see :meth:`Sequences.of`.
        sites: names or patterns; see :func:`hooks.sites.expand_sites`.  Sites inside attention are flattened to
            [row, head * size].
        positions: which positions become rows.
        reduce: one row a span instead: its ``"mean"`` or its ``"last"``; see :func:`hooks.rows.select_rows`.
        dtype: of the result; the network's own when None.
        batch_tokens: padded tokens a batch; when None, what suits the device.  Halved aloud when memory runs out.
        store: a folder for an :class:`ActivationStore`; memory then stays that of one batch, and the same call goes on
            where a killed one stopped.
        side: the name of a single model's half in the store, so that base and RL can be captured one after the other.
        shard: ``(i, n)`` writes only the i-th of n parts of the store (from 1), for several processes at once.
        shard_bytes, shard_tokens: where shards of a new store end.
        progress: called with tokens done and tokens in all.

    Returns:
        Activations or an ActivationStore, or for a Pair a dictionary of them.

    Raises:
        ValueError: for unknown sites or positions, unusable data, or a folder that holds another request.
        StoreBusy: when somebody else writes the same shards.
        DamagedShard: when the store has a truncated or foreign shard.
        DiskFull: when there is no room; the store can be gone on with.
    """
    request = _check(model, data, sites, positions, reduce, dtype, batch_tokens, side)
    count = _Counter(progress, request.total)
    if store is None:
        if shard is not None:
            raise ValueError("shard=(i, n) writes a part of a store: give store= too")
        out: dict[str, Any] = _to_memory(request, count)
    else:
        sides = {name: request.side(name) for name in request.models}
        ledger = prepare(
            Path(store), request.sequences, request.selection, sides,
            positions=request.positions, shard_bytes=shard_bytes, shard_tokens=shard_tokens,
        )  # fmt: skip
        _to_disk(request, ledger, ledger.part(shard), count)
        out = {name: ActivationStore.open(store, side=name) for name in request.models}
    return out if isinstance(model, Pair) else out[side]


def _check(
    model: Any,
    data: Any,
    sites: Any,
    positions: str | Positions,
    reduce: Reduce | None,
    dtype: str | torch.dtype | None,
    batch_tokens: int | None,
    side: str,
) -> _Request:
    models = {"base": model.base, "rl": model.rl} if isinstance(model, Pair) else {side: model}
    if reduce not in (None, "mean", "last"):
        raise ValueError(f"reduce is 'mean', 'last' or None, not {reduce!r}")
    rule = Positions.parse(positions)
    first = next(iter(models.values()))
    sequences = Sequences.of(data, first)
    for other in models.values():
        sequences.check_vocabulary(other.d_vocab, other.name)
    selection = select_rows(sequences, rule, reduce=reduce, tokenizer=first.tokenizer)
    wanted = {name: expand_sites(sites, own.n_layers) for name, own in models.items()}
    dtypes = {name: _dtype(dtype, own.dtype) for name, own in models.items()}
    return _Request(sequences, selection, models, wanted, dtypes, str(rule), batch_tokens)


def _dtype(asked: str | torch.dtype | None, own: torch.dtype) -> torch.dtype:
    found = own if asked is None else getattr(torch, asked, None) if isinstance(asked, str) else asked
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{asked!r} is no dtype; write float32, bfloat16 or float16")
    dtype_name(found)
    return found


class _Counter:
    """Tokens done, told to whoever wants to know."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, tokens: int) -> None:
        self._done += tokens
        if self._progress is not None:
            self._progress(self._done, self._total)


def _to_memory(request: _Request, count: _Counter) -> dict[str, Activations]:
    out: dict[str, Activations] = {}
    every = np.arange(len(request.sequences))
    for name, model in request.models.items():
        tensors = {
            site: _room(request.selection.n_rows, width, request.dtypes[name])
            for site, width in request.widths(name).items()
        }
        _run(request, name, every, request.sites[name], partial(_into_memory, tensors), count)
        manifest = {
            "role": model.role,
            "model": model.name,
            "revision": model.revision,
            "weights": model.weights_hash,
            "tokens": request.sequences.token_hash,
            "positions": request.positions,
            "reduce": request.selection.reduce,
            "dtype": dtype_name(request.dtypes[name]),
        }
        out[name] = Activations(tensors, request.selection.frame, manifest)
    return out


def _room(rows: int, width: int, dtype: torch.dtype) -> Tensor:
    """Memory for one site.

    NumPy asks the kernel for large pages; touching a fresh gigabyte is then several times cheaper.
    """
    # One byte at least: nothing at all cannot be viewed as numbers.
    raw = np.empty(max(1, rows * width) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype)[: rows * width].reshape(rows, width)


def _to_disk(request: _Request, ledger: Ledger, part: range, count: _Counter) -> None:
    bounds, first_rows = ledger.sequence_bounds, ledger.row_bounds
    with ledger.locked(list(request.models), part):
        for number in part:
            members = np.arange(bounds[number], bounds[number + 1])
            for name in request.models:
                missing = ledger.missing(name, number)
                if not missing:
                    count.add(int(request.sequences.lengths[members].sum()))
                    continue
                with ledger.writers(name, number, missing) as writers:
                    wanted = [site for site in request.sites[name] if str(site) in writers]
                    into = partial(_into_shards, writers, first_rows[number])
                    _run(request, name, members, wanted, into, count, stored=True)


def _into_memory(tensors: dict[str, Tensor], site: str, cut: Cut, block: Tensor) -> None:
    tensors[site].index_copy_(0, cut.rows, block)


def _into_shards(writers: dict[str, ShardWriter], first_row: int, site: str, cut: Cut, block: Tensor) -> None:
    for start, stop, first in cut.runs:
        writers[site].write(first - first_row, block[start:stop])


def _run(
    request: _Request,
    name: str,
    members: Int[np.ndarray, " _"],
    sites: Sequence[Site],
    put: Put,
    count: _Counter,
    *,
    stored: bool = False,
) -> None:
    """Read these sequences with one model and put their rows where they belong."""
    model, selection, dtype = request.models[name], request.selection, request.dtypes[name]
    transit = Transit(model.device)

    def work(batch: Int[np.ndarray, " _"]) -> None:
        ids = pad_right([request.sequences.ids[row] for row in batch], model.pad_id)
        cut = Cut.of(selection, batch, ids.shape[1], model.device)

        def receive(site: Site, activation: Tensor) -> None:
            transit.send(cut.take(activation, dtype), partial(put, str(site), cut))

        lengths = request.sequences.lengths[batch].tolist()
        prompts = [request.sequences.n_prompt[row] for row in batch]
        with standing(batch.tolist(), prompts, lengths, stored=stored):
            tap.read(ids, receive)
        count.add(int(request.sequences.lengths[batch].sum()))

    wanted = members[np.diff(selection.offsets)[members] > 0]
    count.add(int(request.sequences.lengths[members].sum() - request.sequences.lengths[wanted].sum()))
    with Tap(model, sites, longest=request.longest) as tap:
        for own in by_length(request.sequences.lengths[wanted], tokens_a_batch(request.batch_tokens, model.device)):
            halving(work, wanted[own])
    transit.flush()
