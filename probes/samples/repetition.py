r"""Does a text go round in circles?  Repeated n-grams, loops at the end, answers given again and again.

For a text of tokens the repeat ratio is :math:`1 - \text{distinct}_n / \text{total}_n` of its n-grams; the largest over
n = 4 to 8 is kept. A *tail loop* is a block of at most 50 tokens that the last 200 tokens end in at least three times
over, at least twelve tokens in all (three equal digits are a number, not a loop). Answers are counted by how they are
announced: a box, a tag, ``####``, "answer is", an organism's "answer 12"; of several kinds the most frequent counts, so
that "the answer is \boxed{5}" is one statement. Where reasoning was closed with ``</think>``, only what follows counts.

The detectors follow the degeneracies of arXiv 2605.28388, whose own definitions could not be checked. What they do not
show: whether a repetition was needed; tables and code repeat themselves without harm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

NS = (4, 5, 6, 7, 8)
"""Lengths of the n-grams."""
WINDOW = 200
"""Tokens at the end in which a loop is looked for."""
LONGEST = 50
"""Longest period of a loop."""
TIMES = 3
"""How often its block has to stand at the end."""
LEAST = 12
"""Tokens that the loop has to fill at least."""
STATEMENTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"\\boxed\s{0,3}\{", r"\banswer[\s*]{0,3}(?:is\b|:)", r"<answer>", r"####", r"\banswer \d")
)
"""How an answer is announced, one pattern a kind."""

Ids = Sequence[int]


def repeat_ratios(texts: Sequence[Ids], ns: Sequence[int] = NS) -> Float[np.ndarray, "text"]:
    """Share of n-grams that stood in the text before, the largest over ``ns``; NaN for texts shorter than all of them.

    Raises:
        ValueError: an n below 1.

    It does not show where the repetition stands.
    """
    if min(ns) < 1:
        raise ValueError(f"n-grams have at least one token, not {min(ns)}.")
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    flat = np.concatenate([np.asarray(text, dtype=np.int64) for text in texts] or [np.empty(0, dtype=np.int64)])
    if not len(flat):
        return np.full(len(texts), np.nan)
    owner = np.repeat(np.arange(len(texts)), lengths)
    left = np.concatenate([np.arange(length, 0, -1) for length in lengths])
    single = np.unique(flat, return_inverse=True)[1]
    size = int(single.max()) + 1
    code, best = single.copy(), np.full(len(texts), np.nan)
    for n in range(1, max(ns) + 1):
        if n > 1:
            # A longer gram is its shorter one and the token behind it; ranks keep the numbers small.
            code = np.unique(code[:-1] * size + single[n - 1 :], return_inverse=True)[1]
        if n in ns:
            inside = left[: len(code)] >= n
            total = np.bincount(owner[: len(code)][inside], minlength=len(texts))
            pairs = np.unique(owner[: len(code)][inside] * (int(code.max(initial=0)) + 1) + code[inside])
            distinct = np.bincount(pairs // (int(code.max(initial=0)) + 1), minlength=len(texts))
            with np.errstate(invalid="ignore"):
                best = np.fmax(best, np.where(total > 0, 1 - distinct / np.maximum(total, 1), np.nan))
        if len(code) < 2:
            break
    return best


def tail_loops(
    texts: Sequence[Ids], *, window: int = WINDOW, longest: int = LONGEST, times: int = TIMES, least: int = LEAST
) -> Int[np.ndarray, "text"]:
    """The period of the loop that each text ends in; 0 where it ends in none.

    Args:
        texts: token ids, without the end-of-sequence token.
        window: tokens at the end that are looked at.
        longest: longest period.
        times: how often the block has to stand there.
        least: tokens that the loop has to fill.

    It does not show loops that a text found its way out of.
    """
    tail = np.full((len(texts), window), -1, dtype=np.int64)
    for row, text in enumerate(texts):
        last = text[-window:]
        if len(last):
            tail[row, window - len(last) :] = last
    found = np.zeros(len(texts), dtype=np.int64)
    for period in range(1, min(longest, window // times) + 1):
        same = (tail[:, period:] == tail[:, :-period]) & (tail[:, :-period] >= 0)
        # How many tokens at the end equal the one a period before them.
        broken = ~same[:, ::-1]
        run = np.where(broken.any(axis=1), broken.argmax(axis=1), same.shape[1])
        loops = (run + period >= max(times * period, least)) & (run >= (times - 1) * period) & (found == 0)
        found[loops] = period
    return found


def visible(text: str) -> str:
    """What follows the reasoning, where a text closes it with ``</think>`` and goes on; else the whole text."""
    _, closed, after = text.rpartition("</think>")
    return after if closed and after.strip() else text


def statements(text: str) -> int:
    """How often the text announces an answer; of several kinds of announcement the most frequent counts.

    It does not show whether the answers differ.
    """
    shown = visible(text)
    return max(sum(1 for _ in pattern.finditer(shown)) for pattern in STATEMENTS)


def first_statement(text: str) -> int | None:
    """Where in characters the first announcement of an answer begins; None where there is none."""
    found = [match.start() for pattern in STATEMENTS if (match := pattern.search(text))]
    return min(found) if found else None
