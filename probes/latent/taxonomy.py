"""Which kinds of sentence are there, if nobody says?  Categories from sentence vectors alone, and what they are worth.

Sentence vectors (:mod:`probes.latent.sentences`), centred and of length 1, are clustered by a top-k sparse autoencoder
or k-means (Venhoff et al. 2025, arXiv 2510.07364) for several numbers of categories ``n``.  No judge is asked; each
``n`` is described by

* stability: mean adjusted Rand index between seeds on the same sentences (its interval, over problems, is for the fits
  as they are), beside the same on a Gaussian twin that has no categories;
* held-out R^2 over problems, silhouette, orthogonality of the category means (:mod:`probes.latent.category_quality`);
* agreement with the strategies that the rules name, which took no part in the fit, and its p-value within problems.

A category is named by reading :meth:`Taxonomy.examples`; it is a label like any other (:meth:`Taxonomy.categories`
gives :class:`Spans`).  The categories of the most central seed are the ones reported.

Assumes that a sentence has one category.  What it does not show: that the model treats a category as one thing; steer
along its direction for that.  Stable categories may be topics, positions or formats rather than strategies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Int

from hooks.rollouts import Rollouts
from hooks.streams import stream
from probes.latent.agreement import adjusted_rand, agreement, agreement_p, stability
from probes.latent.category_quality import gaussian_twin, held_out_r2, orthogonality, silhouette
from probes.latent.clusters import Clustering, Method, fit_clusterings
from probes.latent.sentences import Sentences, sentence_vectors
from probes.latent.spans import KEY, Spans
from probes.results import Result, manifest
from probes.stats import Estimate

SHOWN = ("stability", "stability_gaussian", "r2", "silhouette", "orthogonality", "agreement")
"""Columns with an interval."""


@dataclass(frozen=True, repr=False, eq=False)
class Taxonomy(Result):
    """Categories of sentences for several methods and numbers of categories."""

    frame: pd.DataFrame
    """A row a method and number of categories ``n``: ``used`` (categories with a member), ``largest`` (share of the
    largest), and ``stability``, ``stability_gaussian``, ``r2``, ``silhouette``, ``orthogonality``, ``agreement`` (with
    the rules' strategies, and ``agreement_p``), each with ``_low`` and ``_high``."""
    sentences: Sentences
    """What was clustered."""
    fits: Mapping[tuple[str, int], Clustering]
    """The most central seed's fit for each method and ``n``."""

    def headline(self) -> str:
        """How many sentences, and the most stable choice."""
        method, n = self.choice()
        row = self.frame[(self.frame["method"] == method) & (self.frame["n"] == n)].iloc[0]
        over = f", Gaussian twin {row['stability_gaussian']:.2f}" if row["stability_gaussian"] >= 0 else ""
        return (
            f"Taxonomy: {len(self.sentences.frame)} sentences at {self.sentences.site}; most stable is {method} with "
            f"{n} categories (ARI between seeds {row['stability']:.2f}{over})"
        )

    def choice(self, n: int | None = None, method: str | None = None) -> tuple[str, int]:
        """The method and number of categories asked for; where left open, the most stable.

        Fits that are no more stable than their Gaussian twins are passed over while there are others.

        Raises:
            ValueError: when nothing was fitted with these.
        """
        kept = self.frame
        if n is not None:
            kept = kept[kept["n"] == n]
        if method is not None:
            kept = kept[kept["method"] == method]
        if kept.empty:
            known = ", ".join(f"{row.method} {row.n}" for row in self.frame.itertuples())
            raise ValueError(f"nothing was fitted with method {method} and n = {n}; there are {known}")
        real = ~(kept["stability"] <= kept["stability_gaussian"])
        kept = kept[real] if real.any() else kept
        best = kept.iloc[int(np.argmax(kept["stability"].fillna(-np.inf)))]
        return str(best["method"]), int(best["n"])

    def categories(
        self, n: int | None = None, *, method: str | None = None, names: Mapping[int, str] | None = None
    ) -> Spans:
        """The sentences as spans whose strategy is their category, "category 1" being the largest.

        Args:
            n: number of categories; left open as in :meth:`choice`.
            method: which method's.
            names: what you called some of the categories, by number.
        """
        return self.assign(self.sentences, n, method=method, names=names)

    def assign(
        self,
        sentences: Sentences,
        n: int | None = None,
        *,
        method: str | None = None,
        names: Mapping[int, str] | None = None,
    ) -> Spans:
        """Other sentences (of another model, say) as spans under the same categories.

        Raises:
            ValueError: for sentences read at another site.
        """
        if sentences.site != self.sentences.site:
            raise ValueError(f"the categories are of {self.sentences.site} and the sentences of {sentences.site}")
        labels = self.fits[self.choice(n, method)].categories(sentences.vectors)
        return Spans(sentences.frame.assign(strategy=_named(labels, names)))

    def examples(self, n: int | None = None, *, method: str | None = None, k: int = 5) -> pd.DataFrame:
        """For each category the ``k`` different sentences closest to its centre, for naming it.

        Columns: ``category`` (its number), ``share`` (of all sentences), ``rank``, ``cosine``, ``text``, ``rule`` (what
        the rules call that sentence), ``problem``, ``sample``, ``model``.
        """
        fit = self.fits[self.choice(n, method)]
        labels, rows = fit.categories(self.sentences.vectors), fit.unit(self.sentences.vectors)
        length = np.linalg.norm(fit.centres, axis=1).clip(min=1e-12)
        near = (rows * fit.centres[labels]).sum(axis=1) / length[labels]
        table = self.sentences.frame.rename(columns={"strategy": "rule"}).assign(
            category=labels + 1, cosine=near, text=self.sentences.frame["text"].str.strip()
        )
        table["share"] = table["category"].map(table["category"].value_counts(normalize=True))
        table = table.sort_values(["category", "cosine"], ascending=[True, False], kind="stable")
        table = table.drop_duplicates(["category", "text"])
        table["rank"] = table.groupby("category").cumcount() + 1
        kept = table[table["rank"] <= k]
        return kept[["category", "share", "rank", "cosine", "text", "rule", *KEY]].reset_index(drop=True)

    def plot(self) -> go.Figure:
        """Every measure over the number of categories, with intervals; the Gaussian twin's stability dashed."""
        figure = go.Figure()
        for method, rows in self.frame.groupby("method", sort=True):
            for name in SHOWN:
                if rows[name].isna().all():
                    continue
                bars = {"type": "data", "symmetric": False, "array": rows[f"{name}_high"] - rows[name],
                        "arrayminus": rows[name] - rows[f"{name}_low"]}  # fmt: skip
                dash = "dash" if name == "stability_gaussian" else "solid"
                figure.add_scatter(
                    x=rows["n"], y=rows[name], error_y=bars, name=f"{name} ({method})", line={"dash": dash}
                )
        return figure.update_layout(xaxis_title="categories", title=self.headline())


def taxonomy(
    source: Any,
    rollouts: Rollouts | None = None,
    *,
    layer: int | None = None,
    n: int | Sequence[int] = (5, 10, 15),
    method: Method | Sequence[Method] = "sae",
    seeds: int = 5,
    splitter: Any = "auto",
    spans: Spans | None = None,
    tokenizer: Any = None,
    controls: bool = True,
    folds: int = 3,
    n_boot: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Taxonomy:
    """Sort sentences into categories and say how good the categories are.

    Args:
        source: a model, activations of its sentences, or :class:`Sentences`; for the first two see
            :func:`probes.latent.sentences.sentence_vectors`.
        rollouts: the texts; not needed with :class:`Sentences`.
        layer: whose output is read; not needed with :class:`Sentences`.
        n: numbers of categories.
        method: ``sae``, ``kmeans`` or both.
        seeds: fits whose agreement is the stability; with 1 there is none.
        splitter, spans, tokenizer: see :func:`probes.latent.sentences.sentence_vectors`.
        controls: also fit the Gaussian twin.
        folds: parts of the problems for the held-out R^2.
        n_boot: bootstrap draws over problems.
        seed: names every random stream.
        progress: called with (fits done, fits in all).

    Raises:
        ValueError: without texts or layer, or with fewer sentences than categories.

    It does not show that the model uses the categories.
    """
    if isinstance(source, Sentences):
        sentences = source
    elif rollouts is None or layer is None:
        raise ValueError("a taxonomy of a model needs the texts and a layer: taxonomy(model, rollouts, layer=...)")
    else:
        sentences = sentence_vectors(source, rollouts, layer=layer, splitter=splitter, spans=spans, tokenizer=tokenizer)
    counts = [n] if isinstance(n, int) else [int(one) for one in n]
    methods: list[Method] = [method] if isinstance(method, str) else list(method)  # type: ignore[list-item]
    twin = gaussian_twin(sentences.vectors, seed=seed) if controls and seeds > 1 else None
    rows: list[dict[str, Any]] = []
    fits: dict[tuple[str, int], Clustering] = {}
    for at, (kind, count) in enumerate((kind, count) for kind in methods for count in counts):
        found, line = _described(sentences, twin, kind, count, seeds, folds, n_boot, seed)
        fits[kind, count] = found
        rows.append(line)
        if progress is not None:
            progress(at + 1, len(methods) * len(counts))
    made = manifest(
        what="taxonomy", sentences=dict(sentences.manifest), n=counts, method=methods, seeds=seeds, folds=folds,
        n_boot=n_boot, seed=seed,
    )  # fmt: skip
    return Taxonomy(pd.DataFrame(rows), sentences, fits, manifest=made)


def _described(
    sentences: Sentences, twin: Any, method: Method, n: int, seeds: int, folds: int, n_boot: int, seed: int
) -> tuple[Clustering, dict[str, Any]]:
    """The most central fit of one method and number, and its row of the table."""
    vectors, problems = sentences.vectors, sentences.frame["problem"]
    starts = [int(stream(seed, "taxonomy", number).integers(2**62)) for number in range(seeds)]
    fits = fit_clusterings(vectors, n, method=method, seeds=starts)
    partitions = [fit.categories(vectors) for fit in fits]
    central = _central(partitions)
    fit, labels = fits[central], partitions[central]
    rows = fit.unit(vectors)
    unknown = Estimate(np.nan, np.nan, np.nan, 0, "not asked for")
    null = unknown
    if twin is not None:
        null = stability(
            [one.categories(twin) for one in fit_clusterings(twin, n, method=method, seeds=starts)],
            problems, n_boot=n_boot, seed=seed,
        )  # fmt: skip
    rules = sentences.frame["strategy"]
    named = rules.nunique() > 1
    measured: dict[str, Estimate] = {
        "stability": stability(partitions, problems, n_boot=n_boot, seed=seed),
        "stability_gaussian": null,
        "r2": held_out_r2(vectors, problems, n, method=method, folds=folds, n_boot=n_boot, seed=seed),
        "silhouette": silhouette(rows, labels, problems, n_boot=n_boot, seed=seed),
        "orthogonality": orthogonality(rows, labels, n, problems, seed=seed),
        "agreement": agreement(labels, rules, problems, n_boot=n_boot, seed=seed) if named else unknown,
    }
    counts = np.bincount(labels, minlength=n)
    line: dict[str, Any] = {"method": method, "n": n, "used": int((counts > 0).sum()),
                            "largest": float(counts.max() / counts.sum())}  # fmt: skip
    for name, one in measured.items():
        line |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    line["agreement_p"] = agreement_p(labels, rules, problems, seed=seed) if named else np.nan
    return fit, line


def _central(partitions: list[Int[np.ndarray, "row"]]) -> int:
    """The partition that agrees best with the others; the first of equals."""
    means = []
    for one in partitions:
        tables = [pd.crosstab(one, other).to_numpy(dtype=float)[None] for other in partitions]
        means.append(np.nanmean([float(adjusted_rand(table)[0]) for table in tables]))
    return int(np.argmax(np.nan_to_num(means)))


def _named(labels: Int[np.ndarray, "row"], names: Mapping[int, str] | None) -> list[str]:
    known = names or {}
    return [known.get(int(label) + 1, f"category {int(label) + 1}") for label in labels]
