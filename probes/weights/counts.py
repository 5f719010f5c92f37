"""How many entries of one parameter moved, by each definition of "unchanged" (see :mod:`probes.weights.compare`).

Two bfloat16 tensors, the usual case, are compared as 16-bit integers: bit patterns numbered in order of size, so that a
difference of one is one step of the format.  Other types take the plain formulas; two different types are first both
rounded to bfloat16, so that a cast alone is no change.  Counts add up over chunks.

What it does not show: which entries mattered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16
from torch import Tensor

WIDE = {torch.float32, torch.float64}
"""Types that show changes far below what bfloat16 keeps."""
TOLERANCE = 1e-5
ETA = 1e-3
CHUNK = 1 << 19
"""Entries compared at a time: what is made of them stays in the processor's cache, and calls cost little beside it."""
_SAME_SIGN = 32767  # a difference of bit patterns that reaches this crosses zero or the sign
_ROW = 1 << 12  # entries of one dot product: short enough for one thread, and sums of sums round less


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
    """Within the relative tolerance."""
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
    binades: float = 0.0
    """Sum of the squares of the largest powers of two that are at most each base weight."""
    by_size: tuple[int, ...] = ()
    """Entries by the exponent of the size of their change, 256 numbers, where both are stored in float32 or wider."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.size + other.size,
            self.exact + other.exact,
            self.tolerance + other.tolerance,
            self.relative + other.relative,
            self.stored + other.stored,
            self.one_ulp + other.one_ulp,
            self.squares + other.squares,
            self.base_squares + other.base_squares,
            max(self.largest, other.largest),
            self.binades + other.binades,
            tuple(map(sum, zip_longest(self.by_size, other.by_size, fillvalue=0))),
        )


class Room:
    """Buffers of one thread, used again for every chunk: fresh memory costs more than the arithmetic in it."""

    def __init__(self, entries: int = CHUNK) -> None:
        self.entries = entries
        self.base = np.empty(entries, dtype=np.float32)
        self.moved = np.empty(entries, dtype=np.float32)
        self.steps = np.empty(entries, dtype=np.int16)
        self.chosen = np.empty(entries, dtype=bool)
        # Two tensors of up to eight bytes an entry, as they come from the files.
        self.read = tuple(np.empty(8 * entries, dtype=np.uint8).data for _ in range(2))


def count(
    one: Float[Tensor, "*shape"],
    other: Float[Tensor, "*shape"],
    *,
    tolerance: float = TOLERANCE,
    eta: float = ETA,
    room: Room | None = None,
) -> Counts:
    """Counts of entries by each definition of "unchanged" for a base tensor and an RL tensor.

    ``room`` holds buffers to work in; without it they are made.  It does not show which entries mattered.
    """
    if one.numel() == 0:
        return Counts()
    # Two different bfloat16 values are further apart than 2^-9 of the larger: the relative test is then equality.
    if one.dtype == other.dtype == torch.bfloat16 and eta < 2.0**-9 and tolerance >= 0:
        enough = room is not None and room.entries >= one.numel()
        return _bits(one, other, tolerance, room if room is not None and enough else Room(one.numel()))
    stored = _number(one.double() == other.double())
    one_bf16, other_bf16 = one.bfloat16(), other.bfloat16()
    if one.dtype != other.dtype:
        one, other = one_bf16, other_bf16
    base = one.float()
    difference = other.float() - base
    steps = _ordered(other_bf16) - _ordered(one_bf16)
    size = difference.abs()
    return Counts(
        size=base.numel(),
        exact=_number(steps == 0),
        tolerance=_number((other_bf16.float() - one_bf16.float()).abs() <= tolerance),
        relative=_number(size <= eta * torch.maximum(base.abs(), other.float().abs())),
        stored=stored,
        one_ulp=_number((steps == 1) | (steps == -1)),
        squares=_squares(difference.flatten().numpy()),
        base_squares=_squares(base.flatten().numpy()),
        largest=float(size.max()),
        binades=_squares(_powers(base.flatten().numpy(), np.empty(base.numel(), dtype=np.float32))),
        by_size=_exponents(difference) if {one.dtype, other.dtype} <= WIDE else (),
    )


def _bits(one: Tensor, other: Tensor, tolerance: float, room: Room) -> Counts:
    # NumPy compares and counts short integers several times faster than torch does, and each call on one thread.
    size = one.numel()
    first, second = (part.flatten().view(torch.int16).numpy() for part in (one, other))
    base, steps = _widen(first, room.base), room.steps[:size]
    base_squares = _squares(base)
    binades = _squares(_powers(base, room.moved[:size]))
    np.subtract(second, first, out=steps)
    np.abs(steps, out=steps)
    # The size of -32768 is itself in 16 bits; without a sign it is 32768.
    furthest = int(steps.view(np.uint16).max())
    if furthest == 0:
        return Counts(size, size, size, size, size, base_squares=base_squares, binades=binades)
    if furthest >= _SAME_SIGN:
        steps[:] = (_ordered(other) - _ordered(one)).flatten().abs().numpy()
    exact = size - int(np.count_nonzero(steps))
    moved, chosen = _widen(second, room.moved), room.chosen[:size]
    np.subtract(moved, base, out=moved)
    np.abs(moved, out=moved)
    return Counts(
        size=size,
        exact=exact,
        tolerance=int(np.count_nonzero(np.less_equal(moved, tolerance, out=chosen))),
        relative=exact,
        stored=exact,
        one_ulp=int(np.count_nonzero(np.equal(steps, 1, out=chosen))),
        squares=_squares(moved),
        base_squares=base_squares,
        largest=float(moved.max()),
        binades=binades,
    )


def _widen(bits: Int16[np.ndarray, " entry"], room: Float32[np.ndarray, " buffer"]) -> Float32[np.ndarray, " entry"]:
    """Bfloat16 values as float32 in a buffer, first those at even places, then those at odd ones (little endian).

    Two shifts of whole words are several times faster than a conversion, and the order does not matter to a sum.
    """
    wide, half = room[: len(bits)], len(bits) // 2
    words, out = bits[: 2 * half].view(np.uint32), wide.view(np.uint32)
    np.left_shift(words, np.uint32(16), out=out[:half])
    np.bitwise_and(words, np.uint32(0xFFFF0000), out=out[half : 2 * half])
    if len(bits) % 2:
        out[-1] = np.uint32(bits.view(np.uint16)[-1]) << np.uint32(16)
    return wide


def _squares(values: Float32[np.ndarray, " entry"]) -> float:
    """Sum of squares, the same whatever the number of threads."""
    whole = len(values) - len(values) % _ROW
    rows, rest = values[:whole].reshape(-1, _ROW), values[whole:]
    return float(np.vecdot(rows, rows).sum(dtype=np.float64)) + float(np.dot(rest, rest))


def _powers(
    values: Float32[np.ndarray, " entry"], room: Float32[np.ndarray, " entry"]
) -> Float32[np.ndarray, " entry"]:
    """The largest power of two that is at most each size, in a buffer: the exponent without sign and mantissa."""
    np.bitwise_and(values.view(np.int32), np.int32(0x7F800000), out=room.view(np.int32))
    return room


def _exponents(difference: Tensor) -> tuple[int, ...]:
    """Entries by the exponent bits of a float32 difference; the first holds zeros and what is below 1e-38."""
    bits = difference.flatten().numpy().view(np.uint32)
    return tuple(np.bincount((bits >> np.uint32(23)) & np.uint32(0xFF), minlength=256).tolist())


def _number(chosen: Tensor) -> int:
    return int(torch.count_nonzero(chosen))


def _ordered(values: Tensor) -> Tensor:
    """Bfloat16 values numbered in order of size, so that neighbours differ by one and both zeros are 0.

    In 16 bits differences may wrap round, but none that is not 0, 1 or -1 can wrap to one of these.
    """
    bits = values.contiguous().view(torch.int16)
    sign = bits >> 15
    return (bits ^ (sign & 0x7FFF)) - sign


def difference(one: Float[Tensor, "*shape"], other: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """Second minus first in float32; of two types, after both are rounded to bfloat16.

    It does not show what a cast took away.
    """
    if one.dtype != other.dtype:
        one, other = one.bfloat16(), other.bfloat16()
    return other.float() - one.float()


def finite(counts: Counts) -> bool:
    """Whether every entry of both tensors is a finite number."""
    return math.isfinite(counts.squares) and math.isfinite(counts.base_squares)
