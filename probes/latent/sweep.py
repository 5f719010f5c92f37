"""Is it already there?  Linear probes at every site for every label, each beside what it must beat.

For each site and label a linear probe (or any scikit-learn classifier), standardised in the fold, its strength chosen
on inner folds, is scored by its AUROC within held-out folds (:mod:`probes.latent.ranking`), folds grouped by
problem.  Beside it stand the same probe on shuffled labels, on a control task, on position, length and last tokens, on
a randomly initialised twin of the model, and, where the caller knows it, the score of the best possible reader on the
same rows.  The best site is never read off the finished table: each outer fold picks one on its inner folds, and the
rows of that fold are scored by its pick (nested selection).  p-values are one-sided against 0.5 and allow for folds
that train each other; ``q`` is Benjamini-Hochberg's over the table.

Assumes that problems are exchangeable.  Being readable does not show that the model uses what is read (for that see
:mod:`probes.latent.steering`), and a nonlinear reader may find more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int

from hooks.rollouts import Rollouts
from hooks.sites import Site
from probes.latent.controls import last_tokens, position_features, suffixes, token_features
from probes.latent.crossfit import CrossFit
from probes.latent.estimators import Grid
from probes.latent.kinds import Kind
from probes.latent.labels import Labels, label_table, score_table
from probes.latent.logistic import STRENGTHS, ClassWeight
from probes.latent.reading import Beside, Question, nested, probe_site
from probes.latent.splits import check_no_leak, grouped_folds
from probes.results import Result, manifest
from probes.stats import Column, benjamini_hochberg
from probes.stats.problems import problem_codes

Runner = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Does a function on every item and gives the results in order, as the builtin ``map`` does; it may do so elsewhere."""


@dataclass(frozen=True, repr=False, eq=False)
class Sweep(Result):
    """Probes at every site for every label."""

    frame: pd.DataFrame
    """A row a site and label: ``auroc`` with ``low``, ``high``, ``p``, ``q``; ``shuffled``, ``control``,
    ``selectivity``, ``twin``; the baselines' AUROC and ``over_baseline`` (the lead over the best of them) with interval
    and p; ``ceiling`` (the best possible reader's) and ``below_ceiling`` with interval; decisions and calibration; what
    the folds chose; and of each k-sparse probe asked for its AUROC ``sparse_k`` on one split, interval, p, and why
    there is none (``rejected``)."""
    selected: pd.DataFrame
    """A row a label: the AUROC of the nested choice of site, the same comparisons, and which sites the folds chose."""
    scores: Float[np.ndarray, "site label row"]
    """Out-of-fold log-odds; NaN where a label does not apply."""
    sites: tuple[str, ...]
    """Names along the first axis of ``scores``."""
    labels: tuple[str, ...]
    """Names along its second."""
    folds: Int[np.ndarray, "row"]
    """The outer fold of each row."""

    def headline(self) -> str:
        """How many probes, on how much, and how many of them read something."""
        found = int((self.frame["q"] < 0.05).sum())
        return (
            f"Sweep: {len(self.sites)} sites x {len(self.labels)} labels, {len(self.folds)} rows; "
            f"{found} of {len(self.frame)} above chance at a false discovery rate of 0.05"
        )

    def plot(self) -> go.Figure:
        """AUROC by site (down) and label (across)."""
        table = self.frame.pivot(index="site", columns="label", values="auroc").reindex(self.sites)[list(self.labels)]
        figure = go.Figure(
            go.Heatmap(
                z=table.to_numpy(), x=list(table.columns), y=list(table.index), zmin=0.5, zmax=1.0,
                colorscale="Viridis",
                text=np.vectorize(lambda v: "" if math.isnan(v) else f"{v:.2f}")(table.to_numpy(float)),
                texttemplate="%{text}", colorbar={"title": "AUROC"},
            )
        )  # fmt: skip
        figure.update_layout(title="What a linear probe reads, held-out problems", yaxis_title="site")
        return figure


def sweep(
    acts: Mapping[str, Any],
    labels: Labels,
    *,
    groups: Column | None = None,
    split: str = "problem",
    probe: Any = "logistic",
    sites: Sequence[str | Site] | None = None,
    C: Sequence[float] = STRENGTHS,
    grid: Grid = None,
    folds: int | Int[np.ndarray, "row"] = 5,
    inner: int = 2,
    class_weight: ClassWeight = None,
    sample_weight: Column | None = None,
    standardise: bool = True,
    sparse: Sequence[int] = (),
    controls: bool = True,
    tokens: Rollouts | Sequence[Sequence[int]] | None = None,
    control_types: Column | None = None,
    ceiling: Any = None,
    twin: Mapping[str, Any] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    device: Any = None,
    n_jobs: int | None = None,
    runner: Runner = map,
    progress: Callable[[int, int], object] | None = None,
) -> Sweep:
    """Probe every site for every label.

    Args:
        acts: activations in memory or an open store, with their table ``rows``; one site at a time is read.
        labels: see :data:`probes.latent.labels.Labels`; a missing value leaves a row out of that label.
        groups: what stays on one side of a split, one a row; by default the column ``split`` of ``acts.rows``.
        split: that column.
        probe: ``"logistic"``, ``"ridge"`` or ``"mass_mean"`` (:class:`probes.latent.probe.LinearProbe`), fit together;
            or a scikit-learn classifier, of which each fit is a clone.
        sites: which sites; all by default.
        C: inverse strengths of a linear probe to choose among.
        grid: values of a classifier's parameters to choose among.
        folds: how many, or the fold of each row.
        inner: inner folds on which each outer fold chooses strength and site.
        class_weight: as in scikit-learn.
        sample_weight: of each row, in every fit and in the choice of strength; the AUROC counts each row once.
        standardise: False leaves the columns of a classifier as they are; linear probes are always standardised.
        sparse: numbers of coordinates, as (1, 4, 16), for k-sparse probes beside (:mod:`probes.latent.sparse`).
        controls: also fit shuffled labels, the control task and the baselines.
        tokens: the rollouts the rows come from, or each row's last token ids, for the bag-of-tokens baseline; by
            default the column ``id`` of ``acts.rows``, the last token alone.
        control_types: the types of the control task, one a row; by default the last few of ``tokens``.
        ceiling: scores of the best possible reader, a column for each label that has one.
        twin: activations of a randomly initialised twin at the same rows.
        n_boot: bootstrap draws over problems.
        seed: names every random stream.
        device: where to fit linear probes.
        n_jobs: joblib's processes for the fits of a classifier.
        runner: who does the work of each site, and so where; the result is the same (:mod:`probes.cluster` has one).
        progress: called with (fits done, fits in all), a site or baseline being one.

    Raises:
        LeakError: when given folds cut through a group.
        ValueError: for labels, groups or activations that do not fit each other, a probe that does not exist, or
            options that it does not have.
    """
    rows: pd.DataFrame = getattr(acts, "rows", pd.DataFrame())
    names = [str(site) for site in (sites if sites is not None else acts)]
    if not names:
        raise ValueError("there is no site to probe; capture some, or leave sites out")
    n_rows = len(acts[names[0]])
    label_names, values = label_table(labels, n_rows)
    codes, parts = _grouping(rows, groups, split, folds, n_rows, seed)
    kind = Kind.of(
        probe, C=C, grid=grid, inner=inner, class_weight=class_weight, sample_weight=sample_weight, n_rows=n_rows,
        standardise=standardise, n_jobs=n_jobs, seed=seed, device=device,
    )  # fmt: skip
    setup = Question(label_names, values, codes, parts, kind, n_boot, seed, _sparse(sparse, kind))
    last = _tokens(rows, tokens, n_rows) if controls else None
    baselines = _baseline_features(rows, last, n_rows) if controls else {}
    types = _types(control_types, last, n_rows)
    total, done = len(names) + len(baselines), 0
    readers = {}
    for name, read in zip(baselines, runner(partial(_fit, setup), baselines.values())):
        readers[name] = read
        done += 1
        if progress is not None:
            progress(done, total)
    beside = Beside(setup, readers, score_table(ceiling, label_names, n_rows))
    table: list[dict[str, Any]] = []
    fits: list[CrossFit] = []
    # A site travels with its own activations alone, and is read from a store where it is needed.
    travel = ((name, {name: acts[name]}, None if twin is None else {name: twin[name]}) for name in names)
    for fitted, lines in runner(partial(_at_site, setup, beside, types=types, controls=controls), travel):
        fits.append(fitted)
        table += lines
        done += 1
        if progress is not None:
            progress(done, total)
    frame = pd.DataFrame(table)
    selected = pd.DataFrame([nested(setup, beside, fits, names, at) for at in range(len(label_names))])
    for part in (frame, selected):
        part.insert(list(part.columns).index("p") + 1, "q", np.asarray(benjamini_hochberg(part["p"])))
    made = manifest(
        what="sweep", activations=dict(getattr(acts, "manifest", {}) or {}), C=[float(c) for c in C], inner=inner,
        folds=int(setup.folds.max()) + 1, class_weight=str(class_weight), n_boot=n_boot, seed=seed,
        baselines=sorted(baselines), probe=probe if isinstance(probe, str) else repr(probe), grid=repr(grid or {}),
        weighted=sample_weight is not None, sparse=list(sparse),
    )  # fmt: skip
    scores = np.stack([fit.scores for fit in fits]).astype(np.float32)
    return Sweep(frame, selected, scores, tuple(names), label_names, setup.folds, manifest=made)


def _fit(setup: Question, features: np.ndarray) -> CrossFit:
    return setup.fit(setup.kind.ready(features))


def _at_site(setup: Question, beside: Beside, part: Any, **options: Any) -> tuple[CrossFit, list[dict[str, Any]]]:
    name, acts, twin = part
    return probe_site(setup, beside, name, acts, twin=twin, **options)


def _sparse(sparse: Sequence[int], kind: Kind) -> tuple[int, ...]:
    if sparse and (kind.weight is not None or kind.class_weight not in (None, "balanced")):
        raise ValueError("k-sparse probes take no sample_weight, and class_weight 'balanced' or None; leave them out")
    if any(one < 1 for one in sparse):
        raise ValueError(f"sparse needs positive numbers of coordinates, not {list(sparse)}")
    return tuple(int(one) for one in sparse)


def _grouping(
    rows: pd.DataFrame, groups: Column | None, split: str, folds: Any, n_rows: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if groups is None:
        if split not in rows:
            raise ValueError(f"the rows have no column {split!r}; give groups, one a row")
        groups = rows[split]
    codes = problem_codes(groups, n_rows)[1]
    if isinstance(folds, (int, np.integer)):
        return codes, grouped_folds(groups, folds=int(folds), seed=seed)
    given = np.unique(np.asarray(folds), return_inverse=True)[1].astype(np.int64)
    check_no_leak(groups, given)
    return codes, given


def _tokens(rows: pd.DataFrame, tokens: Any, n_rows: int) -> Sequence[Any] | None:
    """Each row's last token ids, as far as they are known."""
    if isinstance(tokens, Rollouts):
        tokens = last_tokens(tokens, rows)
    elif tokens is None and "id" in rows:
        tokens = rows["id"].tolist()
    if tokens is not None and len(tokens) != n_rows:
        raise ValueError(f"tokens were given for {len(tokens)} rows of {n_rows}")
    return tokens


def _baseline_features(rows: pd.DataFrame, tokens: Sequence[Any] | None, n_rows: int) -> dict[str, np.ndarray]:
    out = dict(position_features(rows)) if len(rows) == n_rows else {}
    if tokens is not None:
        out["tokens"] = token_features(tokens)
    # A feature that never varies cannot rank anything and would be reported as a baseline of one half.
    return {name: features for name, features in out.items() if features.size and np.ptp(features, axis=0).any()}


def _types(control_types: Column | None, tokens: Sequence[Any] | None, n_rows: int) -> list[np.ndarray]:
    if control_types is None:
        return [] if tokens is None else suffixes(tokens)
    types = np.array([str(one) for one in control_types])
    if len(types) != n_rows:
        raise ValueError(f"control types were given for {len(types)} rows of {n_rows}")
    return [types]
