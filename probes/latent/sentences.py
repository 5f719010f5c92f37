"""One vector a sentence: what does the residual stream look like while this sentence is written?

    v = mean of resid_post.L over tokens [start - 1, stop)      (float32)

The mean begins one token early, at the place where the sentence's first token was chosen (Venhoff et al. 2025, arXiv
2510.07364; measures as in their code).  Sentences are those of :mod:`probes.latent.english`, or the segments of the
shipped organisms' language; a user brings a function or ready-made spans.

What it does not show: a mean over a sentence mixes the choice of a strategy with its execution, so that vectors also
differ by what the sentence is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from hooks.capture import capture
from hooks.rollouts import Rollouts
from hooks.sites import Positions, Site
from probes.latent.matrix import whole
from probes.latent.spans import KEY, Spans
from probes.latent.strategies import annotate
from probes.results import Result, manifest


@dataclass(frozen=True, repr=False, eq=False)
class Sentences(Result):
    """Sentences and their vectors, row by row.

    Raises:
        ValueError: for another number of vectors than of sentences, or a vector that is not finite.
    """

    frame: pd.DataFrame
    """A row a sentence: ``problem, sample, model, strategy, start, stop, text`` as in :class:`Spans` and in its order;
    ``strategy`` is what the rules called it and takes no part in the clustering."""
    vectors: Float[np.ndarray, "sentence d_model"]
    """The mean activations, float32, neither centred nor scaled."""
    site: str
    """Where they were read."""

    def __post_init__(self) -> None:
        if len(self.frame) != len(self.vectors):
            raise ValueError(f"{len(self.vectors)} vectors for {len(self.frame)} sentences; give one a sentence")
        bad = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(bad):
            raise ValueError(f"the vector of sentence {bad[0]} is not finite; leave that text out")
        # Spans sort their rows; with the vectors in that order every table of sentences can be laid beside another.
        frame = Spans(self.frame.assign(row=np.arange(len(self.frame)))).frame
        object.__setattr__(self, "vectors", self.vectors[frame.pop("row").to_numpy()])
        object.__setattr__(self, "frame", frame)

    def headline(self) -> str:
        """How many sentences of how many texts."""
        texts = len(self.frame.drop_duplicates(KEY))
        return f"{len(self.frame)} sentences of {texts} texts at {self.site}"

    @property
    def spans(self) -> Spans:
        """The sentences as spans under the names that the rules gave them."""
        return Spans(self.frame)

    def plot(self) -> go.Figure:
        """The sentences along the first two principal components, coloured by the rules' names."""
        centred = self.vectors - self.vectors.mean(axis=0)
        # Right singular vectors of the centred matrix are the components.
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        first, second = (centred @ axes[:2].T).T
        figure = go.Figure()
        for name in sorted(self.frame["strategy"].unique()):
            own = (self.frame["strategy"] == name).to_numpy()
            figure.add_scatter(x=first[own], y=second[own], mode="markers", name=name, text=self.frame["text"][own])
        return figure.update_layout(xaxis_title="first component", yaxis_title="second component")


def sentence_vectors(
    source: Any,
    rollouts: Rollouts,
    *,
    layer: int,
    splitter: Any = "auto",
    spans: Spans | None = None,
    tokenizer: Any = None,
    batch_tokens: int | None = None,
) -> Sentences:
    """Cut texts into sentences and read one vector for each.

    Args:
        source: the model that reads; or activations captured at :func:`sentence_positions` with ``reduce="mean"``.
        rollouts: the texts, of any author.
        layer: whose output is read.
        splitter: as the annotator of :func:`probes.latent.strategies.annotate`: what it labels is a sentence.
        spans: the sentences, where they are known already.
        tokenizer: of the texts; the model's own by default.
        batch_tokens: padded tokens a batch.

    Raises:
        ValueError: for texts without any sentence, or activations of other sentences.

    It does not show what a sentence is for.
    """
    words = tokenizer if tokenizer is not None else getattr(source, "tokenizer", None)
    if spans is None:
        spans = annotate(rollouts, splitter, tokenizer=words)
    if spans.frame.empty:
        raise ValueError("the texts hold no sentence; give longer texts or another splitter")
    site = Site("resid_post", layer)
    places, rows = _placed(spans, rollouts)
    if isinstance(source, Mapping):
        acts = source
    else:
        acts = capture(source, rollouts, sites=site, positions=places, reduce="mean", batch_tokens=batch_tokens)
    table: pd.DataFrame = getattr(acts, "rows", pd.DataFrame())
    if not {"sequence", "span"} <= set(table.columns):
        raise ValueError('the activations have no spans; capture them at sentence_positions with reduce="mean"')
    asked = [(text, place) for text, own in enumerate(rows) for place in range(len(own))]
    if list(zip(table["sequence"].tolist(), table["span"].tolist(), strict=True)) != asked:
        raise ValueError(f"the activations have {len(table)} rows that are not the {len(asked)} sentences of the texts")
    order = [row for own in rows for row in own]
    vectors = whole(acts[str(site)]).float().numpy()
    made = manifest(what="sentence vectors", activations=dict(getattr(acts, "manifest", {}) or {}), layer=layer)
    return Sentences(spans.frame.loc[order].reset_index(drop=True), vectors, str(site), manifest=made)


def sentence_positions(spans: Spans, rollouts: Rollouts) -> Positions:
    """For each text the tokens ``[start - 1, stop)`` of each of its sentences, as positions of a capture.

    Raises:
        ValueError: when spans belong to no text.
    """
    return _placed(spans, rollouts)[0]


def _placed(spans: Spans, rollouts: Rollouts) -> tuple[Positions, list[list[int]]]:
    """The positions, and for each text the rows of the spans' table in the order of the positions."""
    own: dict[Any, list[int]] = {
        key: list(found.index) for key, found in spans.frame.groupby(KEY, sort=False, observed=True)
    }
    keys = [tuple(key) for key in rollouts.frame[KEY].itertuples(index=False)]
    strangers = set(own) - set(keys)
    if strangers:
        problem, sample, model = sorted(strangers, key=str)[0]
        raise ValueError(f"sample {sample} of problem {problem!r} by {model} has sentences but is not among the texts")
    if len(set(keys)) < len(keys):
        raise ValueError("two texts have the same problem, sample and model; number the samples apart")
    rows = [own.get(key, []) for key in keys]
    starts, stops = spans.frame["start"].tolist(), spans.frame["stop"].tolist()
    return Positions.spans([[(starts[row] - 1, stops[row]) for row in text] for text in rows]), rows
