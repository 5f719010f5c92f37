"""Strategic grams: phrases that many different correct solutions share, mined from the solutions themselves.

All n-grams of 3 to 5 words are taken from correct solutions; they are clustered, a cluster's document frequency is the
number of solutions that hold one of its n-grams, and the clusters in the top fifth by that count are kept (arXiv
2509.03646, section 2.1, whose embedding and clustering are not named).  Here an n-gram is a TF-IDF vector of its
character n-grams and the clusters are k-means, or whatever ``embed`` says.  Only n-grams of words count by default, as
signs and figures are execution.

Beside them a placebo: n-grams of the same sizes drawn at random until they cover as many words.  What grams do not
show: that a phrase plans anything; a human judged 86 % of the published ones to.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from hooks.streams import stream
from probes.training.words import Words

Gram = tuple[str, ...]
Embed = Callable[[list[str]], Float[np.ndarray, "gram d"]]
"""N-grams as texts to vectors; a sentence embedder, for instance."""

LIMIT = 20_000
"""N-grams at most that are clustered, the most frequent first."""
MANY_WORDS = 200_000
"""Words at most on which a placebo's coverage is matched; in more text than that it covers a little less."""


@dataclass(frozen=True, eq=False)
class Grams:
    """A set of phrases, each in a cluster."""

    frame: pd.DataFrame
    """A row a phrase: ``gram`` (its words), ``n``, ``cluster``, ``df`` (solutions that hold it), ``cluster_df``."""

    @property
    def table(self) -> dict[Gram, str]:
        """Cluster of each phrase."""
        return {
            tuple(gram.split(" ")): str(cluster)
            for gram, cluster in zip(self.frame["gram"], self.frame["cluster"], strict=True)
        }

    @classmethod
    def of(cls, phrases: Mapping[str, Sequence[str]]) -> Grams:
        """Phrases that somebody wrote down, by kind; a kind is a cluster.

        Raises:
            ValueError: no phrase, or one without a word.
        """
        rows = []
        for kind, texts in phrases.items():
            for text in texts:
                words = Words.of(text).words
                if not words:
                    raise ValueError(f"the phrase {text!r} of {kind!r} has no word; leave it out")
                rows.append({"gram": " ".join(words), "n": len(words), "cluster": kind})
        if not rows:
            raise ValueError("there is no phrase; give at least one, such as {'branching': ['another way']}")
        return cls(pd.DataFrame(rows).drop_duplicates("gram").assign(df=np.nan, cluster_df=np.nan))

    @classmethod
    def mine(
        cls,
        solutions: Sequence[str],
        *,
        sizes: Sequence[int] = (3, 4, 5),
        clusters: int = 100,
        top: float = 0.2,
        least: int = 3,
        only_words: bool = True,
        embed: Embed | None = None,
        seed: int = 0,
    ) -> Grams:
        """Phrases of the clusters that most solutions share.

        Args:
            solutions: texts of correct solutions.
            sizes: words of an n-gram.
            clusters: of k-means; fewer where there are fewer n-grams.
            top: share of the clusters that is kept, by document frequency.
            least: solutions that must hold an n-gram before it counts at all.
            only_words: leave out n-grams with a number or a sign.
            embed: vectors of the n-grams; TF-IDF of characters by default.
            seed: of k-means.

        Raises:
            ValueError: no n-gram that ``least`` solutions hold.
        """
        held: dict[Gram, list[int]] = {}
        for index, text in enumerate(solutions):
            for gram in set(ngrams(Words.of(text).words, sizes, only_words=only_words)):
                held.setdefault(gram, []).append(index)
        common = sorted((gram for gram in held if len(held[gram]) >= least), key=lambda g: (-len(held[g]), g))[:LIMIT]
        if not common:
            raise ValueError(
                f"no phrase of {min(sizes)} to {max(sizes)} words is in {least} of {len(solutions)} correct solutions; "
                "give more solutions, or phrases of your own with Grams.of"
            )
        labels = _clusters([" ".join(gram) for gram in common], min(clusters, len(common)), embed, seed)
        documents: dict[int, set[int]] = {}
        for gram, label in zip(common, labels, strict=True):
            documents.setdefault(int(label), set()).update(held[gram])
        order = sorted(documents, key=lambda label: (-len(documents[label]), label))
        kept = set(order[: max(1, round(top * len(order)))])
        rows = [
            {"gram": " ".join(gram), "n": len(gram), "cluster": str(label), "df": len(held[gram]),
             "cluster_df": len(documents[int(label)])}
            for gram, label in zip(common, labels, strict=True)
            if int(label) in kept
        ]  # fmt: skip
        return cls(pd.DataFrame(rows))

    def dropped(self, share: float, *, seed: int = 0) -> Grams:
        """The set without a random share of its phrases; at least one stays."""
        kept = max(1, round((1 - share) * len(self.frame)))
        chosen = np.sort(stream(seed, "drop grams").permutation(len(self.frame))[:kept])
        return Grams(self.frame.iloc[chosen].reset_index(drop=True))

    def placebo(self, texts: Sequence[Words], *, seed: int = 0) -> Grams:
        """Random n-grams of the same sizes that cover as many words of these texts, none of them in this set.

        Clusters are dealt out at random in the numbers that this set has. Of very long
        corpora a random part is looked at. The set is empty where they have no other n-grams.
        """
        draw = stream(seed, "placebo grams")
        order = draw.permutation(len(texts))
        within = np.cumsum([len(texts[index].words) for index in order]) <= MANY_WORDS
        texts = [texts[index] for index in np.sort(order[within])]
        own = self.table
        sizes = sorted({len(gram) for gram in own})
        places: dict[Gram, list[tuple[int, int]]] = {}
        for index, text in enumerate(texts):
            for n in sizes:
                for start in range(len(text.words) - n + 1):
                    places.setdefault(text.words[start : start + n], []).append((index, start))
        covered = _cover(texts, [places[gram] for gram in own if gram in places], [len(g) for g in own if g in places])
        goal = sum(int(row.sum()) for row in covered)
        candidates = sorted(gram for gram in places if gram not in own)
        marks, reached, chosen = [np.zeros(len(text.words), dtype=bool) for text in texts], 0, []
        for index in draw.permutation(len(candidates)):
            gram = candidates[index]
            fresh = {(t, s + k) for t, s in places[gram] for k in range(len(gram)) if not marks[t][s + k]}
            # A phrase that would overshoot by more than it mends is left out.
            if not fresh or reached + len(fresh) - goal > goal - reached:
                continue
            for where, word in fresh:
                marks[where][word] = True
            reached += len(fresh)
            chosen.append(gram)
            if reached >= goal:
                break
        kinds = list(own.values())
        dealt = [kinds[int(draw.integers(len(kinds)))] for _ in chosen]
        rows = [
            {"gram": " ".join(gram), "n": len(gram), "cluster": kind, "df": np.nan, "cluster_df": np.nan}
            for gram, kind in zip(chosen, dealt, strict=True)
        ]
        return Grams(pd.DataFrame(rows, columns=["gram", "n", "cluster", "df", "cluster_df"]))


def ngrams(words: Gram, sizes: Sequence[int], *, only_words: bool) -> Iterator[Gram]:
    """N-grams of a text, those with a number or a sign left out if asked."""
    plain = [word[0].isalpha() for word in words]
    for n in sizes:
        for start in range(len(words) - n + 1):
            if not only_words or all(plain[start : start + n]):
                yield words[start : start + n]


def _clusters(texts: list[str], count: int, embed: Embed | None, seed: int) -> Sequence[Any]:
    """A cluster for each text."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = (
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit_transform(texts) if embed is None else embed(texts)
    )
    state = int(stream(seed, "gram clusters").integers(2**31))
    with warnings.catch_warnings():
        # Phrases with one vector ("so so", "so so so") leave clusters empty, which is what they should.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return list(KMeans(count, n_init=2, random_state=state).fit(vectors).labels_)


def _cover(texts: Sequence[Words], places: list[list[tuple[int, int]]], sizes: list[int]) -> list[np.ndarray]:
    """Which words the phrases at these places cover."""
    marks = [np.zeros(len(text.words), dtype=bool) for text in texts]
    for found, n in zip(places, sizes, strict=True):
        for text, start in found:
            marks[text][start : start + n] = True
    return marks
