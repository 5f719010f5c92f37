"""Batches by length: which sequences travel together, padded on the right, and what happens when memory ends.

Under a causal mask nothing to the left can see padding on the right, so right-padded batches need no attention mask:
the fused causal kernel runs, and every real position reads what it would read alone (up to the rounding of a kernel's
block sizes).  Sequences are sorted by length first, so that little is padding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

CPU_TOKENS = 2048
"""Padded tokens a batch on a CPU, where larger batches only leave the caches."""
DEVICE_TOKENS = 16384
"""Padded tokens a batch on an accelerator."""


def by_length(lengths: Sequence[int] | Int[np.ndarray, " sequence"], batch_tokens: int) -> list[Int[np.ndarray, " _"]]:
    """Group sequences of like length so that no batch has more than ``batch_tokens`` padded tokens.

    The longest come first, so that memory is tested at once; within a batch the order of the data is kept.  A sequence
    longer than ``batch_tokens`` travels alone.  The result depends on the lengths only.

    Raises:
        ValueError: when ``batch_tokens`` is not positive.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens is a number of tokens and cannot be {batch_tokens}")
    sizes = np.asarray(lengths, dtype=np.int64)
    batches: list[list[int]] = []
    room = 0
    for row in np.argsort(-sizes, kind="stable"):
        if not batches or len(batches[-1]) >= room:
            batches.append([])
            room = max(1, batch_tokens // max(1, int(sizes[row])))
        batches[-1].append(int(row))
    return [np.array(sorted(batch), dtype=np.int64) for batch in batches]


def pad_right(ids: Sequence[Int[np.ndarray, " _"]], pad_id: int) -> Int[Tensor, "batch pos"]:
    """Stack unpadded ids into one tensor, padded on the right."""
    longest = max(len(row) for row in ids)
    out = np.full((len(ids), longest), pad_id, dtype=np.int64)
    for row, own in enumerate(ids):
        out[row, : len(own)] = own
    return torch.from_numpy(out)


def tokens_a_batch(asked: int | None, device: torch.device) -> int:
    """The batch size in padded tokens: what was asked, or what suits the device."""
    return asked or (CPU_TOKENS if device.type == "cpu" else DEVICE_TOKENS)


def halving(work: Callable[[Int[np.ndarray, " _"]], None], batch: Int[np.ndarray, " _"]) -> None:
    """Run ``work`` on a batch; when the device's memory ends, say so and run its halves.

    ``work`` must be repeatable: its first half may be done twice.

    Raises:
        torch.OutOfMemoryError: when a single sequence does not fit.
    """
    try:
        work(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
        warnings.warn(f"out of memory with {len(batch)} sequences in a batch: halving it", stacklevel=2)
    else:
        return
    # Outside the handler, so that the failed attempt's tensors are no longer held by its traceback.
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    halving(work, batch[:middle])
    halving(work, batch[middle:])
