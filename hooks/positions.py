"""At which tokens: causal rules that mean the same with and without a cache, padded or alone.

A rule looks at a sequence of ids and at ``n_prompt``, the number of ids that were given rather than generated, and
says for every position whether it is chosen.  Whether position ``t`` is chosen depends on ``ids[: t + 1]`` and
``n_prompt`` only, never on padding, on the batch or on what comes later; so

    select(ids[:m]) == select(ids)[:m]    and    step(ids) == select(ids)[-1].

Mind the place of a choice: the token at position ``t`` is chosen from the activations at ``t - 1``.  The first
generated token is therefore chosen at the *last prompt position*, which :meth:`Positions.generated` includes and
:meth:`Positions.completion` does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from hooks.foreign import Tokenizer

Ids = Sequence[int] | Int[np.ndarray, " pos"]
"""Token ids of one unpadded sequence."""

_WRITABLE = {
    **dict.fromkeys(("all", "prompt", "last_prompt", "generated", "completion"), 0),
    "first": 1,
    "every": 1,
    "window": 2,
}
"""Rules that can be written as text, and how many numbers each takes."""

REACH = 64
"""Tokens that a regular expression of :meth:`Positions.after` can look back over."""


@dataclass(frozen=True)
class _Sight:
    """What a rule may look at when it judges the positions ``at``."""

    at: Int[np.ndarray, " chosen"]
    ids: Ids
    n_prompt: int
    tokenizer: Tokenizer | None
    row: int


@dataclass(frozen=True)
class Positions:
    """A causal rule for choosing token positions; build one with the class methods, join them with ``&``, ``|``, ``~``.

    Its text (``str``) can be read back by :meth:`parse` for every rule that has no data in it.
    """

    rule: str
    """Name of the rule, the class method that builds it, or ``and``, ``or``, ``not``."""
    arguments: tuple[Any, ...] = ()
    """What the rule needs, hashable, in the order of its class method."""

    @classmethod
    def all(cls) -> Positions:
        """Every position."""
        return cls("all")

    @classmethod
    def prompt(cls) -> Positions:
        """The positions of the prompt's own tokens."""
        return cls("prompt")

    @classmethod
    def last_prompt(cls) -> Positions:
        """The prompt's last position, from which the first generated token is chosen."""
        return cls("last_prompt")

    @classmethod
    def generated(cls) -> Positions:
        """The places from which generated tokens are chosen: the prompt's last position and all after it."""
        return cls("generated")

    @classmethod
    def completion(cls) -> Positions:
        """The positions of the generated tokens themselves."""
        return cls("completion")

    @classmethod
    def after(cls, *, token_ids: Sequence[int] = (), regex: str | None = None) -> Positions:
        """Positions whose own id is among ``token_ids``, or at which the text so far ends with a match of ``regex``.

        The text is the decoded tokens with special ones shown; a match reaches back at most :data:`REACH` tokens, is
        never empty, and has to end where the position's token ends (``"wait"`` does not match at a token ``wait,``).

        Raises:
            ValueError: when neither is given, or when ``regex`` is invalid or matches the empty text.
        """
        if not token_ids and regex is None:
            raise ValueError("Positions.after needs token_ids or a regex")
        if regex is not None:
            try:
                matches_nothing = _at_end(regex).search("") is not None
            except re.error as error:
                raise ValueError(f"{regex!r} is not a regular expression: {error}") from error
            if matches_nothing:
                raise ValueError(
                    f"the regular expression {regex!r} matches the empty text and so chooses every position"
                )
        return cls("after", (tuple(sorted({int(token) for token in token_ids})), regex))

    @classmethod
    def every(cls, n: int) -> Positions:
        """Every n-th position of :meth:`generated`, beginning with its first."""
        if n < 1:
            raise ValueError(f"every(n) needs n of at least 1, not {n}")
        return cls("every", (n,))

    @classmethod
    def window(cls, start: int | None, stop: int | None) -> Positions:
        """Positions with ``start <= t - n_prompt < stop``; 0 is the first generated token, negative ones the prompt."""
        return cls("window", (start, stop))

    @classmethod
    def first(cls, k: int) -> Positions:
        """The first ``k`` positions of :meth:`generated`: those from which the first ``k`` tokens are chosen."""
        if k < 0:
            raise ValueError(f"first(k) needs k of at least 0, not {k}")
        return cls("first", (k,))

    @classmethod
    def mask(cls, rows: Sequence[Sequence[bool] | Bool[np.ndarray, " pos"]]) -> Positions:
        """For each row a truth value a position, from the row's first token on; positions beyond its end are out."""
        return cls("mask", (tuple(tuple(bool(value) for value in row) for row in rows),))

    @classmethod
    def spans(cls, rows: Sequence[Sequence[tuple[int, int]]]) -> Positions:
        """For each row a list of ``(start, stop)``, 0 being the first generated token, stop excluded."""
        return cls("spans", (tuple(tuple((int(start), int(stop)) for start, stop in row) for row in rows),))

    @classmethod
    def parse(cls, text: str | Positions) -> Positions:
        """Read ``"generated"``, ``"first:8"``, ``"every:4"``, ``"window:0:16"``; a rule is returned as it is.

        Raises:
            ValueError: naming the rules that can be written.
        """
        if isinstance(text, Positions):
            return text
        name, *numbers = text.strip().split(":")
        counts = {
            "all": 0,
            "prompt": 0,
            "last_prompt": 0,
            "generated": 0,
            "completion": 0,
            "first": 1,
            "every": 1,
            "window": 2,
        }
        if counts.get(name) != len(numbers) or not all(re.fullmatch(r"-?\d+|", number) for number in numbers):
            raise ValueError(
                f"{text!r} names no positions; write all, prompt, last_prompt, generated, completion, first:K, every:N "
                "or window:START:STOP, or build Positions in Python"
            )
        values = [int(number) if number else None for number in numbers]
        if None in values and name != "window":
            raise ValueError(f"{text!r} lacks its number")
        built: Positions = getattr(cls, name)(*values)
        return built

    def __and__(self, other: Positions) -> Positions:
        return Positions("and", (self, other))

    def __or__(self, other: Positions) -> Positions:
        return Positions("or", (self, other))

    def __invert__(self) -> Positions:
        return Positions("not", (self,))

    def __str__(self) -> str:
        if self.rule in ("and", "or"):
            return f"({self.arguments[0]} {'&' if self.rule == 'and' else '|'} {self.arguments[1]})"
        if self.rule == "not":
            return f"~{self.arguments[0]}"
        if self.rule == "after":
            tokens, regex = self.arguments
            return f"after(token_ids={list(tokens)}, regex={regex!r})"
        if self.rule in ("mask", "spans"):
            return f"{self.rule}({len(self.arguments[0])} rows)"
        return ":".join([self.rule, *("" if value is None else str(value) for value in self.arguments)])

    @property
    def needs_tokenizer(self) -> bool:
        """Whether the rule reads text and so needs a tokenizer."""
        if self.rule == "after":
            return self.arguments[1] is not None
        return any(part.needs_tokenizer for part in self.arguments if isinstance(part, Positions))

    def select(
        self, ids: Ids, n_prompt: int, *, tokenizer: Tokenizer | None = None, row: int = 0
    ) -> Bool[np.ndarray, " pos"]:
        """Say for every position of one unpadded sequence whether it is chosen.

        Args:
            ids: the whole sequence, prompt and completion.
            n_prompt: how many of them are the prompt.
            tokenizer: needed by rules that read text.
            row: which row of a ``mask`` or ``spans`` this sequence is.

        Raises:
            ValueError: when a tokenizer or a row is missing, or ``n_prompt`` is negative.
        """
        return self._judge(np.arange(len(ids)), ids, n_prompt, tokenizer, row)

    def step(self, ids: Ids, n_prompt: int, *, tokenizer: Tokenizer | None = None, row: int = 0) -> bool:
        """Whether the last position of ``ids`` is chosen: ``select(...)[-1]`` without the work for the others.

        Raises:
            ValueError: as :meth:`select`, and for an empty sequence.
        """
        if not len(ids):
            raise ValueError("an empty sequence has no last position")
        return bool(self._judge(np.array([len(ids) - 1]), ids, n_prompt, tokenizer, row)[0])

    def _judge(
        self, at: Int[np.ndarray, " chosen"], ids: Ids, n_prompt: int, tokenizer: Tokenizer | None, row: int
    ) -> Bool[np.ndarray, " chosen"]:
        if n_prompt < 0:
            raise ValueError(f"n_prompt is a number of tokens and cannot be {n_prompt}")
        return _choose(self, _Sight(at, ids, n_prompt, tokenizer, row))


def _choose(positions: Positions, sight: _Sight) -> Bool[np.ndarray, " chosen"]:
    arguments = positions.arguments
    if positions.rule == "and":
        return _choose(arguments[0], sight) & _choose(arguments[1], sight)
    if positions.rule == "or":
        return _choose(arguments[0], sight) | _choose(arguments[1], sight)
    if positions.rule == "not":
        return ~_choose(arguments[0], sight)
    return np.asarray(_RULES[positions.rule](sight, *arguments), dtype=bool)


def _after(sight: _Sight, token_ids: tuple[int, ...], regex: str | None) -> Bool[np.ndarray, " chosen"]:
    own = np.asarray(sight.ids, dtype=np.int64)[sight.at]
    hit = np.isin(own, np.asarray(token_ids, dtype=np.int64))
    if regex is None:
        return hit
    if sight.tokenizer is None:
        raise ValueError(f"positions after the regular expression {regex!r} read text: pass a tokenizer")
    ends = _at_end(regex)
    return hit | np.fromiter((_ends_with(ends, sight, int(t)) for t in sight.at), bool, len(sight.at))


def _at_end(regex: str) -> re.Pattern[str]:
    flags = re.match(r"(\(\?[aiLmsux]+\))?", regex)
    # Flags for the whole expression, such as (?i), have to stay in front of everything.
    front = flags.group() if flags is not None else ""
    return re.compile(rf"{front}(?:{regex[len(front) :]})\Z")


def _ends_with(ends: re.Pattern[str], sight: _Sight, t: int) -> bool:
    start = max(0, t + 1 - REACH)
    ids = [int(token) for token in sight.ids[start : t + 1]]
    text = str(sight.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))  # type: ignore[union-attr]
    # Where the look-back was cut, the text's first character is no start of text, so "^" must not match there.
    return ends.search(text, 1 if start else 0) is not None


def _of_row(sight: _Sight, rows: tuple[Any, ...], name: str) -> Any:
    if not 0 <= sight.row < len(rows):
        raise ValueError(f"Positions.{name} was given {len(rows)} rows and has none for row {sight.row}")
    return rows[sight.row]


def _mask(sight: _Sight, rows: tuple[tuple[bool, ...], ...]) -> Bool[np.ndarray, " chosen"]:
    mask = np.asarray(_of_row(sight, rows, "mask"), dtype=bool)
    inside = sight.at < len(mask)
    out = np.zeros(len(sight.at), dtype=bool)
    out[inside] = mask[sight.at[inside]]
    return out


def _spans(sight: _Sight, rows: tuple[tuple[tuple[int, int], ...], ...]) -> Bool[np.ndarray, " chosen"]:
    out = np.zeros(len(sight.at), dtype=bool)
    for start, stop in _of_row(sight, rows, "spans"):
        out |= _window(sight, start, stop)
    return out


def _window(sight: _Sight, start: int | None, stop: int | None) -> Bool[np.ndarray, " chosen"]:
    index = sight.at - sight.n_prompt
    low = np.True_ if start is None else index >= start
    high = np.True_ if stop is None else index < stop
    return np.broadcast_to(low & high, index.shape)


_RULES: dict[str, Callable[..., Any]] = {
    "all": lambda s: np.ones(len(s.at), dtype=bool),
    "prompt": lambda s: s.at < s.n_prompt,
    "last_prompt": lambda s: s.at == s.n_prompt - 1,
    "generated": lambda s: s.at >= s.n_prompt - 1,
    "completion": lambda s: s.at >= s.n_prompt,
    "after": _after,
    "every": lambda s, n: (s.at >= s.n_prompt - 1) & ((s.at - (s.n_prompt - 1)) % n == 0),
    "window": _window,
    "first": lambda s, k: (s.at >= s.n_prompt - 1) & (s.at < s.n_prompt - 1 + k),
    "mask": _mask,
    "spans": _spans,
}
