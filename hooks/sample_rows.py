"""What every reader of foreign samples needs: a JSON object out of a text, a row out of what it says of a sample."""

from __future__ import annotations

import json
import math
from typing import Any

STOP = {
    "eos": "eos", "stop": "eos", "end_turn": "eos", "length": "length", "max_tokens": "length", "string": "string",
    "stop_sequence": "string", "model_length": "length",
}  # fmt: skip
"""Reasons for ending as other programs call them."""


def parsed(text: str, where: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: for anything else, naming ``where`` it stands.
    """
    try:
        entry = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{where} holds a {type(entry).__name__}, not an object with fields")
    return entry


def row_of(problem: Any, prompt: str, text: str, **known: Any) -> dict[str, Any]:
    """One row of a table of rollouts, without its author; what is not known is missing."""
    ids, logp = known.get("ids") or [], known.get("logp")
    stop = known.get("stop")
    return {
        "problem": str(problem), "sample": known.get("sample"), "model": known.get("model"), "prompt": prompt,
        "prompt_ids": known.get("prompt_ids") or [], "ids": ids, "text": text,
        "logp": [math.nan] * len(ids) if logp is None else logp, "correct": known.get("correct"),
        "answer": None if known.get("answer") is None else str(known["answer"]),
        "stop": None if stop is None else STOP.get(str(stop).lower()),
    }  # fmt: skip
