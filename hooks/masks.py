"""Who sees whom: attention masks over chosen places, in the form that a model's attention takes.

A fused attention takes truth values.  An eager one adds its mask to the scores and sums the softmax in float32 whatever
the weights are in: the least float64 is minus infinity there, a query that sees nothing (a pad on the left) reads NaN,
and its values reach every later query as zero times NaN.  So masks built here are filled with a number that float32
holds, and let every query see something.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def windows_of(config: Any) -> dict[str, int | None]:
    """For each kind of layer how far back it looks; None is all the way."""
    window = getattr(config, "sliding_window", None)
    kinds = dict.fromkeys(getattr(config, "layer_types", None) or ())
    if kinds:
        return {kind: window if kind == "sliding_attention" else None for kind in kinds}
    return {"every": window}


def ready(model: Any, kinds: dict[str, Bool[Tensor, "row 1 query slot"]]) -> Tensor | dict[str, Tensor]:
    """What each kind of layer may see, as this model's attention takes it: one mask, or one a kind."""
    masks = {kind: _added(model, shown) for kind, shown in kinds.items()}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def padded_prompt(model: Any, real: Int[Tensor, "row pos"]) -> Tensor | dict[str, Tensor]:
    """The mask of left-padded prompts that are read in one piece; a pad sees itself and is seen by nobody else."""
    slot = torch.arange(real.shape[1], device=real.device)
    causal = (slot <= slot[:, None]) & real[:, None].bool()
    own = torch.eye(len(slot), dtype=torch.bool, device=real.device)
    kinds = {}
    for kind, window in windows_of(model.net.config).items():
        near = causal if window is None else causal & (slot > slot[:, None] - window)
        kinds[kind] = (near | own)[:, None]
    return ready(model, kinds)


def _added(model: Any, shown: Tensor) -> Tensor:
    if model.net.config._attn_implementation != "eager":
        return shown
    least = torch.finfo(torch.float32 if model.dtype == torch.float64 else model.dtype).min
    return torch.zeros_like(shown, dtype=model.dtype).masked_fill(~shown, least)
