"""Where a text ends: at an end-of-sequence token, at a stop string, or at the limit of length.

A stop string stays in the text, so that ids and text go on saying the same.  Ends are looked for on the host only every
few tokens when an accelerator writes, and what was written beyond an end is cut off; the result is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Written:
    """What one row became."""

    ids: list[int]
    """The new tokens, the end-of-sequence token included."""
    logp: list[float]
    """Their log-probabilities under the untempered distribution, nats."""
    stop: str
    """"eos", "length" or "string"."""


@dataclass(frozen=True)
class Ending:
    """When a text ends."""

    eos_ids: tuple[int, ...]
    strings: tuple[str, ...]
    max_new_tokens: int

    def place(self, ids: Sequence[int], tokenizer: Any, start: int = 0) -> tuple[int, str] | None:
        """How many of ``ids`` the text keeps and why it ends there, or None while it goes on.

        ``start`` says how many tokens are known not to end it.
        """
        for at in range(start, len(ids)):
            if ids[at] in self.eos_ids:
                return at + 1, "eos"
            if self.strings and self._holds_string(ids[: at + 1], tokenizer):
                return at + 1, "string"
        return (len(ids), "length") if len(ids) >= self.max_new_tokens else None

    def _holds_string(self, ids: Sequence[int], tokenizer: Any) -> bool:
        # A token is at least one byte, so a match that ends here began at most this many tokens ago.
        reach = max(len(text.encode()) for text in self.strings) + 8
        tail = tokenizer.decode(list(ids[-reach:]), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return any(text in tail for text in self.strings)


class Ends:
    """Which rows have ended, looked at seldom enough that an accelerator need not wait for its host at every token."""

    def __init__(self, ending: Ending, model: Any, n_rows: int) -> None:
        self.ending, self.tokenizer = ending, model.tokenizer
        self.ended = torch.zeros(n_rows, dtype=torch.bool)
        self.at: list[tuple[int, str] | None] = [None] * n_rows
        self.checked = 0
        self.stride = 1 if model.device.type == "cpu" or ending.strings else 8
        self.eos = torch.tensor(ending.eos_ids, dtype=torch.long, device=model.device)

    @property
    def open(self) -> bool:
        """Whether a row goes on."""
        return not bool(self.ended.all())

    def note(self, ids: Int[Tensor, "row new"], live: Int[Tensor, "live"], t: int) -> bool:
        """Look for ends among the tokens written since the last look, up to ``t``; whether one was found."""
        last = t + 1 >= self.ending.max_new_tokens
        if (t + 1) % self.stride and not last:
            return False
        start, self.checked = self.checked, t + 1
        asked = live
        if not self.ending.strings and not last:
            written = ids[:, start : t + 1]
            met = written == self.eos if self.eos.numel() == 1 else torch.isin(written, self.eos)
            if not bool(met.any()):
                return False
            asked = live[met.any(dim=1)[live]]
        found = False
        for row in asked.tolist():
            if self.at[row] is None:
                self.at[row] = self.ending.place(ids[row, : t + 1].tolist(), self.tokenizer, start)
                self.ended[row] = self.at[row] is not None
                found = found or self.at[row] is not None
        return found

    def written(self, ids: list[list[int]], logp: list[list[float]]) -> list[Written]:
        """The finished rows."""
        out = []
        for row, end in enumerate(self.at):
            assert end is not None
            out.append(Written(ids[row][: end[0]], logp[row][: end[0]], end[1]))
        return out
