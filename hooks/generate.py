"""Sampling from one model with a KV cache, many prompts at a time, steered or not.

What is written is a function of the prompt and of the sample's own random numbers alone (see :mod:`hooks.sampling`):
neither batch size, nor order, nor the cache, nor how many prompts stand beside it change a token.  Greedy decoding
equals Hugging Face's ``generate``.  Each prompt is read once however many samples it gets; logits are computed for the
places from which a token is chosen and no others; finished rows leave the batch.

What this does not give: identity between devices or numeric formats, nor beam search, contrastive search or penalties,
for which ``with steering.on(model): model.net.generate(...)`` is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hooks.ending import Ending, Ends, Written
from hooks.growing import growing_cache
from hooks.masks import padded_prompt
from hooks.padding import pad_left
from hooks.requests import Row, in_batches, rows_of
from hooks.rollouts import Rollouts
from hooks.sampling import check_sampling, choose, log_prob, uniforms


def generate(
    model: Any,
    prompts: Sequence[Any],
    *,
    n: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    steering: Any = None,
    template: str = "auto",
    stop: Sequence[str] | str = (),
    batch_size: int = 64,
    author: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Rollouts:
    """Let ``model`` write on from every prompt, ``n`` times.

    Args:
        model: a :class:`hooks.model.Model`.
        prompts: strings, or anything with ``id`` and ``prompt``; the random numbers of a sample belong to the problem's
            id (for a string, to its text) and to the number of the sample.
        n: samples a prompt, 0 to n - 1.
        temperature: 0 is greedy.
        top_p: nucleus sampling keeps the most probable tokens with this mass.
        max_new_tokens: length at which a text is cut off.
        seed: names the random streams.
        steering: a :class:`hooks.steer.Steering`; one alpha a row (a row is a sample, prompts in order, or a prompt)
            makes one call a sweep, adds a column ``alpha`` and allows a prompt to be given several times.
        template: "auto", "none" or "chat", see ``Model.encode``.
        stop: strings that end a text as soon as it holds one; the string stays in the text.
        batch_size: rows at a time; halved with a warning when memory runs out.
        author: written in the column ``author``; "steered" under steering and otherwise the model's role in its pair,
            or its name.
        progress: called with (samples done, samples in all).

    Returns:
        One row a sample, prompts in the order given.

    Raises:
        ValueError, TypeError: for prompts, counts or sampling options that mean nothing.
    """
    check_sampling(temperature, top_p)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    strings = (stop,) if isinstance(stop, str) else tuple(stop)
    if "" in strings:
        raise ValueError("an empty stop string would end every text at once; leave it out")
    rows = rows_of(model, prompts, n=n, template=template, repeats=steering is not None and steering.per_row)
    if steering is not None:
        steering = steering.for_rows(len(rows), n)
    ending = Ending(tuple(model.eos_ids), strings, max_new_tokens)
    loop = _Loop(model, ending, temperature, top_p, seed, steering)
    written = in_batches(rows, loop.write, batch_size=batch_size, progress=progress)
    who = author or ("steered" if steering is not None else getattr(model, "role", None) or model.name)
    rollouts = table(model, rows, written, [[who] * len(one.ids) for one in written])
    return rollouts if steering is None or not steering.per_row else rollouts.with_columns(**steering.alphas(len(rows)))


def table(model: Any, rows: Sequence[Row], written: Sequence[Written], author: Sequence[list[str]]) -> Rollouts:
    """The rollouts of rows that have been written, their text decoded in one go."""
    new = [one.ids for one in written]
    # Of an empty list some tokenizers make one empty text.
    texts = (
        model.tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False) if new else []
    )
    return Rollouts.of(
        {
            "problem": row.problem, "sample": row.sample, "model": model.name, "prompt": row.prompt,
            "prompt_ids": list(row.ids), "ids": one.ids, "text": text, "logp": one.logp, "stop": one.stop,
            "author": who,
        }
        for row, one, text, who in zip(rows, written, texts, author, strict=True)
    )  # fmt: skip


@dataclass(frozen=True)
class _Loop:
    """The decoding loop with its options; holds no state between batches."""

    model: Any
    ending: Ending
    temperature: float
    top_p: float
    seed: int
    steering: Any

    @torch.no_grad()
    def write(self, rows: list[Row]) -> list[Written]:
        """Write one batch of rows."""
        with ExitStack() as stack:
            steered = stack.enter_context(self.steering.on(self.model)) if self.steering is not None else None
            return self._write(_Batch(self.model, rows, self.ending.max_new_tokens, steered), rows)

    def _write(self, batch: _Batch, rows: list[Row]) -> list[Written]:
        length, device = self.ending.max_new_tokens, self.model.device
        u = None
        if self.temperature > 0:
            u = torch.from_numpy(np.stack([uniforms(self.seed, row.problem, row.sample, length) for row in rows]))
            u = u.to(device, dtype=torch.float32 if device.type == "mps" else torch.float64)
        ids = torch.zeros(len(rows), length, dtype=torch.long, device=device)
        logp = torch.zeros(len(rows), length, device=device)
        ends = Ends(self.ending, self.model, len(rows))
        for t in range(length):
            logits = self.model.unembed(batch.hidden)
            token = choose(logits, self.temperature, self.top_p, None if u is None else u[batch.live, t])
            ids[batch.live, t] = token
            logp[batch.live, t] = log_prob(logits, token)
            if ends.note(ids, batch.live, t):
                if not ends.open:
                    break
                batch.keep(ends.ended)
                token = ids[batch.live, t]
            if t + 1 < length:
                batch.advance(token)
        return ends.written(ids.tolist(), logp.tolist())


class _Batch:
    """The rows still being written: their cache, their mask, and the hidden state each next token is chosen from."""

    def __init__(self, model: Any, rows: list[Row], max_new_tokens: int, steered: Any) -> None:
        self.model, self.steered = model, steered
        self.rows = [row.index for row in rows]
        # Which rows are still there, on the device and, for questions that must not wait for it, on the host.
        self.live, self.there = torch.arange(len(rows), device=model.device), torch.arange(len(rows))
        self.cache = growing_cache()
        apart = steered is not None and steered.steering.rows_differ
        keys = [(row.index if apart else 0, row.ids) for row in rows]
        distinct = list(dict.fromkeys(keys))
        where = {key: at for at, key in enumerate(distinct)}
        source = torch.tensor([where[key] for key in keys], device=model.device)
        first = {key: row.index for key, row in zip(reversed(keys), reversed(rows), strict=True)}
        prompts = [ids for _, ids in distinct]
        padded = pad_left(prompts, pad_id=model.pad_id, device=model.device)
        self.seen = max(padded.lengths)
        self.mask = None
        if min(padded.lengths) < self.seen:
            real = padded.attention_mask
            self.mask = torch.cat([real, real.new_ones(len(real), max_new_tokens)], dim=1)
        self.plain = _attends_plainly(model.net.config)
        # Transformers fills the mask of this one so that a pad reads NaN; see hooks.masks.
        self.doubly_eager = model.dtype == torch.float64 and model.net.config._attn_implementation == "eager"
        if steered is not None:
            steered.follow([first[key] for key in distinct], padded.lengths)
        self.hidden = self._read(padded.input_ids, padded.position_ids)
        self.place = padded.position_ids[:, -1:]
        if steered is not None:
            steered.follow(self.rows, [len(row.ids) for row in rows], ids=[list(row.ids) for row in rows])
        if len(distinct) < len(rows):
            self._take(source)

    def advance(self, token: Tensor) -> None:
        """Read one more token a row."""
        self.place = self.place + 1
        self.seen += 1
        self.hidden = self._read(token[:, None], self.place)

    def keep(self, ended: Tensor) -> None:
        """Drop the rows that have ended, once they are so many that leaving them in costs more than moving the rest."""
        going = ~ended[self.there]
        if int((~going).sum()) * 8 < len(going):
            return
        stay = going.nonzero()[:, 0]
        self.there = self.there[stay]
        if self.steered is not None:
            self.steered.keep(stay)
        stay = stay.to(self.live.device)
        self.live = self.live[stay]
        self._take(stay)

    def _take(self, index: Tensor) -> None:
        self.cache.batch_select_indices(index)
        self.hidden, self.place = self.hidden[index], self.place[index]
        if self.mask is not None:
            self.mask = self.mask[index]

    def _read(self, ids: Tensor, places: Tensor) -> Tensor:
        mask: Any = None if self.mask is None else self.mask[:, : self.seen]
        if mask is not None and self.plain and ids.shape[1] == 1:
            # A single query sees every real key; handing that over spares the model working it out at every step.
            mask = mask[:, None, None, :].bool()
        elif mask is not None and self.doubly_eager and not self.cache.get_seq_length():
            mask = padded_prompt(self.model, mask)
        hidden: Tensor = self.model.net.base_model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        return hidden[:, -1]


def _attends_plainly(config: Any) -> bool:
    """Whether every layer takes one boolean mask, with no windows."""
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    alibi = getattr(config, "alibi", False) or config.model_type in ("bloom", "mpt")
    return (
        config._attn_implementation == "sdpa"
        and not kinds
        and not getattr(config, "sliding_window", None)
        and not alibi
    )
