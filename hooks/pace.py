"""How many tokens to draft before the other model reads them.

With routed rate r (a drafted token is replaced, independently, with probability r), k primary steps and one read that
costs c(k) steps yield (1 - (1 - r)^k) / r tokens on average, so a token costs, in primary steps,

    (k + c(k)) r / (1 - (1 - r)^k)

(the accounting of speculative decoding, Leviathan et al. 2023, arXiv 2211.17192). The rate is counted while writing and
c(k) = a + b k is fitted to measured times: on an accelerator at small batches a read costs about one step (b near 0);
where compute is the limit it costs about k steps and drafting gains nothing (b near 1).

The length changes how long the work takes and never what is written; timings in here are no benchmark.
"""

from __future__ import annotations

import time

import numpy as np
import torch

LONGEST = 32
"""Tokens drafted at most."""


def cost(k: int, rate: float, read: float) -> float:
    """Primary steps a token when ``k`` are drafted, a share ``rate`` replaced, and a read costs ``read`` steps."""
    if rate <= 0:
        return (k + read) / k
    return (k + read) * rate / (1 - (1 - rate) ** k)


class Pace:
    """The draft length in use: fixed, or the cheapest one at the rate and the times seen so far."""

    def __init__(self, draft: int | str, device: torch.device) -> None:
        """Take a fixed length or ``"auto"``.

        Raises:
            ValueError: for anything else.
        """
        if draft != "auto" and not (isinstance(draft, int) and draft >= 1):
            raise ValueError(f'draft is a number of tokens, at least 1, or "auto", not {draft!r}')
        self.fixed = draft if isinstance(draft, int) else None
        self._device = device
        # Pseudo-counts: one replacement in 20 tokens, and reads that cost one step whatever their length.
        self._replaced, self._written = 1.0, 20.0
        self._seen: list[tuple[float, float]] = [(1.0, 1.0), (16.0, 1.0)]

    @property
    def longest(self) -> int:
        """The most tokens that :meth:`length` may ask for."""
        return self.fixed or LONGEST

    def length(self) -> int:
        """Tokens to draft next."""
        if self.fixed is not None:
            return self.fixed
        lengths, reads = np.array(self._seen).T
        slope, level = np.polyfit(lengths, reads, 1)
        slope, level = max(0.0, float(slope)), max(0.0, float(level))
        rate = self._replaced / self._written
        return min(range(1, LONGEST + 1), key=lambda k: cost(k, rate, level + slope * k))

    def now(self) -> float:
        """The time, once the device has done what it was asked; 0 when the length is fixed and nobody waits."""
        if self.fixed is not None:
            return 0.0
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def note(self, k: int, *, written: int, replaced: int, drafted_s: float, read_s: float) -> None:
        """Remember one round: ``k`` steps took ``drafted_s``, what followed took ``read_s``."""
        if self.fixed is not None:
            return
        # Old rounds fade: rows grow longer and fewer, and texts end otherwise than they begin.
        self._replaced = 0.98 * self._replaced + replaced
        self._written = 0.98 * self._written + written
        if drafted_s > 0:
            self._seen = [*self._seen[-62:], (float(k), read_s * k / drafted_s)]
            self._seen[:2] = [(1.0, 1.0), (16.0, 1.0)] if len(self._seen) < 8 else self._seen[:2]
