"""Is it already there?  Linear probes at every site for every label, each beside what it must beat.

For each site and label a logistic probe, standardised in the fold, its strength chosen on inner folds, is scored by its
AUROC within held-out folds (:mod:`probes.latent.ranking`), folds grouped by problem.  Beside it stand the same probe on
shuffled labels, on a control task, on position, length and last tokens, on a randomly initialised twin of the model,
and, where the caller knows it, the score of the best possible reader on the same rows.  The best site is never read off
the finished table: each outer fold picks one on its inner folds, and the rows of that fold are scored by its pick
(nested selection).  p-values are one-sided against 0.5, ``q`` is Benjamini-Hochberg's over the table.

Assumes that problems are exchangeable.  Being readable does not show that the model uses what is read (for that see
:mod:`probes.latent.steering`), and a nonlinear reader may find more.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int

from hooks.rollouts import Rollouts
from hooks.sites import Site
from probes.latent.controls import control_label, last_tokens, position_features, shuffled, token_features
from probes.latent.crossfit import CrossFit, crossfit, crossfit_at
from probes.latent.labels import Labels, label_table, score_table
from probes.latent.logistic import STRENGTHS, ClassWeight
from probes.latent.matrix import SiteMatrix
from probes.latent.quality import quality
from probes.latent.ranking import Tested, Wins, assess, assess_difference, within_folds
from probes.latent.splits import check_no_leak, grouped_folds
from probes.results import Result, manifest
from probes.stats import Column, benjamini_hochberg
from probes.stats.problems import problem_codes


@dataclass(frozen=True, repr=False, eq=False)
class Sweep(Result):
    """Probes at every site for every label."""

    frame: pd.DataFrame
    """A row a site and label: ``auroc`` with ``low``, ``high``, ``p``, ``q``; ``shuffled``, ``control``, ``selectivity``,
    ``twin``; the baselines' AUROC and ``over_baseline`` (the probe's lead over the best of them) with interval and
    p; ``ceiling`` (the best possible reader's) and ``below_ceiling`` with interval; decisions and calibration."""
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
                z=table.to_numpy(), x=list(table.columns), y=list(table.index), zmin=0.5, zmax=1.0, colorscale="Viridis",
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
    sites: Sequence[str | Site] | None = None,
    C: Sequence[float] = STRENGTHS,
    folds: int | Int[np.ndarray, "row"] = 5,
    inner: int = 2,
    class_weight: ClassWeight = None,
    controls: bool = True,
    tokens: Rollouts | Sequence[Sequence[int]] | None = None,
    control_types: Column | None = None,
    ceiling: Any = None,
    twin: Mapping[str, Any] | None = None,
    n_boot: int = 1000,
    seed: int = 0,
    device: Any = None,
    progress: Callable[[int, int], object] | None = None,
) -> Sweep:
    """Probe every site for every label.

    Args:
        acts: activations in memory or an open store, with their table ``rows``; one site at a time is read.
        labels: see :data:`probes.latent.labels.Labels`; a missing value leaves a row out of that label.
        groups: what stays on one side of a split, one a row; by default the column ``split`` of ``acts.rows``.
        split: that column.
        sites: which sites; all by default.
        C: inverse strengths to choose among.
        folds: how many, or the fold of each row.
        inner: inner folds on which each outer fold chooses strength and site.
        class_weight: as in scikit-learn.
        controls: also fit shuffled labels, the control task and the baselines.
        tokens: the rollouts the rows come from, or each row's last token ids, for the bag-of-tokens baseline; by
            default the column ``id`` of ``acts.rows``, the last token alone.
        control_types: the types of the control task, one a row; by default the column ``id``.
        ceiling: scores of the best possible reader, a column for each label that has one.
        twin: activations of a randomly initialised twin at the same rows.
        n_boot: bootstrap draws over problems.
        seed: names every random stream.
        device: where to fit.
        progress: called with (fits done, fits in all), a site or baseline being one.

    Raises:
        LeakError: when given folds cut through a group.
        ValueError: for labels, groups or activations that do not fit each other.
    """
    rows: pd.DataFrame = getattr(acts, "rows", pd.DataFrame())
    names = [str(site) for site in (sites if sites is not None else acts)]
    if not names:
        raise ValueError("there is no site to probe; capture some, or leave sites out")
    n_rows = len(acts[names[0]])
    label_names, values = label_table(labels, n_rows)
    setup = _Setup(label_names, values, *_grouping(rows, groups, split, folds, n_rows, seed), np.asarray(C, dtype=float),
                   inner, class_weight, n_boot, seed, device)  # fmt: skip
    baselines = _baseline_features(rows, tokens, n_rows) if controls else {}
    types = _types(rows, control_types, n_rows) if controls else None
    total, done = len(names) + len(baselines), 0
    readers = {}
    for name, features in baselines.items():
        readers[name] = setup.fit(SiteMatrix.of(features))
        done += 1
        if progress is not None:
            progress(done, total)
    beside = _Beside(setup, readers, score_table(ceiling, label_names, n_rows))
    table: list[dict[str, Any]] = []
    fits: list[CrossFit] = []
    for name in names:
        fitted, lines = _probe_site(setup, beside, name, acts, twin, types, controls)
        fits.append(fitted)
        table += lines
        done += 1
        if progress is not None:
            progress(done, total)
    frame = pd.DataFrame(table)
    selected = pd.DataFrame([_nested(setup, beside, fits, names, at) for at in range(len(label_names))])
    for part in (frame, selected):
        part.insert(part.columns.get_loc("p") + 1, "q", benjamini_hochberg(part["p"]))
    made = manifest(
        what="sweep", activations=dict(getattr(acts, "manifest", {}) or {}), C=[float(c) for c in C], inner=inner,
        folds=int(setup.folds.max()) + 1, class_weight=str(class_weight), n_boot=n_boot, seed=seed,
        baselines=sorted(baselines), control_types=None if types is None else len(np.unique(types)),
    )  # fmt: skip
    scores = np.stack([fit.scores for fit in fits]).astype(np.float32)
    return Sweep(frame, selected, scores, tuple(names), label_names, setup.folds, manifest=made)


@dataclass(frozen=True)
class _Setup:
    """A sweep's question, checked once."""

    names: tuple[str, ...]
    values: np.ndarray
    problems: np.ndarray
    folds: np.ndarray
    C: np.ndarray
    inner: int
    class_weight: ClassWeight
    n_boot: int
    seed: int
    device: Any

    def fit(self, site: SiteMatrix) -> CrossFit:
        return crossfit(site, self.values, self.folds, C=self.C, inner=self.inner, class_weight=self.class_weight)

    def refit(self, site: SiteMatrix, values: np.ndarray, C: np.ndarray) -> np.ndarray:
        return crossfit_at(site, values, self.folds, C, class_weight=self.class_weight)

    def wins(self, scores: np.ndarray, at: int) -> Wins:
        return Wins.of(scores, self.values[at], self.problems, self.folds)

    def assess(self, wins: Wins) -> Tested:
        return assess(wins, n_boot=self.n_boot, seed=self.seed)

    def difference(self, first: Wins, second: Wins) -> Tested:
        return assess_difference(first, second, n_boot=self.n_boot, seed=self.seed)


class _Beside:
    """The baselines and the ceiling of each label, ranked once for all sites."""

    def __init__(self, setup: _Setup, readers: Mapping[str, CrossFit], ceiling: Mapping[str, np.ndarray]) -> None:
        self.setup = setup
        self.baselines = [
            {name: setup.wins(fit.scores[at], at) for name, fit in readers.items()} for at in range(len(setup.names))
        ]
        self.ceiling = [
            setup.wins(ceiling[name], at) if name in ceiling else None for at, name in enumerate(setup.names)
        ]

    def compare(self, wins: Wins, at: int) -> dict[str, Any]:
        """The columns that set one label's probe beside its baselines and its ceiling."""
        values = {name: other.value for name, other in self.baselines[at].items()}
        out: dict[str, Any] = {f"baseline_{name}": value for name, value in values.items()}
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        if known:
            lead = self.setup.difference(self.baselines[at][max(known, key=lambda name: known[name])], wins)
            out |= _columns("over_baseline", lead, with_p=True)
        if any(one is not None for one in self.ceiling):
            best = self.ceiling[at]
            out["ceiling"] = math.nan if best is None else best.value
            gap = Tested(_nothing(wins), math.nan) if best is None else self.setup.difference(wins, best)
            out |= _columns("below_ceiling", gap, with_p=False)
        return out


def _probe_site(
    setup: _Setup,
    beside: _Beside,
    name: str,
    acts: Mapping[str, Any],
    twin: Mapping[str, Any] | None,
    types: np.ndarray | None,
    controls: bool,
) -> tuple[CrossFit, list[dict[str, Any]]]:
    site = SiteMatrix.of(whole(acts[name]), setup.device)
    if len(site.inverse) != setup.values.shape[1]:
        raise ValueError(f"{name} has {len(site.inverse)} rows and the labels have {setup.values.shape[1]}")
    fitted = setup.fit(site)
    extra: dict[str, np.ndarray] = {}
    if controls:
        mixed = [shuffled(own, seed=setup.seed, name=label) for own, label in zip(setup.values, setup.names)]
        kinds = [
            control_label(own, types, seed=setup.seed, name=label) if types is not None else np.full(len(own), np.nan)
            for own, label in zip(setup.values, setup.names)
        ]
        others = np.stack(mixed + kinds)
        read = setup.refit(site, others, np.concatenate([fitted.C, fitted.C]))
        areas = np.array([within_folds(z, y, setup.folds) for z, y in zip(read, others)])
        extra["shuffled"], extra["control"] = np.split(areas, 2)
    if twin is not None:
        other = setup.fit(SiteMatrix.of(whole(twin[name]), setup.device))
        extra["twin"] = np.array([within_folds(z, y, setup.folds) for z, y in zip(other.scores, setup.values)])
    parsed = Site.parse(name) if _is_site(name) else None
    lines = []
    for at, label in enumerate(setup.names):
        wins = setup.wins(fitted.scores[at], at)
        own = {key: float(value[at]) for key, value in extra.items()}
        if "control" in own:
            own["selectivity"] = wins.value - own["control"]
        where = {"site": name, "kind": parsed.kind if parsed else None, "layer": parsed.layer if parsed else None}
        lines.append(
            where | _counts(setup, at, label) | _columns("auroc", setup.assess(wins), with_p=True) | own
            | beside.compare(wins, at) | quality(fitted.scores[at], setup.values[at], fitted.threshold[at])
            | {"C": float(np.median(fitted.C[at]))}
        )  # fmt: skip
    return fitted, lines


def _nested(setup: _Setup, beside: _Beside, fits: Sequence[CrossFit], names: Sequence[str], at: int) -> dict[str, Any]:
    """The probe whose site each outer fold chose on its inner folds."""
    inner = np.stack([fit.inner[at] for fit in fits])
    choice = np.argmax(np.where(np.isnan(inner), -math.inf, inner), axis=0)
    scores = np.full(setup.values.shape[1], math.nan)
    for fold, site in enumerate(choice):
        own = setup.folds == fold
        scores[own] = fits[site].scores[at][own]
    wins = setup.wins(scores, at)
    chosen = Counter(names[site] for site in choice)
    text = ", ".join(f"{name} x{count}" for name, count in sorted(chosen.items(), key=lambda one: (-one[1], one[0])))
    found = _columns("auroc", setup.assess(wins), with_p=True) | beside.compare(wins, at)
    return _counts(setup, at, setup.names[at]) | found | {"sites": text}


def whole(site: Any) -> torch.Tensor:
    """All rows of one site as a tensor, whether it is one, a site of a store, or an array."""
    if isinstance(site, torch.Tensor):
        return site
    return site.torch() if hasattr(site, "torch") else torch.as_tensor(np.asarray(site))


def _columns(name: str, tested: Tested, *, with_p: bool) -> dict[str, float]:
    prefix = "" if name == "auroc" else f"{name}_"
    out = {name: tested.estimate.value, f"{prefix}low": tested.estimate.low, f"{prefix}high": tested.estimate.high}
    return out | ({f"{prefix}p": tested.p} if with_p else {})


def _counts(setup: _Setup, at: int, label: str) -> dict[str, Any]:
    own = setup.values[at]
    known = ~np.isnan(own)
    return {
        "label": label, "rows": int(known.sum()), "positive": int((own == 1).sum()),
        "problems": len(np.unique(setup.problems[known])),
    }  # fmt: skip


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


def _baseline_features(rows: pd.DataFrame, tokens: Any, n_rows: int) -> dict[str, np.ndarray]:
    out = dict(position_features(rows)) if len(rows) == n_rows else {}
    if isinstance(tokens, Rollouts):
        tokens = last_tokens(tokens, rows)
    elif tokens is None and "id" in rows:
        tokens = rows["id"].tolist()
    if tokens is not None:
        if len(tokens) != n_rows:
            raise ValueError(f"tokens were given for {len(tokens)} rows of {n_rows}")
        out["tokens"] = token_features(tokens)
    # A feature that never varies cannot rank anything and would be reported as a baseline of one half.
    return {name: features for name, features in out.items() if features.size and np.ptp(features, axis=0).any()}


def _types(rows: pd.DataFrame, control_types: Column | None, n_rows: int) -> np.ndarray | None:
    given: Iterable[Any] | None = control_types if control_types is not None else rows["id"] if "id" in rows else None
    if given is None:
        return None
    types = np.array([str(one) for one in given])
    if len(types) != n_rows:
        raise ValueError(f"control types were given for {len(types)} rows of {n_rows}")
    return types


def _nothing(wins: Wins) -> Any:
    from probes.stats import Estimate

    return Estimate(math.nan, math.nan, math.nan, wins.present(), "no ceiling is known")


def _is_site(name: str) -> bool:
    kind, dot, layer = name.partition(".")
    return bool(dot and kind and layer.isdigit())
