"""A KV cache that grows in place: new keys are written behind the old ones instead of copying both at every token.

Transformers' own dynamic cache joins the new key to all earlier ones at every step, which for small models costs as
much as the attention.  Here a layer owns room for more tokens than it holds, and shows a view of what is filled.  Every
layer keeps all its keys; what a sliding window sees is left to the attention mask, so that rows can be repeated and
dropped in every family of plain attention.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers.cache_utils import Cache

ROOM = 16
"""Tokens that a layer makes room for at a time, at least; much more would spread small rows over too many pages."""


def growing_cache() -> Cache:
    """An empty cache for one batch of one model."""
    from transformers.cache_utils import Cache

    return Cache(layer_class_to_replicate=_layer_class())


@cache
def _layer_class() -> type:
    # Made on first use, since deriving from a class of transformers means importing it.
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):
        """Keys and values of one layer, views of the filled part of two larger tensors."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.stores: list[Tensor] = []

        def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
            """Write new keys and values behind the old, and show all."""
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            held, total = self.get_seq_length(), self.get_seq_length() + key_states.shape[-2]
            if not self.stores or total > self.stores[0].shape[-2]:
                room = total + max(ROOM, total // 16)
                self.stores = [_moved(old, new, held, room) for old, new in self._pairs(key_states, value_states)]
            for store, new in zip(self.stores, (key_states, value_states), strict=True):
                store[..., held:total, :] = new
            self.keys, self.values = (store[..., :total, :] for store in self.stores)
            return self.keys, self.values

        def _pairs(self, *new: Tensor) -> list[tuple[Tensor | None, Tensor]]:
            return list(zip((self.keys, self.values), new, strict=True))

        def batch_select_indices(self, indices: Tensor) -> None:
            """Keep these rows, in this order; a row may be named several times."""
            held = self.get_seq_length()
            if held:
                self.stores = [_picked(store, indices, held) for store in self.stores]
                self.keys, self.values = (store[..., :held, :] for store in self.stores)

        def batch_repeat_interleave(self, repeats: int) -> None:
            """Repeat every row."""
            if self.get_seq_length():
                rows = torch.arange(len(self.stores[0]), device=self.stores[0].device)
                self.batch_select_indices(rows.repeat_interleave(repeats))

        def reorder_cache(self, beam_idx: Tensor) -> None:
            """Put rows into another order."""
            self.batch_select_indices(beam_idx)

        def reset(self) -> None:
            """Forget everything."""
            super().reset()
            self.stores = []

    return GrowingLayer


def _moved(old: Tensor | None, new: Tensor, held: int, room: int) -> Tensor:
    store = new.new_empty(*new.shape[:-2], room, new.shape[-1])
    if held and old is not None:
        store[..., :held, :] = old
    return store


def _picked(store: Tensor, rows: Tensor, held: int) -> Tensor:
    out = store.new_empty(len(rows), *store.shape[1:])
    out[..., :held, :] = store[..., :held, :].index_select(0, rows)
    return out
