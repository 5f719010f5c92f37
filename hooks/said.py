"""What a served completion says of itself: text, why it ended, and, where the server tells, tokens and log-probs.

Ids are taken where they are certain and nowhere else: the server's own (vLLM's ``return_token_ids``), ids it writes in
place of tokens (``token_id:123``), or those of a tokenizer whose cut of the text agrees, token by token and byte by
byte, with the tokens the server lists.  Some servers list the token that ended a text, others leave it out; where it is
left out it is added, if the model has only one such token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from hooks.sample_rows import STOP

_WRITTEN_ID = re.compile(r"token_id:(\d+)")
_WRITTEN_BYTES = re.compile(r"bytes:((?:\\x[0-9a-fA-F]{2})+)")


def choices_of(answer: Mapping[str, Any], *, stops: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The samples in an answer, as plain values that JSON can hold.

    Args:
        answer: of the completions or of the chat interface.
        stops: the stop strings that were asked for.

    Returns:
        one dictionary a sample: ``text``, ``stop`` (None where the answer leaves it open), ``ids``, ``prompt_ids``,
        ``tokens`` (a text, or a list of bytes, each) and ``logp`` (nats), the last four None where it has none.
    """
    shared = answer.get("prompt_token_ids")
    listed = sorted(answer["choices"], key=lambda choice: int(choice.get("index") or 0))
    return [_choice(choice, shared, stops) for choice in listed]


def _choice(choice: Mapping[str, Any], prompt_ids: Any, stops: Sequence[str]) -> dict[str, Any]:
    tokens, logp = _tokens(choice.get("logprobs"))
    own = choice.get("prompt_token_ids")
    return {
        "text": _text(choice),
        "stop": _stop(choice, stops),
        "ids": _whole(choice.get("token_ids")),
        "prompt_ids": _whole(prompt_ids if own is None else own),
        "tokens": tokens,
        "logp": logp,
    }


def _text(choice: Mapping[str, Any]) -> str:
    """The text; of a chat its reasoning before it between think marks."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return str(choice.get("text") or "")
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    return f"<think>\n{reasoning}\n</think>\n{content}" if isinstance(reasoning, str) else str(content)


def _stop(choice: Mapping[str, Any], stops: Sequence[str]) -> str | None:
    """Why it ended: with stop strings asked for, ``stop`` alone does not say whether one of them did it."""
    why = STOP.get(str(choice.get("finish_reason")).lower())
    if why == "eos" and isinstance(choice.get("stop_reason"), str):
        return "string"
    return None if why == "eos" and stops and "stop_reason" not in choice else why


def _whole(value: Any) -> list[int] | None:
    return [int(one) for one in value] if isinstance(value, list) and value else None


def _tokens(given: Any) -> tuple[list[str | list[int]] | None, list[float | None] | None]:
    if not isinstance(given, Mapping):
        return None, None
    if isinstance(given.get("content"), list):
        entries = given["content"]
        tokens = [entry["bytes"] if entry.get("bytes") else str(entry.get("token", "")) for entry in entries]
        return tokens, [_number(entry.get("logprob")) for entry in entries]
    listed, logp = given.get("tokens"), given.get("token_logprobs")
    if isinstance(listed, list) and isinstance(logp, list) and len(listed) == len(logp):
        return [str(token) for token in listed], [_number(one) for one in logp]
    return None, None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def ids_of(choice: Mapping[str, Any], tokenizer: Any, *, eos: Sequence[int] = ()) -> list[int] | None:
    """The ids that were sampled, or None where they are not certain.

    Args:
        choice: as of :func:`choices_of`.
        tokenizer: of the model that is served, or None.
        eos: its end-of-sequence ids.

    Does not show that the server's tokenizer is this one: a text cut alike by two gives ids of the one given.
    """
    tokens, own = choice["tokens"], choice["ids"]
    if own is None and tokens:
        written = [_WRITTEN_ID.fullmatch(token) if isinstance(token, str) else None for token in tokens]
        own = [int(match[1]) for match in written if match] if all(written) else None
    if own is not None:
        return list(own)
    if tokens is None or tokenizer is None:
        return None
    cut = [int(one) for one in tokenizer(choice["text"], add_special_tokens=False).input_ids]
    ends = choice["stop"] == "eos"
    last: list[int] = []
    if ends and len(tokens) == len(cut) + 1:
        # Chat models end with tokens of their own, which need not be the tokenizer's end-of-sequence token.
        known = (*eos, *getattr(tokenizer, "all_special_ids", ()))
        last = [int(one) for one in known if _same(tokens[-1], tokenizer, int(one))][:1]
        tokens = tokens[: len(cut)] if last else tokens
    elif ends and len(eos) == 1:
        last = [int(eos[0])]
    if len(tokens) != len(cut) or (ends and not last):
        return None
    return [*cut, *last] if all(_same(token, tokenizer, one) for token, one in zip(tokens, cut)) else None


def logp_of(choice: Mapping[str, Any], ids: Sequence[int]) -> list[float]:
    """The server's log-prob of each id, NaN where it gave none; a last token it did not list has none."""
    given = choice["logp"]
    if given is None or not 0 <= len(ids) - len(given) <= 1:
        return [math.nan] * len(ids)
    known = [math.nan if one is None else float(one) for one in given]
    return known + [math.nan] * (len(ids) - len(known))


def _same(token: str | list[int], tokenizer: Any, one: int) -> bool:
    if isinstance(token, list):
        return bytes(token) in _bytes(tokenizer, one)
    match = _WRITTEN_BYTES.fullmatch(token)
    # A replacement character stands for some byte, and which one cannot be told.
    found = bytes.fromhex(match[1].replace("\\x", "")) if match else token.encode()
    return "�" not in token and found in _bytes(tokenizer, one)


def _bytes(tokenizer: Any, one: int) -> set[bytes]:
    """The bytes a token may stand for: its own name, as byte-level and as sentencepiece vocabularies spell it."""
    name = str(tokenizer.convert_ids_to_tokens(one))
    found = {name.encode(), name.replace("▁", " ").encode()}
    letters = _letters()
    if all(letter in letters for letter in name):
        found.add(bytes(letters[letter] for letter in name))
    spelled = re.fullmatch(r"<0x([0-9A-F]{2})>", name)
    return found | {bytes.fromhex(spelled[1])} if spelled else found


@lru_cache(maxsize=1)
def _letters() -> dict[str, int]:
    """Which byte each letter of a byte-level vocabulary stands for."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return {letter: byte for byte, letter in bytes_to_unicode().items()}
