"""How many entries of one parameter moved, by each definition of "unchanged" (see :mod:`probes.weights.compare`).

Two bfloat16 tensors, the usual case, are compared as 16-bit integers: bit patterns numbered in order of size, so that a
difference of one is one step of the format.  Other types take the plain formulas.  Counts add up over chunks.

What it does not show: which entries mattered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCE = 1e-5
ETA = 1e-3
_SAME_SIGN = 32767  # a difference of bit patterns that reaches this crosses zero or the sign


@dataclass(frozen=True)
class Counts:
    """Entry counts of one pair of tensors; they add up over chunks."""

    size: int = 0
    """Entries."""
    exact: int = 0
    """Equal after rounding to bfloat16."""
    tolerance: int = 0
    """Within the absolute tolerance after rounding to bfloat16."""
    relative: int = 0
    """Within the relative tolerance as stored."""
    stored: int = 0
    """Equal as stored."""
    one_ulp: int = 0
    """One bfloat16 step apart."""
    squares: float = 0.0
    """Sum of squared differences."""
    base_squares: float = 0.0
    """Sum of squared base weights."""
    largest: float = 0.0
    """Largest difference."""

    def __add__(self, other: Counts) -> Counts:
        added = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        return Counts(**added | {"largest": max(self.largest, other.largest)})


def count(
    one: Float[Tensor, "*shape"],
    other: Float[Tensor, "*shape"],
    *,
    tolerance: float = TOLERANCE,
    eta: float = ETA,
) -> Counts:
    """Counts of entries by each definition of "unchanged" for a base tensor and an RL tensor.

    It does not show which entries mattered.
    """
    base = one.float()
    difference = other.float() - base
    # Two different bfloat16 values are further apart than 2^-9 of the larger: the relative test is then equality.
    if one.dtype == other.dtype == torch.bfloat16 and eta < 2.0**-9 and tolerance >= 0:
        return _bits(one, other, base, difference, tolerance)
    one_bf16, other_bf16 = one.bfloat16(), other.bfloat16()
    steps = _ordered(other_bf16) - _ordered(one_bf16)
    size = difference.abs()
    return Counts(
        size=base.numel(),
        exact=_number(steps == 0),
        tolerance=_number((other_bf16.float() - one_bf16.float()).abs() <= tolerance),
        relative=_number(size <= eta * torch.maximum(base.abs(), other.float().abs())),
        stored=_number(one.double() == other.double()),
        one_ulp=_number((steps == 1) | (steps == -1)),
        **_sizes(base, difference),
    )


def _bits(one: Tensor, other: Tensor, base: Tensor, difference: Tensor, tolerance: float) -> Counts:
    # NumPy compares and counts short integers several times faster than torch does.
    first, second = (part.contiguous().view(torch.int16).numpy() for part in (one, other))
    steps = second - first
    if steps.size and (steps.max() >= _SAME_SIGN or steps.min() <= -_SAME_SIGN):
        steps = (_ordered(other) - _ordered(one)).numpy()
    exact = int(np.count_nonzero(steps == 0))
    moved = np.abs(difference.numpy())
    return Counts(
        size=base.numel(),
        exact=exact,
        tolerance=int(np.count_nonzero(moved <= tolerance)),
        relative=exact,
        stored=exact,
        one_ulp=int(np.count_nonzero(steps == 1)) + int(np.count_nonzero(steps == -1)),
        **_sizes(base, difference),
    )


def _sizes(base: Tensor, difference: Tensor) -> dict[str, float]:
    flat, base = difference.flatten(), base.flatten()
    low, high = torch.aminmax(flat) if flat.numel() else (flat.sum(), flat.sum())
    return {
        "squares": float(flat @ flat), "base_squares": float(base @ base),
        "largest": max(-float(low), float(high)),
    }  # fmt: skip


def _number(chosen: Tensor) -> int:
    return int(torch.count_nonzero(chosen))


def _ordered(values: Tensor) -> Tensor:
    """Bfloat16 values numbered in order of size, so that neighbours differ by one and both zeros are 0.

    In 16 bits differences may wrap round, but none that is not 0, 1 or -1 can wrap to one of these.
    """
    bits = values.contiguous().view(torch.int16)
    sign = bits >> 15
    return (bits ^ (sign & 0x7FFF)) - sign


def finite(counts: Counts) -> bool:
    """Whether every entry of both tensors is a finite number."""
    return math.isfinite(counts.squares) and math.isfinite(counts.base_squares)
