"""Activations while a text is being written, with the KV cache on.

    with recording(model, sites="resid_post.*") as tape:
        rollouts = generate(model, prompts, n=4, temperature=1.0)      # or model.net.generate(**inputs)
    acts = tape.activations(rollouts)                                  # as capture(model, rollouts) would give

Under a causal mask the activation at a position is a function of the ids up to there, so what passes during decoding is
what a replay of the finished text gives, to rounding.  The last token of a text is never read while it is written: its
position has no row.  Rows of a batch may be repeated, reordered and dropped; the tape follows the cache.

Inside ``with steering.on(model)`` entered earlier the tape sees steered activations, which a replay without steering
does not give.  It keeps every position that passes until the text is known: sites × width × tokens on the host.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hooks.activations import Activations
from hooks.model import Model
from hooks.padding import real_places
from hooks.positions import Positions
from hooks.rows import select_rows
from hooks.sequences import Sequences
from hooks.sites import Site, expand_sites
from hooks.slots import Slots
from hooks.tap import Transit


@dataclass(eq=False)
class _Passage:
    """One forward: which tokens it read, behind which rows of the passage before."""

    ids: Int[Tensor, "batch pos"]
    real: Bool[Tensor, "batch pos"]
    before: _Passage | None
    source: Int[Tensor, " batch"] | None
    """Row of the passage before that each row goes on from; None when all go on in place."""
    blocks: dict[str, Tensor] = field(default_factory=dict)
    """Site to activations [batch * pos, d_model] on the host."""

    def origins(self) -> Sequence[int]:
        """For each row the row of the passage before; nothing for a passage that begins its texts."""
        if self.before is None:
            return ()
        return range(len(self.ids)) if self.source is None else [int(row) for row in self.source]

    @cached_property
    def tokens(self) -> Int[np.ndarray, " place"]:
        """All ids, flattened."""
        return self.ids.cpu().numpy().reshape(-1)

    @cached_property
    def places(self) -> list[Int[np.ndarray, " _"]]:
        """For each row the flattened places that hold a token."""
        width = self.ids.shape[1]
        return [row * width + np.flatnonzero(own) for row, own in enumerate(self.real.cpu().numpy())]


@dataclass(eq=False)
class _Thread:
    """What a cache holds: its last passage, and how its rows have been moved since."""

    last: _Passage
    moved: Int[Tensor, " batch"] | None = None

    def move(self, index: Int[Tensor, " batch"]) -> None:
        self.moved = index if self.moved is None else self.moved[index]


class Tape:
    """What passed through a model's sites; see :func:`recording`."""

    def __init__(self, model: Model, sites: tuple[Site, ...]) -> None:
        self.model, self.sites = model, sites
        self._passages: list[_Passage] = []
        self._threads: WeakKeyDictionary[Any, _Thread] = WeakKeyDictionary()
        self._transit = Transit(model.device)
        self._now: _Passage | None = None

    @contextmanager
    def attached(self) -> Iterator[Tape]:
        """Hooks on, and off again however the context ends."""
        backbone = self.model.net.base_model
        with ExitStack() as stack:
            stack.callback(self._transit.flush)
            stack.callback(backbone.register_forward_pre_hook(self._before, with_kwargs=True).remove)
            stack.callback(backbone.register_forward_hook(self._after, with_kwargs=True).remove)
            stack.enter_context(self.model.watch(list(self.sites), self._see))
            yield self

    def activations(self, data: Any, *, positions: str | Positions = "all") -> Activations:
        """The activations of finished texts, one row a chosen position.

        Args:
            data: the texts, as for capture; each must have been written (or read) under this tape.
            positions: which positions become rows, the last token's excepted.

        Raises:
            ValueError: for a text that did not pass.
        """
        sequences = Sequences.of(data, self.model)
        rule = Positions.parse(positions)
        read = Positions.mask([[True] * (len(ids) - 1) for ids in sequences.ids])
        selection = select_rows(sequences, rule & read, tokenizer=self.model.tokenizer)
        books = _Books(self._passages)
        width = self.model.d_model
        out = {str(site): torch.empty(selection.n_rows, width, dtype=self.model.dtype) for site in self.sites}
        for row, ids in enumerate(sequences.ids):
            places = books.find(tuple(ids[:-1].tolist()))
            if places is None:
                raise ValueError(
                    f"sequence {sequences.name(row)} did not pass through {self.model.name} under this tape"
                )
            first = int(selection.offsets[row])
            for at, position in enumerate(selection.at[row]):
                passage, flat = places[int(position)]
                for site, tensor in out.items():
                    tensor[first + at] = passage.blocks[site][flat]
        manifest = {
            "role": self.model.role,
            "model": self.model.name,
            "revision": self.model.revision,
            "weights": self.model.weights_hash,
            "tokens": sequences.token_hash,
            "positions": str(rule),
            "reduce": None,
            "dtype": str(self.model.dtype),
        }
        return Activations(out, selection.frame, manifest)

    def _before(self, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs.get("input_ids")
        if ids is None:
            raise ValueError("recording needs token ids, and the model was given embeddings")
        mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
        cache = kwargs.get("past_key_values")
        if isinstance(cache, Slots):
            raise ValueError(
                "mixed decoding drafts, cuts and reads again, which a tape cannot follow; "
                "write the texts first and take their activations with capture"
            )
        past = 0 if cache is None else int(cache.get_seq_length())
        thread = self._threads.get(cache) if past else None
        if past and thread is None:
            raise ValueError("the cache was begun outside this recording; read the prompt inside it")
        real = real_places(mask, ids.shape, past, ids.device)[:, past:]
        before, source = (thread.last, thread.moved) if thread is not None else (None, None)
        self._now = _Passage(ids.detach().clone(), real, before, source)
        rows = len(source) if source is not None else len(before.ids) if before is not None else len(ids)
        if rows != len(ids):
            raise ValueError(f"a cache of {rows} rows goes on with {len(ids)}: this loop moves rows in its own way")

    def _see(self, site: Site, activation: Tensor) -> None:
        if self._now is not None:
            flat, blocks = activation.reshape(-1, activation.shape[-1]), self._now.blocks
            # What is sent must not change under the copy: later layers may write in place.
            self._transit.send(flat.clone(), lambda block: blocks.update({str(site): block}))

    def _after(self, _: Any, __: Any, kwargs: dict[str, Any], output: Any) -> None:
        passage, self._now = self._now, None
        if passage is None:
            return
        self._passages.append(passage)
        cache = getattr(output, "past_key_values", None)
        cache = kwargs.get("past_key_values") if cache is None else cache
        if cache is None:
            return
        if cache not in self._threads:
            self._threads[cache] = _Thread(passage)
            _follow(cache, self._threads[cache])
        thread = self._threads[cache]
        thread.last, thread.moved = passage, None


@contextmanager
def recording(model: Model, sites: str | Site | Sequence[str | Site] = "resid_post.*") -> Iterator[Tape]:
    """Keep the activations of every forward of ``model.net`` in this context.

    Args:
        model: whose own ``net.generate``, ``hooks.generate`` or plain forwards are run inside.
        sites: sites of the residual stream.

    Raises:
        ValueError: for sites inside attention, which the bare tree does not show, and for caches whose rows are moved
            in ways that cannot be followed.
    """
    chosen = expand_sites(sites, model.n_layers)
    fine = [str(site) for site in chosen if not site.coarse]
    if fine:
        raise ValueError(f"{', '.join(fine)} cannot be recorded while decoding; capture the finished text instead")
    with Tape(model, chosen).attached() as tape:
        yield tape


def _follow(cache: Any, thread: _Thread) -> None:
    """Hear of it when rows of this one cache are selected, reordered or repeated."""

    def heard(name: str, index_of: Callable[[Any], Tensor]) -> None:
        plain = getattr(cache, name, None)
        if plain is None:
            return

        def told(argument: Any) -> Any:
            thread.move(index_of(argument))
            return plain(argument)

        setattr(cache, name, told)

    heard("batch_select_indices", lambda index: torch.as_tensor(index))
    heard("reorder_cache", lambda index: torch.as_tensor(index))
    heard("batch_repeat_interleave", lambda n: _rows_of(thread).repeat_interleave(n))


def _rows_of(thread: _Thread) -> Tensor:
    n = len(thread.last.ids) if thread.moved is None else len(thread.moved)
    return torch.arange(n, device=thread.last.ids.device)


Place = tuple[_Passage, int]


class _Books:
    """The texts that passed, each with the place of every position."""

    def __init__(self, passages: Sequence[_Passage]) -> None:
        went_on = {(id(passage.before), origin) for passage in passages for origin in passage.origins()}
        texts: dict[tuple[int, ...], list[Place]] = {}
        for passage in passages:
            for row in range(len(passage.ids)):
                if (id(passage), row) not in went_on:
                    places = _walk_back(passage, row)
                    texts[tuple(int(own.tokens[flat]) for own, flat in places)] = places
        self._texts = sorted(texts)
        self._places = texts

    def find(self, text: tuple[int, ...]) -> list[Place] | None:
        """Where each position of a text passed, also when more passed behind it that was cut off later."""
        # Texts that begin with this one are what follows it in order.
        at = bisect_left(self._texts, text)
        if at == len(self._texts) or self._texts[at][: len(text)] != text:
            return None
        return self._places[self._texts[at]][: len(text)]


def _walk_back(passage: _Passage | None, row: int) -> list[Place]:
    parts: list[list[Place]] = []
    while passage is not None:
        parts.append([(passage, int(flat)) for flat in passage.places[row]])
        row, passage = (passage.origins()[row] if passage.before is not None else row), passage.before
    return [place for part in reversed(parts) for place in part]
