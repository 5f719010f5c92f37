"""Whose texts a batch holds, told by a reader to whoever steers the model at that moment.

A reader of whole texts (:mod:`hooks.capture`, :mod:`hooks.score`) sorts them by length and pads them on the right
without a mask, which nothing causal can see.  A steering cannot guess from such a batch where a row's prompt ends, nor
which text the row is; so the reader says it.  Outside the context nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """The rows of one right-padded batch."""

    rows: tuple[int, ...]
    """Number of each text in the reader's data: which entry of per-row doses, masks and spans is its own."""
    n_prompt: tuple[int, ...]
    """Tokens of each prompt."""
    lengths: tuple[int, ...]
    """Tokens of each text; what lies beyond is padding."""
    stored: bool
    """Whether what is read goes into a store, whose key knows nothing of a steering."""


_NOW: ContextVar[Standing | None] = ContextVar("standing", default=None)


@contextmanager
def standing(
    rows: Sequence[int], n_prompt: Sequence[int], lengths: Sequence[int], *, stored: bool = False
) -> Iterator[None]:
    """Forward passes inside read these texts, padded on the right."""
    said = Standing(
        tuple(int(row) for row in rows), tuple(int(n) for n in n_prompt), tuple(int(n) for n in lengths), stored
    )
    token = _NOW.set(said)
    try:
        yield
    finally:
        _NOW.reset(token)


def told() -> Standing | None:
    """What the reader of the forward pass under way has said; None where nobody did."""
    return _NOW.get()
