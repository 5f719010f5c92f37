"""How many tokens to draft before the other model reads them.

With replaced rate r (a drafted token is overruled, independently, with probability r), k primary steps and a read that
costs c(k) steps yield (1 - (1 - r)^k) / r tokens on average, so a token costs, in primary steps,

    (k + c(k)) r / (1 - (1 - r)^k)

(the accounting of speculative decoding, Leviathan et al. 2023, arXiv 2211.17192). Under a gate that looks at both
models every round ends with a read; under any other only a round in which a gate opened in one of n rows, with open
rate o:

    c(k) = (1 - (1 - o)^(n k)) (a + b k)

The rates are counted while writing, a and b fitted to measured times: on an accelerator at small batches a read costs
about one step (b near 0); where compute is the limit it costs about k steps and drafting gains nothing (b near 1).

The length changes how long the work takes and never what is written; timings in here are no benchmark.
"""

from __future__ import annotations

import time

import numpy as np
import torch

LONGEST = 32
"""Tokens drafted at most."""
REMEMBERED = 64
"""Reads whose times are kept."""
EXPLORE = 6
"""Every so many rounds another length is tried."""
PRIOR = ((1.0, 1.0), (16.0, 1.0))
"""Lengths and times of reads before any was seen: one step, whatever the length."""


def cost(k: int, rate: float, read: float) -> float:
    """Primary steps a token when ``k`` are drafted, a share ``rate`` replaced, and a round's reading costs ``read``."""
    if rate <= 0:
        return (k + read) / k
    return (k + read) * rate / (1 - (1 - rate) ** k)


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
        self._rows, self._rounds = 1, 0
        self._reads: list[tuple[float, float]] = list(PRIOR)

    @property
    def longest(self) -> int:
        """The most tokens that :meth:`length` may ask for."""
        return self.fixed or LONGEST

    def length(self) -> int:
        """Tokens to draft next."""
        if self.fixed is not None:
            return self.fixed
        level, slope = self._read_cost()
        replaced, opened = self._replaced / self._written, min(1.0, self._opened / self._written)

        def of(k: int) -> float:
            asked = 1.0 if self._always else 1 - (1 - opened) ** (self._rows * k)
            return cost(k, replaced, asked * (level + slope * k))

        best = min(range(1, LONGEST + 1), key=of)
        self._rounds += 1
        # One length alone does not tell a fixed cost from one a token, so now and then another is tried.
        return max(1, best // 2) if self._rounds % EXPLORE == 0 else best

    def _read_cost(self) -> tuple[float, float]:
        """Steps that a read costs: those whatever its length, and those a drafted token."""
        lengths, steps = np.array(self._reads).T
        trust = np.where(np.arange(len(steps)) < len(PRIOR), 0.3, 1.0)
        slope, level = np.polyfit(lengths, steps, 1, w=trust)
        if slope < 0:
            return float(np.average(steps, weights=trust)), 0.0
        return max(0.0, float(level)), float(slope)

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

    def note(
        self, k: int, *, rows: int, written: int, replaced: int, opened: int, drafted_s: float, read_s: float | None
    ) -> None:
        """Remember one round over ``rows`` rows.

        Args:
            k: tokens drafted.
            rows: in the batch.
            written: tokens that were settled.
            replaced: how many of them the second author changed.
            opened: how many of them stood at an open gate.
            drafted_s: time that the k steps took.
            read_s: time that judging and reading took; None when nobody read.
        """
        if self.fixed is not None:
            return
        # Old rounds fade: rows grow longer and fewer, and texts end otherwise than they begin.
        self._written = 0.98 * self._written + written
        self._replaced = 0.98 * self._replaced + replaced
        self._opened = 0.98 * self._opened + opened
        self._rows = rows
        if read_s is not None and drafted_s > 0:
            self._reads = [*PRIOR, *self._reads[len(PRIOR) :][1 - REMEMBERED :], (float(k), read_s * k / drafted_s)]
