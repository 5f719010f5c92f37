"""How few coordinates carry a label?  TransformerLens' k-sparse probes on held-out problems.

Of the training rows' coordinates the ``k`` with the largest difference of class means are kept, and a logistic probe is
fit on these alone (Gurnee et al. 2023, arXiv 2305.01610; ``transformer_lens.tools.analysis.sparse_probing``, which
selects, fits and splits).  Whole problems are held out, once, about three tenths of the rows; interval and p are
over the held-out problems.  Beside each score stand random coordinates and shuffled training labels.

A fit that does not converge is recorded with its reason and has no score.  One split is noisier than a cross-fit.  It
does not show that the model uses these coordinates, nor that they mean one thing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.sites import Site
from hooks.streams import stream
from probes.latent.labels import Labels, label_table
from probes.latent.matrix import whole
from probes.latent.ranking import Wins, assess
from probes.results import Result, manifest
from probes.stats import Column, benjamini_hochberg
from probes.stats.problems import problem_codes

CONTROLS = 5
"""Draws of random coordinates and of shuffled labels beside each score."""


@dataclass(frozen=True, repr=False, eq=False)
class Sparse(Result):
    """k-sparse probes at every site for every label."""

    frame: pd.DataFrame
    """A row a site, label and k: ``auroc`` with ``low``, ``high``, ``p``, ``q`` on held-out problems, ``accuracy``,
    ``random`` and ``shuffled`` (mean AUROC of the controls), the ``features`` chosen, ``rejected`` (why there is no
    score, or empty) and ``rejected_controls`` (how many controls did not converge)."""

    def headline(self) -> str:
        """How many probes, and how many were rejected."""
        lost = int((self.frame["rejected"] != "").sum())
        return f"k-sparse probes: {len(self.frame)} fits at k = {', '.join(map(str, self.frame['k'].unique()))}" + (
            f"; {lost} rejected" if lost else ""
        )

    def plot(self) -> go.Figure:
        """AUROC over k, a line a site and label."""
        figure = go.Figure()
        for (site, label), own in self.frame.groupby(["site", "label"], sort=False):
            figure.add_scatter(x=own["k"], y=own["auroc"], name=f"{site} {label}", mode="lines+markers")
        figure.update_layout(
            title="What k coordinates read, held-out problems", xaxis={"title": "k", "type": "log"},
            yaxis_title="AUROC",
        )  # fmt: skip
        return figure


def sparse(
    acts: Mapping[str, Any],
    labels: Labels,
    *,
    k: Sequence[int] = (1, 4, 16),
    groups: Column | None = None,
    split: str = "problem",
    sites: Sequence[str | Site] | None = None,
    class_weight: str | None = "balanced",
    n_boot: int = 1000,
    seed: int = 0,
) -> Sparse:
    """k-sparse probes of every label at every site; the frame's conventions are those of a sweep.

    Args:
        acts: activations in memory or an open store, with their table ``rows``; one site at a time is read.
        labels: see :data:`probes.latent.labels.Labels`; a missing value leaves a row out of that label.
        k: how many coordinates.
        groups: what is held out whole, one a row; by default the column ``split`` of ``acts.rows``.
        split: that column.
        sites: which sites; all by default.
        class_weight: "balanced" or None.
        n_boot: bootstrap draws over held-out problems.
        seed: of the split and the controls.

    Raises:
        ValueError: for labels, groups or k that do not fit the activations.

    Does not show that the model uses the coordinates it finds.
    """
    names = [str(site) for site in (sites if sites is not None else acts)]
    if not names:
        raise ValueError("there is no site to probe; capture some, or leave sites out")
    n_rows = len(acts[names[0]])
    rows: pd.DataFrame = getattr(acts, "rows", pd.DataFrame())
    if groups is None and split not in rows:
        raise ValueError(f"the rows have no column {split!r}; give groups, one a row")
    codes = problem_codes(rows[split] if groups is None else groups, n_rows)[1]
    known, values = label_table(labels, n_rows)
    table = []
    for name in names:
        matrix = whole(acts[name])
        for label, own in zip(known, values, strict=True):
            for found in k_sparse(matrix, own, codes, k=k, class_weight=class_weight, n_boot=n_boot, seed=seed):
                table.append({"site": name, "label": label} | found)
    frame = pd.DataFrame(table)
    frame.insert(list(frame.columns).index("p") + 1, "q", np.asarray(benjamini_hochberg(frame["p"])))
    made = manifest(
        what="k-sparse probes", activations=dict(getattr(acts, "manifest", {}) or {}), k=list(k),
        class_weight=str(class_weight), n_boot=n_boot, seed=seed,
    )  # fmt: skip
    return Sparse(frame, manifest=made)


def k_sparse(
    matrix: Float[Tensor, "row d"],
    label: Float[np.ndarray, "row"],
    problems: Int[np.ndarray, "row"],
    *,
    k: Sequence[int],
    class_weight: str | None = "balanced",
    n_boot: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One label at one site: a line for each k, as in :class:`Sparse`.

    Raises:
        ValueError: for a k that is not positive.
    """
    if not len(k) or min(k) < 1:
        raise ValueError(f"k needs positive numbers of coordinates, not {list(k)}")
    if class_weight not in (None, "balanced"):
        raise ValueError(f"k-sparse probes take class_weight 'balanced' or None, not {class_weight!r}")
    known = np.flatnonzero(~np.isnan(label))
    own, codes = label[known], problems[known]
    counts = {"rows": len(known), "positive": int((own == 1).sum()), "problems": len(np.unique(codes))}
    sides = [len(np.unique(codes[own == side])) for side in (0, 1)]
    lines = []
    for one in k:
        why = ""
        if min(sides) < 2:
            why = "a class has rows in fewer than two problems"
        elif one > matrix.shape[1]:
            why = f"there are {matrix.shape[1]} coordinates only"
        found = _unscored(why) if why else _fit(matrix[known], own, codes, one, class_weight, n_boot, seed)
        lines.append({"k": int(one)} | counts | found)
    return lines


def _fit(
    matrix: Tensor, label: np.ndarray, problems: np.ndarray, k: int, class_weight: Any, n_boot: int, seed: int
) -> dict[str, Any]:
    # The import takes seconds, and only those who ask for sparse probes should wait for it.
    from transformer_lens.tools.analysis.sparse_probing import SparseProbeConvergenceError, sweep_sparse_probe

    rows = matrix if matrix.is_floating_point() else matrix.float()
    try:
        # One k at a time: a fit that fails would take those of the other k with it.  The split is the seed's.
        found = sweep_sparse_probe(
            rows, torch.from_numpy(label.astype(np.int64)), ks=(k,), groups=torch.from_numpy(problems),
            preprocess="standardize", class_weight=class_weight, n_random_subsets=CONTROLS,
            n_label_shuffles=CONTROLS, seed=int(stream(seed, "k-sparse split").integers(2**31)),
        )  # fmt: skip
    except SparseProbeConvergenceError as error:
        return _unscored(str(error))
    fit = found.results[0]
    test = fit.test_indices.numpy()
    chosen = rows[fit.test_indices][:, fit.selected_features].double().cpu()
    score = ((chosen - fit.preprocess_mean) / fit.preprocess_scale) @ fit.coefficients + fit.intercept
    codes = np.unique(problems[test], return_inverse=True)[1].astype(np.int64)
    wins = Wins.of(score.numpy(), label[test], codes, np.zeros(len(test), dtype=np.int64))
    tested = assess(wins, n_boot=n_boot, seed=seed)
    random, shuffled = found.random_coordinate_controls[0].roc_auc, found.label_shuffle_controls[0].roc_auc
    return {
        "held_out": len(test), "auroc": tested.estimate.value, "low": tested.estimate.low,
        "high": tested.estimate.high, "p": tested.p, "accuracy": fit.metrics.accuracy,
        "random": float(random.mean()) if len(random) else math.nan,
        "shuffled": float(shuffled.mean()) if len(shuffled) else math.nan,
        "features": ", ".join(map(str, fit.selected_features.tolist())), "rejected": "",
        "rejected_controls": len(found.rejections),
    }  # fmt: skip


def _unscored(why: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("auroc", "low", "high", "p", "accuracy", "random", "shuffled"), math.nan)
    return {"held_out": 0} | numbers | {"features": "", "rejected": why, "rejected_controls": 0}
