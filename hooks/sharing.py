"""Equal tensors of two models kept once.

Training in half precision leaves many tensors untouched to the last bit, adapters leave most, and two copies of them
need not both be held.  A tensor of the second model whose bytes equal those of the first is pointed at the first's
storage; every output stays what it was, bit for bit.  What this does not show: how much of the *unequal* tensors
changed; that is a question for :mod:`probes.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hooks.foreign import PreTrainedModel


@dataclass(frozen=True)
class Shared:
    """What sharing saved."""

    tensors: int
    """Tensors now kept once."""
    tensors_total: int
    """Tensors of the second model, tied ones counted once."""
    bytes: int
    bytes_total: int

    @property
    def fraction(self) -> float:
        """Share of the second model's bytes that need no memory of their own."""
        return self.bytes / self.bytes_total if self.bytes_total else float("nan")


def share_storage(first: PreTrainedModel, second: PreTrainedModel) -> Shared:
    """Point every tensor of ``second`` that equals the one of the same name in ``first`` at the storage of ``first``.

    Equal means equal bytes: NaN equals the same NaN, and 0.0 differs from -0.0.  Changes ``second`` in place; any
    other module tree over its old storage keeps the old tensors, so share before building one.
    """
    known = dict(first.named_parameters(remove_duplicate=False))
    tensors = size = total = 0
    own = dict(second.named_parameters())
    for name, tensor in own.items():
        bytes_here = tensor.numel() * tensor.element_size()
        total += bytes_here
        other = known.get(name)
        if other is not None and same_bytes(other, tensor):
            tensor.data = other.data
            tensors, size = tensors + 1, size + bytes_here
    return Shared(tensors, len(own), size, total)


def same_bytes(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have one dtype, device and shape, and equal bytes."""
    if a.dtype != b.dtype or a.device != b.device or a.shape != b.shape:
        return False
    # Half precision has an integer twin of its own size; comparing floats would call NaN unequal and -0.0 equal.
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return bool(torch.equal(a.detach().contiguous().view(whole), b.detach().contiguous().view(whole)))
