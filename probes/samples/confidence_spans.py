r"""Which tokens of a text are its answer?

The graded answer is looked for behind the mark that announces it: the last ``<answer>``, the last ``\boxed{``, the last
``####``, the last word "answer"; where none of them is followed by it, its last appearance as a whole word counts.

It does not judge the answer, and an answer that the grader rewrote (so that it does not stand in the text) has no span.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from hooks.rollouts import Rollouts

MARKS = (r"<answer>", r"\\boxed\s*\{", r"####", r"(?i:answer)")
"""What announces an answer, the surest first."""


class Written(Protocol):
    """A text and which of its tokens wrote which characters."""

    @property
    def text(self) -> str:
        """The text of the ids."""
        ...

    def token_span(self, start: int, stop: int) -> tuple[int, int]:
        """The tokens ``[first, last)`` that wrote the characters ``[start, stop)``."""
        ...


def answer_spans(rollouts: Rollouts, decode: Callable[[Sequence[int]], Written]) -> list[tuple[int, int] | None]:
    """The tokens of each sample's answer, counted from the first generated one; None where it has none.

    Args:
        rollouts: graded samples with ids.
        decode: from a text's ids to the text and the characters of each token, such as
            :class:`probes.latent.offsets.Decoder` of the model's tokenizer.

    Raises:
        ValueError: when no sample has ids.
    """
    frame = rollouts.frame
    if len(frame) and not frame["ids"].map(len).any():
        raise ValueError("These samples have no token ids; add them with with_ids(model).")
    spans: list[tuple[int, int] | None] = []
    for ids, answer in zip(frame["ids"], frame["answer"], strict=True):
        found = None
        if answer is not None and str(answer).strip() and len(ids):
            written = decode(ids)
            place = locate(written.text, str(answer).strip())
            if place is not None:
                first, last = written.token_span(*place)
                found = (first, last) if first < last else None
        spans.append(found)
    return spans


def locate(text: str, answer: str) -> tuple[int, int] | None:
    """The characters ``[start, stop)`` of an answer in its text; None where it does not stand there."""
    edge = r"(?<!\w)" if answer[:1].isalnum() else "", r"(?!\w)" if answer[-1:].isalnum() else ""
    whole = re.compile(edge[0] + re.escape(answer) + edge[1])
    for mark in MARKS:
        places = list(re.finditer(mark, text))
        found = whole.search(text, places[-1].end()) if places else None
        if found:
            return found.span()
    every = list(whole.finditer(text))
    return every[-1].span() if every else None
