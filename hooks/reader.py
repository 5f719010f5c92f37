"""One model that reads the rows of a batch as they grow, forgets what was cut, and catches up when it is asked.

Rows are written into one table of ids, position p of a row in column p. A reader keeps for every row how many of its
tokens it holds keys for. Reading up to length n feeds positions held .. n-1 of every row in one forward pass; rows that
lack fewer tokens than the longest read their last tokens once more, which writes the same keys into the same slots.
Cutting a row is lowering that count (see :mod:`hooks.slots`). So a reader that was idle for a hundred tokens and one
that was asked at every token give the same logits, up to the rounding of differently shaped matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.masks import ready, windows_of
from hooks.placed import Placed
from hooks.shift import PlacedShift
from hooks.sites import Site
from hooks.slots import Slots

Lengths = Int[np.ndarray, " some"]
"""A number of tokens for each row asked about, or the rows' numbers."""


class Reader:
    """A model with its own keys for every row of a batch."""

    def __init__(
        self,
        model: Any,
        limits: Lengths,
        cut: Callable[[Tensor], Tensor],
        *,
        steering: Placed | PlacedShift | None = None,
        shared: Slots | None = None,
    ) -> None:
        """Start with no token read.

        Args:
            model: who reads.
            limits: of each row the most tokens that will ever be read; what is asked beyond is not read, and what is
                returned for it means nothing.
            cut: takes logits to the ids that both models of the pair have.
            steering: what is done to the model while it reads.
            shared: the keys of another reader of the same model, which this one reads and overwrites.
        """
        check_cuttable(model)
        self.model, self.cut, self.steering, self.limits = model, cut, steering, limits
        self.slots = shared or Slots(len(limits))
        self._shares = shared is not None
        self.held = np.zeros_like(limits)
        self._windows = windows_of(model.net.config)

    def prefill(self, text: Int[Tensor, "some pos"], lengths: Lengths, source: Int[np.ndarray, " row"]) -> None:
        """Read the first ``lengths`` tokens of each distinct row once, then hold row ``source[i]`` of them as row i."""
        limits = self.limits
        self.slots, self.held, self.limits = Slots(len(lengths)), np.zeros_like(lengths), np.maximum(1, lengths)
        if lengths.max() > 0:
            self._forward(text, lengths, None)
        self.limits = limits
        self.slots.keep(torch.as_tensor(source, device=text.device))
        self.held = lengths[source]

    def read(
        self,
        text: Int[Tensor, "row pos"],
        upto: Lengths,
        *,
        last: int,
        rows: Lengths | None = None,
        site: Site | None = None,
        chosen: tuple[Int[np.ndarray, " place"], Int[np.ndarray, " place"]] | None = None,
    ) -> tuple[Float[Tensor, "... vocab"], Float[Tensor, "some last d_model"] | None]:
        """Read on and say what may come next.

        Args:
            text: ids, position p of a row in column p.
            upto: for each row (of ``rows``) how many tokens to have read afterwards.
            last: for how many of the last positions to return logits; every row has at least so many tokens.
            rows: which rows to read, all when None; the others stay as they are.
            site: where the activations at those positions are returned as well.
            chosen: places to return logits for and no others: of each its row (of ``rows``), and how many positions it
                stands before the row's last.

        Returns:
            Logits of the tokens that follow the last ``last`` positions, over the common ids, ``[row, last, vocab]``,
            or of the ``chosen`` ones, ``[place, vocab]``; and the activations.
        """
        hidden, seen = self._forward(text, upto, rows, last=last, site=site)
        wanted = hidden[:, -last:]
        if chosen is not None:
            row, back = (torch.as_tensor(own, device=hidden.device) for own in chosen)
            wanted = hidden[row, hidden.shape[1] - 1 - back]
        return self.cut(self.model.unembed(wanted)), None if seen is None else seen[:, -last:]

    def cut_back(self, lengths: Lengths) -> None:
        """Forget every row's tokens beyond ``lengths``."""
        np.minimum(self.held, lengths, out=self.held)

    def seat(self, at: Lengths, like: Lengths, index: Sequence[int], *, n_prompt: Lengths, limits: Lengths) -> None:
        """Begin new texts in the rows ``at``, of which nothing is read but what another row can give.

        Args:
            at: the rows.
            like: for each a row that began with the same prompt until now (perhaps itself), or -1.
            index: the new texts' numbers.
            n_prompt: tokens of their prompts.
            limits: the most tokens of them that will ever be read.
        """
        self.limits[at] = limits
        if self.steering is not None:
            self.steering.seat(at, index, n_prompt)
        given = (like >= 0) & (self.steering is None) & (not self._shares)
        held = np.where(given, np.minimum(self.held[like], n_prompt - 1), 0)
        moved = given & (like != at) & (held > 0)
        if moved.any():
            self.slots.copy(like[moved], at[moved], int(held[moved].max()))
        self.held[at] = held

    def catch_up(self, text: Int[Tensor, "row pos"], upto: Lengths, rows: Lengths) -> None:
        """Read some rows up to a length, those of them that lack anything, and say nothing."""
        lacks = self.held[rows] < upto
        if lacks.any():
            asked = None if lacks.sum() == len(self.held) else rows[lacks]
            self._forward(text, upto[lacks], asked)

    def take_over(self, at: Lengths, other: Reader, source: Lengths) -> None:
        """Hold in the rows ``at`` what another reader of the same model has read in its rows ``source``."""
        self.held[at] = other.held[source]
        self.slots.copy(source, at, int(self.held[at].max()), of=other.slots)

    def keep(self, stay: Int[np.ndarray, " stay"], there: Int[Tensor, " stay"]) -> None:
        """Drop every row but these; ``there`` is ``stay`` on the device."""
        self.held, self.limits = self.held[stay], self.limits[stay]
        if self.steering is not None:
            self.steering.keep(stay)
        if not self._shares:
            self.slots.keep(there)

    def _forward(
        self, text: Tensor, upto: Lengths, rows: Lengths | None, *, last: int = 1, site: Site | None = None
    ) -> tuple[Tensor, Tensor | None]:
        held, limits = (self.held, self.limits) if rows is None else (self.held[rows], self.limits[rows])
        columns = max(last, int((upto - held).max()))
        # Worked out on the host, where it costs next to nothing, and sent in one piece.
        at = upto[:, None] - columns + np.arange(columns)
        outside = (at < 0) | (at >= limits[:, None])
        at = np.minimum(at.clip(min=0), limits[:, None] - 1)
        both = torch.from_numpy(np.stack([at, outside])).to(text.device)
        place, real = both[0], both[1] == 0
        which = None if rows is None else torch.as_tensor(rows, device=text.device)
        width = int(np.minimum(upto, limits).max())
        self.slots.aim(place, real, which, width)
        ids = (text if which is None else text[which]).gather(1, place)
        caught: list[Tensor] = []
        with ExitStack() as stack:
            if site is not None:
                stack.enter_context(self.model.watch([site], lambda _, value: caught.append(value)))
            if self.steering is not None:
                stack.enter_context(self.steering.during(text, rows, place, real))
            hidden = self.model.net.base_model(
                input_ids=ids,
                attention_mask=self._mask(place, width),
                position_ids=place,
                past_key_values=self.slots,
                use_cache=True,
            ).last_hidden_state
        self.held[slice(None) if rows is None else rows] = np.minimum(upto, limits)
        return hidden, caught[0] if caught else None

    def _mask(self, place: Int[Tensor, "row query"], width: int) -> Tensor | dict[str, Tensor]:
        slot = torch.arange(width, device=place.device)
        causal = (slot <= place[:, :, None])[:, None]
        kinds = {
            kind: causal if window is None else causal & (slot > place[:, None, :, None] - window)
            for kind, window in self._windows.items()
        }
        return ready(self.model, kinds)


def check_cuttable(model: Any) -> None:
    """Refuse a model whose memory of the text cannot be cut at any token.

    Raises:
        ValueError: for recurrent and chunked layers, for encoder-decoders, and for attention biased by a padding mask.
    """
    config, name = model.net.config, model.name
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds or getattr(model.net, "_is_stateful", False) or config.is_encoder_decoder:
        what = ", ".join(sorted(kinds)) or "a recurrent state"
        raise ValueError(f"{name} has {what} and its memory cannot be cut at a token; mixing needs plain attention")
    if getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt"):
        raise ValueError(f"{name} counts distances over a padding mask (ALiBi); mixing needs explicit position ids")
