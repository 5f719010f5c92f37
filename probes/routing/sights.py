"""What a gate would see along texts that are already written: both models read them, nothing is written.

Decoding shows a gate a few positions of many rows at a time; this shows it whole texts, with the same facts at each
place, so that a threshold can be set, a probe fitted and a router trained on what the gate will meet. What it does not
show: the text that a gate would itself bring about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
import torch

from hooks.gate import Gate, Sight
from hooks.model import Model
from hooks.packing import by_length, pad_right
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.streams import stream

Half = Literal["base", "rl"]
_Row = tuple[int, list[int], int]
"""Place of a text in the rollouts, its ids, and how many of them are the prompt."""


def sights(
    gate: Gate, pair: Pair, text: Rollouts, *, primary: Half = "base", batch_tokens: int = 4096, seed: int = 0
) -> Iterator[tuple[Sight, pd.DataFrame]]:
    """Read texts batch by batch as a gate would: what may be seen, and a row a place.

    Args:
        gate: says whose logits and which activation are shown; its score is not asked.
        pair: whose models read.
        text: any texts of either.
        primary: which half writes where the gate is closed.
        batch_tokens: padded tokens read at a time.
        seed: of the uniform numbers.

    Yields:
        a sight, and a table whose rows are its positions: ``text`` (place in the rollouts), ``problem``, ``sample``,
        ``index`` (0 for the first generated token), ``id`` (the token that stands there).
    """
    writer, other = (pair.base, pair.rl) if primary == "base" else (pair.rl, pair.base)
    sequences = text.sequences()
    names = list(zip(text.frame["problem"], text.frame["sample"], strict=True))
    for batch in by_length([len(ids) for ids, _ in sequences], batch_tokens):
        rows = [(int(row), *sequences[row]) for row in batch if len(sequences[row][0]) > sequences[row][1]]
        if rows:
            with torch.no_grad():
                seen = _sight(gate, pair, writer, other, rows, names, seed)
            yield seen, _places(rows, names)


def _places(rows: list[_Row], names: list[tuple[str, int]]) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "text": row, "problem": names[row][0], "sample": names[row][1],
                "index": np.arange(len(ids) - n_prompt), "id": ids[n_prompt:],
            }
        )
        for row, ids, n_prompt in rows
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _sight(
    gate: Gate,
    pair: Pair,
    writer: Model,
    other: Model,
    rows: list[_Row],
    names: list[tuple[str, int]],
    seed: int,
) -> Sight:
    ids = pad_right([np.asarray(own, dtype=np.int64) for _, own, _ in rows], writer.pad_id).to(writer.device)
    # A token is chosen from the place before it: the last prompt token chooses the first generated one.
    chosen = [np.arange(n_prompt - 1, len(own) - 1) for _, own, n_prompt in rows]
    lines = np.repeat(np.arange(len(rows)), [len(at) for at in chosen])
    index = np.concatenate([np.arange(len(at)) for at in chosen])
    line = torch.from_numpy(lines).to(writer.device)
    column = torch.from_numpy(np.concatenate(chosen)).to(writer.device)
    seen: list[torch.Tensor] = []
    if gate.site is None:
        hidden = _read(writer, ids)
    else:
        with writer.watch([gate.site], lambda site, value: seen.append(value[line, column])):
            hidden = _read(writer, ids)
    logits = pair.cut(writer.unembed(hidden[line, column]))
    rival = None
    if gate.needs == "both":
        read = _read(other, ids.to(other.device))
        at = (line.to(other.device), column.to(other.device))
        rival = pair.cut(other.unembed(read[at])).to(logits.device)
    uniform = np.concatenate(
        [stream(seed, "budget", *names[row]).random(len(at)) for (row, _, _), at in zip(rows, chosen, strict=True)]
    )

    def context(position: int) -> list[int]:
        _, own, n_prompt = rows[lines[position]]
        return [int(token) for token in own[n_prompt : n_prompt + index[position]]]

    return Sight(
        primary_logits=logits,
        other_logits=rival,
        index=torch.from_numpy(index).to(logits.device),
        uniform=torch.from_numpy(uniform).to(logits.device),
        hidden=seen[0] if seen else None,
        last_ids=ids[line, column],
        row=line,
        samples=[(str(names[row][0]), int(names[row][1])) for row, _, _ in rows],
        context=context,
    )


def _read(model: Model, ids: torch.Tensor) -> torch.Tensor:
    """Final hidden states; padding on the right is invisible to a causal model, so there is no mask."""
    places_of = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    hidden: torch.Tensor = model.backbone(
        input_ids=ids, attention_mask=None, position_ids=places_of, past_key_values=None, use_cache=False
    )
    return hidden
