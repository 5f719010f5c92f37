"""Rows of ids of different length as one left-padded batch, with the mask and the positions it needs.

A padded batch without its mask is silently wrong, and one without position ids is wrong for learned positions; so the
three travel together and every public entry point of the package takes unpadded rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """A left-padded batch: the last column holds every row's last token."""

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    """1 at tokens, 0 at pads."""
    position_ids: Int[Tensor, "batch pos"]
    """0 at each row's first token (and at pads, where nothing looks)."""
    lengths: tuple[int, ...]
    """Tokens of each row."""

    def inputs(self) -> dict[str, Tensor]:
        """Return the three tensors under the names that models take."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
        }


def pad_left(
    rows: Sequence[Sequence[int] | Int[np.ndarray, " pos"]], *, pad_id: int, device: str | torch.device = "cpu"
) -> Padded:
    """Pad rows of ids on the left to the longest of them.

    Raises:
        ValueError: for no rows, or an empty row (a model needs at least one token to read).
    """
    lengths = tuple(len(row) for row in rows)
    if not lengths or min(lengths) == 0:
        raise ValueError("a batch needs at least one row and every row at least one token")
    width = max(lengths)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, width - lengths[index] :] = row
    positions = np.arange(width) - (width - np.array(lengths)[:, None])
    return Padded(
        torch.from_numpy(ids).to(device),
        torch.from_numpy((positions >= 0).astype(np.int64)).to(device),
        torch.from_numpy(positions.clip(min=0)).to(device),
        lengths,
    )


def real_places(mask: Any, shape: Sequence[int], past: int, device: torch.device) -> Bool[Tensor, "batch pos"]:
    """Which places of cache and new tokens hold a token, from any form of attention mask.

    Raises:
        ValueError: for a mask of another shape, or one that does not show the pads.
    """
    batch, new = int(shape[0]), int(shape[1])
    if isinstance(mask, Mapping):
        if mask.get("full_attention") is None and any(value is not None for value in mask.values()):
            raise ValueError("a mask for sliding windows alone does not show the pads; pass a 2-D attention_mask")
        mask = mask.get("full_attention")
    if mask is None:
        return torch.ones(batch, past + new, dtype=torch.bool, device=device)
    if mask.ndim == 4:
        # The last query sees every real key.
        last = mask[:, 0, -1, : past + new]
        return (last if last.dtype == torch.bool else last == 0).expand(batch, -1)
    if mask.ndim != 2 or mask.shape[1] < past + new:
        raise ValueError(
            f"the attention_mask has shape {tuple(mask.shape)} where {past} cached and {new} new tokens need "
            f"({batch}, {past + new})"
        )
    return mask[:, : past + new].bool()
