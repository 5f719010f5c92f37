"""A KV cache that is cut for nothing: every row keeps the key of position p in slot p.

The attention of a token at position p over a row's text is

    softmax over j <= p of  q_p . k_j

and depends on which keys stand there, not on how they are laid out. Here slot j of a row holds the key of position j,
a forward pass writes its keys at their positions before anyone reads, and a mask shows each query the slots 0 to its
own position. So rows of different length need no padding, a row whose tail is rejected is cut by *forgetting its
length*: the dead slots lie beyond every later query until the row's own next tokens overwrite them. No key moves, rows
are cut at different places at no cost, and a sliding window means what it means without a cache.

The object offers the two methods that the attention modules of transformers ask a cache for, ``update`` and
``get_seq_length``. It serves attention only: a recurrent state cannot be cut (see :func:`hooks.reader.check_cuttable`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ROOM = 16
"""Slots by which the store grows, at least; much more would spread small rows over too many pages of memory."""


@dataclass(frozen=True)
class Aim:
    """Where one forward pass writes its keys and how far its queries look."""

    slots: Int[Tensor, "row query"]
    """For each new key its slot."""
    at: Int[Tensor, "row"]
    """The rows of the store that are written and read."""
    every: bool
    """Whether these are all of them, in order."""
    width: int
    """Slots that are shown: the longest row's positions."""
    _flat: dict[int, Int[Tensor, "row_head_query"]] = field(default_factory=dict)

    def flat(self, n_heads: int, n_slots: int) -> Int[Tensor, "row_head_query"]:
        """For each new key its place in a store laid out by row, head and slot; the same for all layers alike."""
        if n_heads not in self._flat:
            heads = torch.arange(n_heads, device=self.at.device)
            lanes = self.at[:, None] * n_heads + heads
            self._flat[n_heads] = (lanes[:, :, None] * n_slots + self.slots[:, None]).flatten()
        return self._flat[n_heads]


class Slots:
    """The keys and values of one model over the rows of a batch; what is live in it, its reader remembers."""

    is_compileable = False

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.capacity = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self._aim: Aim | None = None

    def aim(
        self,
        place: Int[Tensor, "row query"],
        real: Bool[Tensor, "row query"],
        rows: Int[Tensor, "row"] | None,
        width: int,
    ) -> None:
        """Say at which positions the next forward stands; what is not ``real`` goes to a slot that nobody reads."""
        self._reserve(width)
        at = torch.arange(len(place), device=place.device) if rows is None else rows
        self._aim = Aim(torch.where(real, place, self.capacity), at, rows is None, width)

    def update(
        self,
        key_states: Float[Tensor, "row head query d_head"],
        value_states: Float[Tensor, "row head query d_value"],
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[Float[Tensor, "row head slot d_head"], Float[Tensor, "row head slot d_value"]]:
        """Write new keys and values, and return those that the queries may see."""
        if self._aim is None:
            raise RuntimeError("a forward pass over Slots must be aimed first")
        if layer_idx not in self._layers:
            self._layers[layer_idx] = (self._blank(key_states), self._blank(value_states))
        keys, values = self._layers[layer_idx]
        return self._put(keys, key_states, self._aim), self._put(values, value_states, self._aim)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots in use by the longest row (positions are always given, so nothing depends on it)."""
        return 0 if self._aim is None else self._aim.width

    def keep(self, stay: Int[Tensor, "row"]) -> None:
        """Drop every row but these."""
        self.n_rows = len(stay)
        for layer, (keys, values) in self._layers.items():
            self._layers[layer] = (keys.index_select(0, stay), values.index_select(0, stay))

    def copy(
        self, source: Int[np.ndarray, "some"], to: Int[np.ndarray, "some"], width: int, *, of: Slots | None = None
    ) -> None:
        """Give rows ``to`` the ``width`` keys of rows ``source``, its own or another's (one may stand in both)."""
        self._reserve(width)
        for layer, pair in (of or self)._layers.items():
            for store, given in zip(self._layers[layer], pair, strict=True):
                # The right side is a copy of its own before anything is written.
                store[to, :, :width] = given[source, :, :width]

    def _put(self, store: Tensor, new: Tensor, aim: Aim) -> Tensor:
        store.flatten(0, 2).index_copy_(0, aim.flat(store.shape[1], store.shape[2]), new.flatten(0, 2))
        return store[:, :, : aim.width] if aim.every else store[aim.at, :, : aim.width]

    def _blank(self, like: Tensor) -> Tensor:
        # Zeros, not whatever memory holds: a masked slot has weight 0, and 0 times NaN is NaN.
        return like.new_zeros(self.n_rows, like.shape[1], self.capacity + 1, like.shape[3])

    def _reserve(self, width: int) -> None:
        if width <= self.capacity:
            return
        old, self.capacity = self.capacity, width + max(ROOM, width // 16)
        for layer, pair in self._layers.items():
            grown = []
            for store in pair:
                larger = store.new_empty(*store.shape[:2], self.capacity + 1, store.shape[3])
                larger[:, :, :old] = store[:, :, :old]
                larger[:, :, old:] = 0
                grown.append(larger)
            self._layers[layer] = (grown[0], grown[1])
