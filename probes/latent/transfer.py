r"""Is it the same code before and after RL?  Probes of each model, read on both models at the same tokens.

A logistic probe is fitted on one model's activations of four fifths of the problems, its strength chosen on inner folds
as in :mod:`probes.latent.sweep` (so that both give one probe one AUROC), and reads the other fifth from either model's
activations: from its own, from the other's as they are (``raw``), and from the other's after a rotation fitted on the
same training problems (``turned``, :mod:`probes.latent.alignment`).  All AUROCs are within folds
(:mod:`probes.latent.ranking`), on the same rows and folds, so that every difference is paired; intervals come from
resampling problems.  ``models`` sets the RL model's own probe against the base's own.

Tests 2506.18167's question the other way round: not which vector steers, but whether one model's reader serves the
other.  A low raw transfer with a high turned one says that the code is there and written along other axes.
What it does not show: that either model uses the code; and text of one model is foreign to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int

from hooks.rollouts import Rollouts
from hooks.sites import Site
from probes.latent.alignment import Alignment, align, misfit
from probes.latent.controls import last_tokens, position_features, token_features
from probes.latent.crossfit import crossfit
from probes.latent.labels import Labels, label_table
from probes.latent.logistic import STRENGTHS
from probes.latent.matrix import SiteMatrix, whole
from probes.latent.ranking import Tested, Wins, assess, assess_difference
from probes.latent.splits import grouped_folds
from probes.results import Result, manifest
from probes.stats import benjamini_hochberg
from probes.stats.bootstrap import bootstrap_table
from probes.stats.problems import problem_codes

MODELS = ("base", "rl")


@dataclass(frozen=True, repr=False, eq=False)
class Transfer(Result):
    """Probes of both models, each read on both."""

    frame: pd.DataFrame
    """A row a site, label, ``trained`` (whose probe), ``read`` (whose activations) and ``space`` (``own``, ``raw`` or
    ``turned``): ``auroc`` with ``low``, ``high`` and one-sided ``p``; ``minus_home`` (against the same probe on the
    model it was made on) and ``minus_own`` (against a probe made on the model that is read), each with interval and
    two-sided p."""
    models: pd.DataFrame
    """A row a site and label: ``base_auroc`` and ``rl_auroc`` of each model's own probe, ``rl_minus_base`` with
    interval, two-sided p and ``q`` (false discovery rate over the table); the base probe against ``baseline`` (last
    tokens and position) and ``twin`` (an untrained model), where they were given."""
    alignment: pd.DataFrame
    """A row a site, on held-out problems: the share of the RL model's variance that the base's activations miss as
    they are (``raw_misfit``) and turned (``turned_misfit``), each with interval; ``scale``, mean over folds; ``turned``
    (0: no turn, 1: a random one), mean over folds."""

    def headline(self) -> str:
        """How much a base-made probe loses on the RL model, raw and turned."""
        moved = self.frame[(self.frame["trained"] == "base") & (self.frame["read"] == "rl")]
        lost = moved.groupby("space")["minus_own"].mean()
        words = ", ".join(f"{space} {value:+.3f}" for space, value in lost.items())
        return f"Transfer: base-made probes on the RL model, against its own, mean over sites and labels: {words}"

    def plot(self) -> go.Figure:
        """AUROC by site, a line for each way of reading, mean over labels."""
        named = self.frame.assign(
            way=self.frame["trained"] + " probe on " + self.frame["read"] + ", " + self.frame["space"]
        )
        figure = go.Figure()
        for way, part in named.groupby("way", sort=True):
            mean = part.groupby("site", sort=False)["auroc"].mean()
            figure.add_scatter(x=list(mean.index), y=mean.to_numpy(), name=str(way), mode="lines+markers")
        return figure.update_layout(xaxis_title="site", yaxis_title="AUROC, mean over labels")


def transfer(
    base: Mapping[str, Any],
    rl: Mapping[str, Any],
    labels: Labels,
    *,
    sites: Sequence[str | Site] | None = None,
    tokens: Rollouts | None = None,
    twin: Mapping[str, Any] | None = None,
    C: float | Sequence[float] = STRENGTHS,
    folds: int = 5,
    inner: int = 2,
    n_boot: int = 1000,
    seed: int = 0,
) -> Transfer:
    """Fit a probe on each model and read each on both.

    Args:
        base: activations of the base, with their table ``rows``.
        rl: activations of the RL model at the same rows.
        labels: see :data:`probes.latent.labels.Labels`.
        sites: which; all by default.
        tokens: the texts the rows come from, for the baseline of last tokens and position.
        twin: activations of an untrained model at the same rows.
        C: inverse strengths to choose among, on standardised columns; one number fixes it.
        folds: parts of the problems; each is read by probes and a rotation made on the others.
        inner: inner folds on which each fold chooses a strength.
        n_boot: bootstrap draws over problems.
        seed: of folds and draws.

    Raises:
        ValueError: when the two models' rows differ, or the labels do not fit them.

    Does not show that a model uses what is read.
    """
    rows: pd.DataFrame = base.rows  # type: ignore[attr-defined]
    if not _same(rows, rl.rows):  # type: ignore[attr-defined]
        raise ValueError("base and RL activations have different rows; capture both from the same texts and positions")
    names, values = label_table(labels, len(rows))
    strengths = np.atleast_1d(np.asarray(C, dtype=float))
    ask = _Ask(
        names, values, problem_codes(rows["problem"], len(rows))[1],
        grouped_folds(rows["problem"], folds=folds, seed=seed), strengths, inner, n_boot, seed,
    )  # fmt: skip
    baseline = None if tokens is None else ask.wins(ask.fit(_baseline(tokens, rows)).scores)
    table: list[dict[str, Any]] = []
    models: list[dict[str, Any]] = []
    fits: list[dict[str, Any]] = []
    for site in [str(one) for one in (sites if sites is not None else base)]:
        both = {name: whole(side[site]).float().numpy() for name, side in zip(MODELS, (base, rl), strict=True)}
        turns = _turns(ask, both)
        ways = _ways(ask, both, turns)
        untrained = None if twin is None else ask.wins(ask.fit(whole(twin[site]).float().numpy()).scores)
        for at, name in enumerate(names):
            here = {"site": site, "label": name}
            table += [here | line for line in _lines(ask, ways, at)]
            others = {"baseline": baseline, "twin": untrained}
            models.append(here | ask.counts(at) | _compare(ask, ways, others, at))
        fits.append({"site": site} | _fit_of(ask, both, turns))
    compared = pd.DataFrame(models)
    compared["rl_minus_base_q"] = np.asarray(benjamini_hochberg(compared["rl_minus_base_p"]))
    made = manifest(what="transfer", C=strengths.tolist(), inner=inner, folds=folds, n_boot=n_boot, seed=seed)
    return Transfer(pd.DataFrame(table), compared, pd.DataFrame(fits), manifest=made)


Key = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class _Ask:
    """What is asked of every site, checked once."""

    names: tuple[str, ...]
    values: Float[np.ndarray, "label row"]
    problems: Int[np.ndarray, "row"]
    parts: Int[np.ndarray, "row"]
    C: Float[np.ndarray, "C"]
    inner: int
    n_boot: int
    seed: int

    def fit(self, rows: np.ndarray) -> Any:
        return crossfit(
            SiteMatrix.of(rows), self.values, self.parts, C=self.C, inner=self.inner if len(self.C) > 1 else 0
        )

    def wins(self, scores: np.ndarray) -> list[Wins]:
        return [Wins.of(own, label, self.problems, self.parts) for own, label in zip(scores, self.values, strict=True)]

    def against(self, first: Wins, second: Wins, name: str) -> dict[str, float]:
        """``second`` minus ``first`` as columns, with a two-sided p."""
        found = assess_difference(first, second, n_boot=self.n_boot, seed=self.seed, cross_fitted=True)
        return _columns(name, found) | {f"{name}_p": min(1.0, 2 * min(found.p, 1 - found.p))}

    def level(self, wins: Wins) -> Tested:
        return assess(wins, n_boot=self.n_boot, seed=self.seed, cross_fitted=True)

    def counts(self, at: int) -> dict[str, int]:
        known = ~np.isnan(self.values[at])
        return {
            "rows": int(known.sum()), "positive": int((self.values[at] == 1).sum()),
            "problems": len(np.unique(self.problems[known])),
        }  # fmt: skip


def _columns(name: str, tested: Tested) -> dict[str, float]:
    found = tested.estimate
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    keys = [name for name in ("problem", "sample", "pos") if name in one and name in other]
    return len(one) == len(other) and all((one[name].to_numpy() == other[name].to_numpy()).all() for name in keys)


def _baseline(tokens: Rollouts, rows: pd.DataFrame) -> np.ndarray:
    """What a reader without activations knows: the last tokens, the place, the length of the prompt."""
    return np.column_stack([token_features(last_tokens(tokens, rows)), *position_features(rows).values()])


def _turns(ask: _Ask, both: dict[str, np.ndarray]) -> list[Alignment]:
    """For each fold the rotation from base to RL, fitted on the other folds' problems."""
    number = int(ask.parts.max()) + 1
    return [align(*(both[name][ask.parts != fold] for name in MODELS)) for fold in range(number)]


def _ways(ask: _Ask, both: dict[str, np.ndarray], turns: list[Alignment]) -> dict[Key, list[Wins]]:
    """How each probe ranks each model's rows: (trained, read, space) to one ranking a label."""
    out: dict[Key, list[Wins]] = {}
    for trained, read in (MODELS, MODELS[::-1]):
        fitted = ask.fit(both[trained])
        out[trained, trained, "own"] = ask.wins(fitted.scores)
        for space in ("raw", "turned"):
            scores = np.full(ask.values.shape, np.nan)
            for fold, turn in enumerate(turns):
                own = ask.parts == fold
                rows = both[read][own]
                if space == "turned":
                    rows = turn.backward(rows) if trained == "base" else turn.forward(rows)
                scores[:, own] = fitted.coef[:, fold] @ rows.T + fitted.intercept[:, fold, None]
            out[trained, read, space] = ask.wins(np.where(np.isnan(fitted.scores), np.nan, scores))
    return out


def _lines(ask: _Ask, ways: dict[Key, list[Wins]], at: int) -> list[dict[str, Any]]:
    """One label at one site: a line for each way of reading."""
    lines = []
    for (trained, read, space), wins in ways.items():
        found = ask.level(wins[at])
        line = {
            "trained": trained, "read": read, "space": space,
            "auroc": found.estimate.value, "low": found.estimate.low, "high": found.estimate.high, "p": found.p,
        }  # fmt: skip
        if space != "own":
            line |= ask.against(ways[trained, trained, "own"][at], wins[at], "minus_home")
            line |= ask.against(ways[read, read, "own"][at], wins[at], "minus_own")
        lines.append(line)
    return lines


def _compare(
    ask: _Ask, ways: dict[Key, list[Wins]], others: Mapping[str, list[Wins] | None], at: int
) -> dict[str, float]:
    """The two models' own probes side by side, and the base's beside readers that know less."""
    base, rl = (ways[name, name, "own"][at] for name in MODELS)
    out = _columns("base_auroc", ask.level(base)) | _columns("rl_auroc", ask.level(rl))
    out |= ask.against(base, rl, "rl_minus_base")
    for name, wins in others.items():
        if wins is not None:
            out |= {name: wins[at].value} | ask.against(wins[at], base, f"over_{name}")
    return out


def _fit_of(ask: _Ask, both: dict[str, np.ndarray], turns: list[Alignment]) -> dict[str, float]:
    """How far apart the two models' activations are on held-out problems, before and after the turn."""
    raw, turned, spread = (np.zeros(len(ask.parts)) for _ in range(3))
    for fold, turn in enumerate(turns):
        own = ask.parts == fold
        base, rl = both["base"][own], both["rl"][own]
        raw[own], spread[own] = misfit(base, rl, turn.target_mean)
        turned[own] = misfit(turn.forward(base), rl, turn.target_mean)[0]
    sums = np.stack([np.bincount(ask.problems, weights=part) for part in (raw, turned, spread)], axis=1)
    out: dict[str, float] = {}
    for name, column in (("raw_misfit", 0), ("turned_misfit", 1)):
        found = bootstrap_table(
            sums[:, [column, 2]], lambda part, all_: part / all_, n_boot=ask.n_boot, seed=ask.seed
        )  # fmt: skip
        out |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    width = both["base"].shape[1]
    return out | {
        "scale": float(np.mean([turn.scale for turn in turns])),
        "turned": float(np.mean([1 - np.trace(turn.rotation) / width for turn in turns])),
    }
