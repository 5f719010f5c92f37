"""How many tokens to draft before the other model reads them.

With replaced rate r (a drafted token is overruled, independently, with probability r), k primary steps and a read that
costs c(k) = a + b k steps yield (1 - (1 - r)^k) / r tokens on average, so a token costs, in primary steps,

    (k + c(k)) r / (1 - (1 - r)^k)

(the accounting of speculative decoding, Leviathan et al. 2023, arXiv 2211.17192). That is a gate that looks at both
models, where every round ends with a read. Under any other gate a round ends when m of n rows wait at an open place.
With open rate o and a share q of open places replaced, the i-th row is waited for 1 / (1 - (1 - o)^(n - i)) steps, in
which q i of n rows write in vain, so a token costs

    (T + a) / (T - W / n),    T = sum over i < m of 1 / (1 - (1 - o)^(n - i)),    W = q sum of i / (1 - (1 - o)^(n - i))

beside b, which is the same whatever m: every token that stands is read once. The rates are counted while writing, a and
b fitted to measured times: on an accelerator at small batches a read costs about one step (b near 0); where arithmetic
is the limit it costs about k steps and drafting gains nothing (b near 1).

Where a row that ends makes room for the next, that is all. The last rows are done when their slowest is: of n rows
with N tokens to go the unluckiest is replaced at about

    r + 0.7 sqrt(2 ln n) sqrt(r / N)

(the largest of n counts that scatter as Poisson's do), and there that rate stands for r above.

The length changes how long the work takes and never what is written; timings in here are no benchmark.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch

LONGEST = 32
"""Tokens drafted at most."""
REMEMBERED = 64
"""Reads whose times are kept."""
EXPLORE = 16
"""Every so many rounds another length is tried, more often while only a few reads have been seen."""
PRIOR = ((1.0, 1.0), (16.0, 1.0))
"""Lengths and times of reads before any was seen: one step, whatever the length."""


def cost(k: int, rate: float, read: float) -> float:
    """Primary steps a token when ``k`` are drafted, a share ``rate`` replaced, and a round's reading costs ``read``."""
    if rate <= 0:
        return (k + read) / k
    return (k + read) * rate / (1 - (1 - rate) ** k)


def cost_of_waiting(m: int, rows: int, opened: float, vain: float, read: float) -> float:
    """Primary steps a token when a read, of fixed cost ``read``, waits until ``m`` of ``rows`` rows are open.

    ``opened`` is the rate of open places, and ``vain`` the share of them where the drafted token is replaced.
    """
    steps = [1 / (1 - (1 - opened) ** (rows - i)) for i in range(m)]
    lost = vain * sum(i * wait for i, wait in enumerate(steps)) / rows
    left = sum(steps) - lost
    return (sum(steps) + read) / left if left > 0 else math.inf


def unluckiest(rate: float, rows: int, room: int) -> float:
    """The replaced rate to expect in the worst of ``rows`` rows that have ``room`` tokens to go."""
    return min(1.0, rate + 0.7 * math.sqrt(2 * math.log(rows)) * math.sqrt(rate / room))


class Pace:
    """The draft length in use: fixed, or the cheapest one at the rates and the times seen so far."""

    def __init__(self, draft: int | str, device: torch.device, *, always_reads: bool = True) -> None:
        """Take a fixed length or ``"auto"``.

        Args:
            draft: what was asked for.
            device: whose work is timed.
            always_reads: whether every round ends with a read, open gates or not.

        Raises:
            ValueError: for a length below 1 or another word.
        """
        if draft != "auto" and not (isinstance(draft, int) and draft >= 1):
            raise ValueError(f'draft is a number of tokens, at least 1, or "auto", not {draft!r}')
        self.fixed = draft if isinstance(draft, int) else None
        self._device, self._always = device, always_reads
        # Pseudo-counts: one token in 20 replaced, one gate in 20 open.
        self._written, self._replaced, self._opened = 20.0, 1.0, 1.0
        self._rounds = 0
        self._reads: list[tuple[float, float]] = list(PRIOR)
        self._patience = 1

    @property
    def longest(self) -> int:
        """The most tokens that :meth:`length` may ask for."""
        return self.fixed or LONGEST

    def length(self, *, rows: int, room: int, refilled: bool = False) -> int:
        """Tokens to draft next, at most, for so many rows of which the longest has ``room`` tokens to go.

        Where seats are ``refilled`` as rows end, nobody waits for the slowest and the mean rate counts.
        """
        rate = self._replaced / self._written
        worst = rate if refilled else unluckiest(rate, rows, room)
        if not self._always:
            self._patience = self._rows_to_wait_for(rows, worst)
            return self.longest
        if self.fixed is not None:
            return self.fixed
        level, slope = self._read_cost()
        best = min(range(1, LONGEST + 1), key=lambda k: cost(k, worst, level + slope * k))
        self._rounds += 1
        # One length alone does not tell a fixed cost from one a token, so now and then another is tried.
        new = self._rounds in (3, 6, 9) or self._rounds % EXPLORE == 0
        return max(1, best // 2) if new else best

    def enough(self, waiting: int) -> bool:
        """Whether to stop drafting, so many rows waiting at an open place."""
        return waiting >= self._patience

    def _rows_to_wait_for(self, rows: int, worst: float) -> int:
        # With a fixed length nothing may depend on the clock: a read then counts as one step.
        level = self._read_cost()[0] if self.fixed is None else 1.0
        opened = min(1.0, self._opened / self._written)
        # Not capped at 1: what the slowest row loses, the batch loses.
        vain = worst / opened
        waits = range(1, max(2, rows // 2 + 1))
        return min(waits, key=lambda m: cost_of_waiting(m, rows, opened, vain, level))

    def _read_cost(self) -> tuple[float, float]:
        """Steps that a read costs: those whatever its length, and those a drafted token."""
        lengths, steps = np.array(self._reads).T
        trust = np.where(np.arange(len(steps)) < len(PRIOR), 0.1, 1.0)
        trust /= trust.sum()
        length, step = float(trust @ lengths), float(trust @ steps)
        # The prior has two lengths, so their spread is never zero.
        slope = float(trust @ ((lengths - length) * (steps - step)) / (trust @ (lengths - length) ** 2))
        return (max(0.0, step - slope * length), slope) if slope >= 0 else (step, 0.0)

    def now(self) -> float:
        """The time, once the device has done what it was asked; 0 when the length is fixed and nobody waits."""
        if self.fixed is not None:
            return 0.0
        if self._device.type == "cpu":
            # Neighbours on a shared machine stretch the clock on the wall, not the work.
            return time.process_time()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def note(self, k: int, *, written: int, replaced: int, opened: int, drafted_s: float, read_s: float | None) -> None:
        """Remember one round.

        Args:
            k: tokens drafted.
            written: tokens that were settled.
            replaced: how many of them the second author changed.
            opened: how many of them stood at an open gate.
            drafted_s: time that the k steps took.
            read_s: time that the rest of the round took, reading above all; None when nobody read.
        """
        # Old rounds fade: rows grow longer and fewer, and texts end otherwise than they begin.
        self._written = 0.98 * self._written + written
        self._replaced = 0.98 * self._replaced + replaced
        self._opened = 0.98 * self._opened + opened
        if self.fixed is None and read_s is not None and drafted_s > 0:
            self._reads = [*PRIOR, *self._reads[len(PRIOR) :][1 - REMEMBERED :], (float(k), read_s * k / drafted_s)]
