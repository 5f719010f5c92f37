"""A name for weights: the SHA-256 of every tensor, its name, dtype and shape.

Weights that were widened on loading are hashed as they were stored, so that a checkpoint has one hash on every
device.  Equal hashes mean equal weights; unequal ones do not say how far apart they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def raw_bytes(tensor: Tensor) -> Tensor:
    """View a tensor's memory as bytes on the CPU, so that NaN and the sign of zero count."""
    return tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8)


def hash_tensors(tensors: Mapping[str, Tensor], *, stored_dtype: torch.dtype) -> str:
    """Hash tensors in the order of their names.

    Args:
        tensors: a state, by name.
        stored_dtype: what the checkpoint holds; a floating tensor that it represents exactly is hashed in it.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        if tensor.is_floating_point() and tensor.dtype != stored_dtype:
            narrow = tensor.to(stored_dtype)
            if torch.equal(narrow.to(tensor.dtype), tensor):
                tensor = narrow
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(raw_bytes(tensor).numpy().data)
    return digest.hexdigest()
