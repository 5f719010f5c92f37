"""One batch through a network, no further than needed: the wanted sites, cut to the wanted rows, sent to the host.

The forward ends with the last wanted site: later layers, final norm and unembedding do not run.  At each site the
wanted positions are gathered (and averaged) on the device, so pads and unwanted positions never leave it; on a GPU
the copy to pinned host memory runs beside the next layers.  Sites of the residual stream come from the bare tree, sites
inside attention from the TransformerLens bridge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.model import Model
from hooks.rows import Selection
from hooks.sites import KINDS, Site
from hooks.steered import is_steered

IN_FLIGHT = 8
"""Blocks that may be on their way from the device before the oldest is waited for."""


class _Enough(Exception):
    """Raised inside a forward after its last wanted site: not an error, the rest is just not wanted."""


@dataclass(frozen=True)
class Cut:
    """Which entries of a right-padded batch become which rows."""

    flat: Int[Tensor, " gathered"] | None
    """Places in the batch flattened to [batch * pos], in the order of rows; None when they are all of them."""
    sizes: Int[Tensor, " row"] | None
    """How many gathered places each row averages; None without an average."""
    runs: tuple[tuple[int, int, int], ...]
    """``(start, stop, first_row)``: rows start to stop of the batch are rows first_row and following of the request."""

    @cached_property
    def rows(self) -> Int[Tensor, " row"]:
        """The row of the request that each row of the batch is."""
        parts = [np.arange(first, first + stop - start) for start, stop, first in self.runs]
        return torch.from_numpy(np.concatenate([*parts, np.empty(0, dtype=np.int64)]))

    @classmethod
    def of(cls, selection: Selection, batch: Int[np.ndarray, " _"], longest: int, device: torch.device) -> Cut:
        """The cut of these sequences, padded on the right to ``longest``."""
        flat = np.concatenate([selection.at[row] + place * longest for place, row in enumerate(batch)])
        every = len(flat) == len(batch) * longest and bool((np.diff(flat) == 1).all())
        sizes = None
        if selection.reduce == "mean":
            sizes = torch.from_numpy(np.concatenate([selection.counts[row] for row in batch])).to(device)
        index = None if every else torch.from_numpy(flat).to(device)
        return cls(index, sizes, _runs(selection.offsets, batch))

    def take(self, activation: Float[Tensor, "batch pos *width"], dtype: torch.dtype) -> Float[Tensor, "row _"]:
        """The rows of one site's activation; means are taken in float32 and then rounded once."""
        flat = activation.reshape(activation.shape[0] * activation.shape[1], -1)
        rows = flat if self.flat is None else flat.index_select(0, self.flat)
        if self.sizes is not None:
            exact = rows if rows.dtype == torch.float64 else rows.float()
            rows = torch.segment_reduce(exact, "mean", lengths=self.sizes, unsafe=True)
        return rows.to(dtype)


def _runs(offsets: Int[np.ndarray, " _"], batch: Int[np.ndarray, " _"]) -> tuple[tuple[int, int, int], ...]:
    runs: list[tuple[int, int, int]] = []
    done = 0
    for row in batch:
        first, count = int(offsets[row]), int(offsets[row + 1] - offsets[row])
        if runs and runs[-1][2] + runs[-1][1] - runs[-1][0] == first:
            start, stop, begun = runs[-1]
            runs[-1] = (start, stop + count, begun)
        elif count:
            runs.append((done, done + count, first))
        done += count
    return tuple(runs)


class Transit:
    """Blocks on their way from a device to the host, delivered in order.

    On a CUDA device a block is copied to pinned memory on a stream of its own and delivered when it has arrived, while
    the network goes on; anywhere else it is delivered at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._flying: deque[tuple[Any, Tensor, Callable[[Tensor], object]]] = deque()

    def send(self, block: Float[Tensor, "row _"], deliver: Callable[[Tensor], object]) -> None:
        """Start a block on its way; ``deliver`` gets it as a host tensor that is valid during the call only."""
        if self._copies is None:
            deliver(block.cpu())
            return
        self._copies.wait_stream(torch.cuda.current_stream(block.device))
        with torch.cuda.stream(self._copies):
            # Pinned blocks come from PyTorch's caching host allocator, which hands the same few out again.
            host = torch.empty(block.shape, dtype=block.dtype, pin_memory=True)
            host.copy_(block, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(self._copies)
        block.record_stream(self._copies)
        self._flying.append((arrived, host, deliver))
        while len(self._flying) > IN_FLIGHT:
            self._land()

    def flush(self) -> None:
        """Wait for and deliver everything that is under way."""
        while self._flying:
            self._land()

    def _land(self) -> None:
        arrived, host, deliver = self._flying.popleft()
        arrived.synchronize()
        deliver(host)


def site_width(model: Model, site: Site, longest: int) -> int:
    """Numbers in a row: d_model, or within attention heads × size (of a pattern, heads × longest sequence)."""
    if site.kind in KINDS:
        return model.d_model
    config = model.net.config
    heads = int(config.num_attention_heads)
    if site.kind == "pattern":
        return heads * longest
    size = getattr(config, "head_dim", None) or model.d_model // heads
    if site.kind in ("k", "v"):
        heads = int(getattr(config, "num_key_value_heads", None) or heads)
    return heads * int(size)


class Tap:
    """Hooks at some sites of a model, kept over many batches; :meth:`read` runs one batch up to the last of them.

    Sites inside attention run through the bridge, in a forward of their own.  Use it as a context manager.

    Raises:
        ValueError: for a site that this family has not.
    """

    def __init__(self, model: Model, sites: Sequence[Site], *, longest: int) -> None:
        self._model, self._longest = model, longest
        self._coarse = [site for site in sites if site.coarse]
        self._fine = [site for site in sites if not site.coarse]
        self._left = 0
        self._receive: Callable[[Site, Tensor], None] | None = None
        self._watch: AbstractContextManager[None] = nullcontext()
        missing = [str(site) for site in self._fine if site.bridge_name not in model.bridge.hook_dict]
        if missing:
            raise ValueError(f"the TransformerLens bridge of {model.name} has no {', '.join(missing)}")
        if self._fine and is_steered(model):
            raise ValueError(
                f"{self._fine[0]} is read from the TransformerLens bridge, which steering.on({model.name}) does not "
                "reach; capture sites of the residual stream, or leave the context"
            )

    def __enter__(self) -> Tap:
        if self._coarse:
            self._watch = self._model.watch(self._coarse, self._pass_on)
        self._watch.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._watch.__exit__(*error)

    @torch.no_grad()
    def read(self, ids: Int[Tensor, "batch pos"], receive: Callable[[Site, Tensor], None]) -> None:
        """Run right-padded ids and hand each site's activation [batch, pos, ...] to ``receive``.

        A pattern comes as [batch, query, head, key], its keys filled up with zeros to the longest sequence.
        """
        here = ids.to(self._model.device)
        self._receive, self._left = receive, len(self._coarse)
        try:
            if self._coarse:
                with suppress(_Enough):
                    self._model.backbone(here)
            if self._fine:
                self._read_bridge(here, receive)
        finally:
            self._receive = None

    def _pass_on(self, site: Site, activation: Tensor) -> None:
        # Somebody else's forward, between two batches, is none of ours.
        if self._receive is None:
            return
        self._receive(site, activation)
        self._left -= 1
        if not self._left:
            raise _Enough

    def _read_bridge(self, ids: Tensor, receive: Callable[[Site, Tensor], None]) -> None:
        def hook_for(site: Site) -> Callable[..., None]:
            def pass_on(activation: Tensor, hook: Any) -> None:
                receive(site, _by_query(activation, self._longest) if site.kind == "pattern" else activation)

            return pass_on

        self._model.bridge.run_with_hooks(
            ids,
            fwd_hooks=[(site.bridge_name, hook_for(site)) for site in self._fine],
            return_type=None,
            stop_at_layer=max(site.layer for site in self._fine) + 1,
        )


def _by_query(pattern: Float[Tensor, "batch head query key"], longest: int) -> Float[Tensor, "batch query head _"]:
    return torch.nn.functional.pad(pattern.transpose(1, 2), (0, longest - pattern.shape[-1]))
