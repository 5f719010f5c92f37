"""One site's probes beside what they must beat: the lines of a sweep's table.

A probe is compared on the same rows, folds and bootstrap draws with its baselines and its ceiling, so that differences
are paired.  The nested choice of a site is made here too, fold by fold.  What it does not show: see
:mod:`probes.latent.sweep`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from hooks.sites import Site
from probes.latent.controls import control_label, shuffled
from probes.latent.crossfit import CrossFit
from probes.latent.kinds import Kind, Ready
from probes.latent.matrix import whole
from probes.latent.quality import quality
from probes.latent.ranking import Tested, Wins, assess, assess_difference, within_folds
from probes.latent.sparse import k_sparse
from probes.stats import Estimate


@dataclass(frozen=True, eq=False)
class Question:
    """What a sweep asks of every site, checked once."""

    names: tuple[str, ...]
    """Names of the labels."""
    values: Float[np.ndarray, "label row"]
    """1, 0, or NaN where a label does not apply."""
    problems: Int[np.ndarray, "row"]
    """The problem of each row, as numbers from 0."""
    folds: Int[np.ndarray, "row"]
    """The outer fold of each row."""
    kind: Kind
    """Which probe, and how it is fitted."""
    n_boot: int
    """Bootstrap draws."""
    seed: int
    """Names the streams."""
    sparse: tuple[int, ...] = ()
    """Coordinates of the k-sparse probes beside it; none by default."""

    def fit(self, site: Ready) -> CrossFit:
        """All labels at one site."""
        return self.kind.fit(site, self.values, self.folds)

    def refit(
        self, site: Ready, values: Float[np.ndarray, "label row"], C: Float[np.ndarray, "label fold"]
    ) -> Float[np.ndarray, "label row"]:
        """Other labels at strengths that are given."""
        return self.kind.refit(site, values, self.folds, C)

    def wins(self, scores: Float[np.ndarray, "row"], at: int) -> Wins:
        """How scores rank the rows of label number ``at``."""
        return Wins.of(scores, self.values[at], self.problems, self.folds)

    def assess(self, wins: Wins) -> Tested:
        """AUROC against one half."""
        return assess(wins, n_boot=self.n_boot, seed=self.seed, cross_fitted=True)

    def difference(self, first: Wins, second: Wins) -> Tested:
        """``second`` minus ``first``."""
        return assess_difference(first, second, n_boot=self.n_boot, seed=self.seed, cross_fitted=True)


class Beside:
    """The baselines and the ceiling of each label, ranked once for all sites."""

    def __init__(self, setup: Question, readers: Mapping[str, CrossFit], ceiling: Mapping[str, np.ndarray]) -> None:
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
            unknown = Tested(Estimate(math.nan, math.nan, math.nan, 0, "no ceiling is known"), math.nan)
            gap = unknown if best is None else self.setup.difference(wins, best)
            out |= _columns("below_ceiling", gap, with_p=False)
        return out


def probe_site(
    setup: Question,
    beside: Beside,
    name: str,
    acts: Mapping[str, Any],
    *,
    twin: Mapping[str, Any] | None,
    types: Sequence[Shaped[np.ndarray, "row"]],
    controls: bool,
) -> tuple[CrossFit, list[dict[str, Any]]]:
    """The fits of all labels at one site, and a line of the table for each label.

    Raises:
        ValueError: when the site has another number of rows than the labels.
    """
    rows = whole(acts[name])
    if len(rows) != setup.values.shape[1]:
        raise ValueError(f"{name} has {len(rows)} rows and the labels have {setup.values.shape[1]}")
    few = _few(setup, rows)
    site = setup.kind.ready(rows)
    # From here on the site made ready is the only copy that is needed.
    del rows
    fitted = setup.fit(site)
    extra = _controls(setup, site, fitted, types) if controls else {}
    del site
    if twin is not None:
        other = setup.fit(setup.kind.ready(whole(twin[name])))
        extra["twin"] = np.array([within_folds(z, y, setup.folds) for z, y in zip(other.scores, setup.values)])
    parsed = Site.parse(name) if _is_site(name) else None
    where = {"site": name, "kind": parsed.kind if parsed else None, "layer": parsed.layer if parsed else None}
    lines = []
    for at, label in enumerate(setup.names):
        wins = setup.wins(fitted.scores[at], at)
        own = {key: float(value[at]) for key, value in extra.items()}
        if "control" in own:
            own["selectivity"] = wins.value - own["control"]
        described = quality(fitted.scores[at], setup.values[at], fitted.threshold[at], log_odds=setup.kind.log_odds)
        lines.append(
            where | _counts(setup, at, label) | _columns("auroc", setup.assess(wins), with_p=True) | own
            | beside.compare(wins, at) | described | setup.kind.chosen(fitted, at) | few[at]
        )  # fmt: skip
    return fitted, lines


def _few(setup: Question, rows: Any) -> list[dict[str, Any]]:
    """For each label the columns of its k-sparse probes: score, interval, p, and why there is none."""
    out: list[dict[str, Any]] = [{} for _ in setup.names]
    for own, values in zip(out, setup.values) if setup.sparse else ():
        weight = "balanced" if setup.kind.class_weight == "balanced" else None
        options: dict[str, Any] = {"class_weight": weight, "n_boot": setup.n_boot, "seed": setup.seed}
        for line in k_sparse(rows, values, setup.problems, k=setup.sparse, **options):
            name = f"sparse_{line['k']}"
            own[name] = line["auroc"]
            own |= {f"{name}_{key}": line[key] for key in ("low", "high", "p", "rejected")}
    return out


def _controls(setup: Question, site: Ready, fitted: CrossFit, types: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """AUROC of the same probe, at the same strengths, on shuffled labels and on the control task."""
    mixed = [shuffled(own, seed=setup.seed, name=label) for own, label in zip(setup.values, setup.names)]
    tasks = [control_label(own, types, seed=setup.seed, name=label) for own, label in zip(setup.values, setup.names)]
    others = np.stack(mixed + tasks)
    read = setup.refit(site, others, np.concatenate([fitted.C, fitted.C]))
    areas = np.array([within_folds(z, y, setup.folds) for z, y in zip(read, others)])
    return dict(zip(("shuffled", "control"), np.split(areas, 2)))


def nested(setup: Question, beside: Beside, fits: Sequence[CrossFit], names: Sequence[str], at: int) -> dict[str, Any]:
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


def _columns(name: str, tested: Tested, *, with_p: bool) -> dict[str, float]:
    prefix = "" if name == "auroc" else f"{name}_"
    out = {name: tested.estimate.value, f"{prefix}low": tested.estimate.low, f"{prefix}high": tested.estimate.high}
    return out | ({f"{prefix}p": tested.p} if with_p else {})


def _counts(setup: Question, at: int, label: str) -> dict[str, Any]:
    own = setup.values[at]
    known = ~np.isnan(own)
    return {
        "label": label, "rows": int(known.sum()), "positive": int((own == 1).sum()),
        "problems": len(np.unique(setup.problems[known])),
    }  # fmt: skip


def _is_site(name: str) -> bool:
    kind, dot, layer = name.partition(".")
    return bool(dot and kind and layer.isdigit())
