r"""What does this sentence do?  Rules for reasoning texts in English.

A text is cut after ``. ! ? ;`` and at line ends, decimals, abbreviations, numbers of list items and factorials left
whole; a piece of fewer than three words joins the next one of its line (Venhoff et al. 2025, arXiv 2510.07364, drop
such pieces; a lone "Wait." opens the sentence it stands before).  A sentence is then matched against a list of cues for
each strategy.  Each cue has a weight; the heaviest cue wins, and of equals the one that stands first
(:mod:`probes.latent.cues`).

The cues are the words that people use when they do these things.  They do not show that the thing was done: a model
that writes "let me check" has announced a check, no more.
"""

from __future__ import annotations

import re

from probes.latent.cues import CUES, FILLERS
from probes.latent.spans import OTHER

MIN_WORDS = 3

_END = re.compile(r"[.!?;]+[\"'”’)\]*]*(?=\s)\s*|\n\s*")
_NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|approx|Fig|Eq|Sec|cf|al|i\.e|e\.g|a\.m|p\.m|U\.S)\.|"
    r"(?:^|[\s(\"'])[A-Za-z]\.|(?:^|\n)\s*(?:\*\*)?\(?(?:\d+|[ivx]+)\.|(?:\d|\)|\b[a-zA-Z])!|\\;|\.\.\.)$"
)
_STRONG = 2.2
_BY_WEIGHT = [(cue.strategy, cue.weight, cue.compiled()) for cue in sorted(CUES, key=lambda cue: -cue.weight)]
_ENDING = re.compile(rf"{FILLERS}(?:therefore|thus|hence|finally)\b|^\W*so\b", re.IGNORECASE)


def sentences(text: str, *, min_words: int = MIN_WORDS) -> list[tuple[int, int]]:
    """The sentences of a text as ``[start, stop)`` in characters, each with the blanks behind it.

    Together they cover the text.  A piece of fewer than ``min_words`` words joins the piece after it, or the one
    before if a line ends with it.
    """
    edges, start = [], 0
    for match in _END.finditer(text):
        mark = text[start : match.end()].rstrip()
        if "\n" in match[0] or not _NO_END.search(mark):
            edges.append(match.end())
            start = match.end()
    edges = [edge for edge in edges if edge < len(text)] + ([len(text)] if text else [])
    out: list[tuple[int, int]] = []
    start = 0
    for edge in edges:
        if len(text[start:edge].split()) >= min_words:
            out.append((start, edge))
            start = edge
        elif out and text[:edge].endswith("\n"):
            out[-1] = (out[-1][0], edge)
            start = edge
    if start < len(text):
        if out:
            out[-1] = (out[-1][0], len(text))
        else:
            out.append((0, len(text)))
    return out


def strategy(sentence: str, *, last: bool = False, asked: frozenset[tuple[str, ...]] = frozenset()) -> str:
    """What a sentence does, by its heaviest cue; ``other`` without any.

    Args:
        sentence: one sentence.
        last: whether the text ends with it; "So there are 12." then concludes.
        asked: runs of three words of the problem; a sentence without a strong cue most of whose runs are among them
            says the problem over again.
    """
    if last and _ENDING.search(sentence):
        return "concluding"
    for name, weight, pattern in _BY_WEIGHT:
        if weight <= _STRONG and asked and _repeats(sentence, asked):
            return "restating"
        if pattern.search(sentence):
            return name
    return OTHER


def runs(text: str) -> frozenset[tuple[str, ...]]:
    """All runs of three words of a text, in lower case."""
    words = re.findall(r"\w+", text.lower())
    return frozenset(zip(words, words[1:], words[2:]))


def _repeats(sentence: str, asked: frozenset[tuple[str, ...]]) -> bool:
    own = runs(sentence)
    return len(own) >= 3 and len(own & asked) > len(own) / 2


def label_english(text: str, prompt: str = "") -> list[tuple[int, int, str]]:
    """Every sentence of a text with its strategy, in characters; what it repeats of the prompt is restating."""
    found, asked = sentences(text), runs(prompt)
    return [
        (start, stop, strategy(text[start:stop], last=place == len(found) - 1, asked=asked))
        for place, (start, stop) in enumerate(found)
    ]
