"""Where phrases stand in the samples of a series: words and tokens that a match covers, and what follows a match.

A token is *planning* if it lies in any match of a phrase, else *execution* (arXiv 2509.03646).  Counts of phrases take
the longest match at a place and no two that overlap.  Words are those of :mod:`probes.training.words`; a token belongs
to the word that its last character is in or behind, and a special token to none.  What a match does not show: that the
phrase was meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from probes.training.grams import Grams
from probes.training.series import Series
from probes.training.words import Words

Offsets = Callable[[list[int]], tuple[str, Any, Any]]
"""Token ids of a completion to its text and the characters at which each token's writing begins and ends."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """All samples of a series as words, and all their tokens as places in these words."""

    texts: tuple[Words, ...]
    correct: Bool[np.ndarray, "text"]
    checkpoint: Int[np.ndarray, "text"]
    problem: Int[np.ndarray, "text"]
    first: Int[np.ndarray, "text"]
    """Place of each text's first word among all words."""
    tokens: pd.DataFrame
    """A row a token: ``checkpoint``, ``problem`` (codes), ``word`` (place among all words, -1 for none), ``logp``,
    ``entropy``."""

    @classmethod
    def of(cls, series: Series, offsets: Offsets | None = None) -> Corpus:
        """Read a series; token measures need ``offsets`` and the checkpoints' token tables, phrases only the texts."""
        codes = {name: code for code, name in enumerate(series.problems)}
        texts, owner, problem, right, parts = [], [], [], [], []
        first = [0]
        for index, one in enumerate(series.checkpoints):
            frame = one.rollouts.frame
            places = []
            for ids, text in zip(frame["ids"], frame["text"], strict=True):
                starts = stops = np.zeros(0, dtype=np.int64)
                if offsets is not None:
                    text, starts, stops = offsets(ids)
                words = Words.of(text)
                found = np.searchsorted(np.array(words.starts), np.asarray(stops) - 1, side="right") - 1
                silent = (np.asarray(stops) <= np.asarray(starts)) | (found < 0)
                places.append(np.where(silent, -1, found + first[-1]))
                texts.append(words)
                first.append(first[-1] + len(words.words))
            owner += [index] * len(frame)
            own = [codes[name] for name in frame["problem"]]
            problem += own
            right += [bool(value) if value is not pd.NA else False for value in frame["correct"]]
            if offsets is not None and one.tokens is not None:
                counts = [len(place) for place in places]
                parts.append(
                    one.tokens[["logp", "entropy"]].assign(
                        checkpoint=index, problem=np.repeat(own, counts), word=np.concatenate(places)
                    )
                )
        columns = ["logp", "entropy", "checkpoint", "problem", "word"]
        tokens = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns, dtype=float)
        return cls(
            tuple(texts), np.array(right, dtype=bool), np.array(owner, dtype=np.int64),
            np.array(problem, dtype=np.int64), np.array(first[:-1], dtype=np.int64), tokens,
        )  # fmt: skip

    def solutions(self) -> list[str]:
        """Correct samples as text, to mine phrases from."""
        return [" ".join(text.words) for text, right in zip(self.texts, self.correct, strict=True) if right]


@dataclass(frozen=True, eq=False)
class Matches:
    """Phrases found in a corpus."""

    covered: Bool[np.ndarray, "word"]
    """Words inside any match."""
    events: pd.DataFrame
    """A row a match, the longest at its place: ``checkpoint``, ``problem``, ``cluster`` and ``follows`` (the next
    words, empty at the end of a text)."""


def match(corpus: Corpus, grams: Grams, *, follow: int = 3) -> Matches:
    """Find the phrases.

    Args:
        corpus: the texts.
        grams: the phrases.
        follow: words behind a match that count as the procedure that follows it.

    It does not show that a phrase was meant.
    """
    table = grams.table
    sizes = sorted({len(gram) for gram in table}, reverse=True)
    openers = {gram[0] for gram in table}
    total = int(corpus.first[-1]) + len(corpus.texts[-1].words) if corpus.texts else 0
    covered = np.zeros(total, dtype=bool)
    rows = []
    for index, text in enumerate(corpus.texts):
        words, first, free = text.words, int(corpus.first[index]), 0
        for start, word in enumerate(words):
            if word not in openers:
                continue
            longest = 0
            for n in sizes:
                if table.get(words[start : start + n]) is not None and start + n <= len(words):
                    covered[first + start : first + start + n] = True
                    longest = longest or n
            if longest and start >= free:
                free = start + longest
                cluster = table[words[start:free]]
                rows.append((corpus.checkpoint[index], corpus.problem[index], cluster, words[free : free + follow]))
    columns = ["checkpoint", "problem", "cluster", "follows"]
    events = pd.DataFrame([(a, b, c, " ".join(d)) for a, b, c, d in rows], columns=columns)
    return Matches(covered, events.astype({"checkpoint": "int64", "problem": "int64"}))


def planning(corpus: Corpus, matches: Matches) -> Bool[np.ndarray, "token"]:
    """Which tokens lie in a match.

    It does not show that these tokens plan.
    """
    words = corpus.tokens["word"].to_numpy(dtype=np.int64)
    if not len(words):
        return np.zeros(0, dtype=bool)
    return np.asarray(matches.covered[np.maximum(words, 0)] & (words >= 0))


def entropy(counts: Float[np.ndarray, "draw kind"]) -> Float[np.ndarray, "draw"]:
    """Shannon entropy in nats of counts, Miller-Madow: the plug-in value plus (kinds seen - 1) / (2 count).

    NaN without a count. Less biased than the plug-in value, but still too low where most kinds are seen once.

    It does not show kinds that were never seen.
    """
    total = counts.sum(axis=1)
    safe = np.maximum(total, 1)
    logs = np.where(counts > 0, counts * np.log(np.maximum(counts, 1e-300)), 0.0).sum(axis=1)
    value = np.log(safe) - logs / safe + ((counts > 0).sum(axis=1) - 1) / (2 * safe)
    return np.where(total > 0, value, np.nan)
