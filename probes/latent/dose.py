r"""How much of a vector brings how much of the strategy, and what does it break on the way?  A dose–response curve.

All doses of all problems are rows of one batch, with the same random numbers, so that doses are paired within problems.
At each dose: accuracy, the share of texts that use the strategy, both also as a paired difference to dose 0; the
divergence from the unsteered model on its own texts and the perplexity of neutral text (:mod:`probes.latent.damage`);
and the share of problems that were *anti-steered*, whose text moved against the sign of the dose.  With ``u_d`` 1 if
the text at dose ``d`` uses the strategy, a problem's slope is the least-squares slope of ``u_d`` over ``d``; the
overall anti-steered share is that of problems with a negative slope (Tan et al. 2024, arXiv 2407.12404, who take the
slope of a logit difference).

Intervals are bootstraps over problems, the dose fixed; neutral text is given, or it is the unsteered texts that do not
use the strategy.  What it does not show: that another vector of the same length would not do as much; the vectors of
:mod:`probes.latent.placebos` are for that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from hooks.direction import Direction
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.sites import Positions
from probes.latent.damage import DAMAGE_TEXTS, Reading, Text, read_rows
from probes.latent.trial import Trial, correct_of, decision_positions
from probes.results import Result, manifest
from probes.stats import Estimate
from probes.tasks import Problem

DOSES = (-2.0, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0)
MEASURES = ("accuracy", "accuracy_change", "strategy_share", "share_change", "kl", "perplexity", "anti_steered")
"""Columns of the curve; each has two more for its interval, with ``_low`` and ``_high``."""


@dataclass(frozen=True, repr=False, eq=False)
class DoseResponse(Result):
    """What one vector does at several doses."""

    frame: pd.DataFrame
    """A row a dose: ``label``, ``layer``, ``alpha``, ``relative``, ``n`` and every column of :data:`MEASURES` with its
    interval; NaN where nothing was measured."""
    direction: Direction
    """The vector."""
    anti_steered: Estimate
    """Share of problems whose use of the strategy falls as the dose rises."""
    slope: Estimate
    """Mean slope of the use of the strategy over the dose."""

    def headline(self) -> str:
        """The slope and the share that goes the other way."""
        return (
            f"Doses of {self.direction.label or self.direction.kind} at {self.direction.site}: the strategy's share "
            f"moves {self.slope:.3f} a unit of dose; anti-steered problems {self.anti_steered:.1%}"
        )

    def plot(self) -> go.Figure:
        """Share and accuracy above, damage below, over the dose."""
        return dose_figure(self.frame, title=self.headline())


def dose_response(
    pair: Pair,
    problems: Sequence[Problem],
    direction: Direction,
    *,
    alphas: Sequence[float] = DOSES,
    relative: bool = True,
    positions: str | Positions | None = None,
    neutral: Sequence[Text] | Rollouts | None = None,
    annotator: Any = "auto",
    n_boot: int = 2000,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> DoseResponse:
    """Steer the base at every dose and measure effect and damage.

    Args:
        pair: both models; only the base is steered.
        problems: what it is asked.
        direction: along what.
        alphas: doses; 0 is added.
        relative: count them in typical norms of the activation; else in lengths of the vector as it is.
        positions: where to steer; :func:`probes.latent.trial.decision_positions` by default.
        neutral: texts whose perplexity is taken; by default the unsteered texts that do not use the strategy.
        annotator: of strategies, see :func:`probes.latent.strategies.annotate`.
        n_boot: bootstrap draws.
        seed: of the draws.
        settings: keyword arguments of :func:`hooks.generate.generate`; one sample a problem.

    Raises:
        ValueError: without problems, for a dose that is not finite, several samples a problem, or relative doses of a
            vector whose typical norm was not measured.

    It does not show that a random vector would do less.
    """
    trial = _trial(pair, positions, annotator, n_boot, seed, settings)
    doses = _doses(problems, alphas)
    unit = _unit(direction, relative=relative)
    texts = trial.run_rows(problems, [(direction, dose * unit) for dose in doses])
    plain = texts[doses.index(0.0)]
    correct = np.stack([correct_of(one, problems) for one in texts])
    uses = np.stack([trial.uses(one, direction.label) for one in texts])
    own = plain.sequences()[:DAMAGE_TEXTS]
    rows = [(direction, dose * unit) for dose in doses]
    reading = read_rows(pair.base, own, rows, trial.positions)
    calm, calm_texts = _neutral(neutral, uses[doses.index(0.0)][: len(own)], reading, pair, rows, trial)
    lines = []
    for at, dose in enumerate(doses):
        found = _effects(trial, dose, at, doses.index(0.0), correct, uses)
        found["kl"] = reading.divergence(at, n_boot=n_boot, seed=seed)
        found["perplexity"] = calm.perplexity(at, calm_texts, n_boot=n_boot, seed=seed)
        lines.append(
            {"label": direction.label, "layer": direction.site.layer, "alpha": dose, "relative": relative,
             "n": len(problems), **_columns(found)}
        )  # fmt: skip
    slopes = _slopes(np.array(doses), uses)
    made = manifest(
        measure="latent.dose_response", n_boot=n_boot, seed=seed, positions=str(trial.positions), relative=relative,
        direction=direction.header(), problems=len(problems), damage_texts=len(own),
    )  # fmt: skip
    falling = np.where(np.isnan(slopes), math.nan, slopes < 0)
    return DoseResponse(pd.DataFrame(lines), direction, trial.truths(falling), trial.mean(slopes), manifest=made)


def _trial(
    pair: Pair, positions: Any, annotator: Any, n_boot: int, seed: int, settings: Mapping[str, Any] | None
) -> Trial:
    how = dict(settings or {})
    if how.get("n", 1) != 1:
        raise ValueError(f"a curve of doses has one sample a problem and dose, not n={how['n']}; give more problems")
    where = decision_positions(pair) if positions is None else Positions.parse(positions)
    return Trial(pair, where, how, annotator, n_boot, seed)


def _doses(problems: Sequence[Problem], alphas: Sequence[float]) -> list[float]:
    if not problems:
        raise ValueError("a curve of doses needs at least one problem")
    if not all(math.isfinite(alpha) for alpha in alphas):
        raise ValueError(f"doses are finite numbers, not {list(alphas)}")
    return sorted({0.0, *(float(alpha) for alpha in alphas)})


def _unit(direction: Direction, *, relative: bool) -> float:
    if relative and math.isnan(direction.typical_norm):
        raise ValueError(
            f"the typical norm of the activation at {direction.site} was not measured for {direction.label!r}; "
            "give absolute doses (relative=False)"
        )
    return direction.typical_norm / direction.norm if relative else 1.0


def _neutral(
    neutral: Sequence[Text] | Rollouts | None,
    used: Float[np.ndarray, "text"],
    own: Reading,
    pair: Pair,
    rows: list[tuple[Direction, float]],
    trial: Trial,
) -> tuple[Reading, Any]:
    if neutral is None:
        # Without labels nobody can say which texts are free of the strategy.
        return own, np.flatnonzero(used == 0)
    given = neutral.sequences() if isinstance(neutral, Rollouts) else list(neutral)
    return read_rows(pair.base, given[:DAMAGE_TEXTS], rows, trial.positions), slice(None)


def _effects(
    trial: Trial,
    dose: float,
    at: int,
    zero: int,
    correct: Float[np.ndarray, "dose problem"],
    uses: Float[np.ndarray, "dose problem"],
) -> dict[str, Estimate]:
    moved = np.sign(dose) * (uses[at] - uses[zero])
    against = np.where(np.isnan(moved), math.nan, moved < 0) if dose else np.full(len(moved), math.nan)
    return {
        "accuracy": trial.truths(correct[at]),
        "accuracy_change": trial.mean(correct[at] - correct[zero]),
        "strategy_share": trial.truths(uses[at]),
        "share_change": trial.mean(uses[at] - uses[zero]),
        "anti_steered": trial.truths(against),
    }


def _slopes(doses: Float[np.ndarray, "dose"], uses: Float[np.ndarray, "dose problem"]) -> Float[np.ndarray, "problem"]:
    """Least-squares slope of each problem's use of the strategy over the dose; NaN with one dose."""
    away = doses - doses.mean()
    spread = float((away**2).sum())
    return away @ uses / spread if spread else np.full(uses.shape[1], math.nan)


def _columns(found: Mapping[str, Estimate]) -> dict[str, float]:
    out: dict[str, float] = {}
    for name in MEASURES:
        out |= {name: found[name].value, f"{name}_low": found[name].low, f"{name}_high": found[name].high}
    return out


def dose_figure(frame: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Share and accuracy above, damage below, over the dose; one line a layer where there are several."""
    from plotly.subplots import make_subplots

    panels = {"strategy_share": (1, "strategy used"), "accuracy": (1, "accuracy"), "kl": (2, "KL, nats a token"),
              "perplexity": (2, "perplexity of neutral text")}  # fmt: skip
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    several = frame["layer"].nunique() > 1
    for layer, part in frame.groupby("layer", sort=True):
        part = part.sort_values("alpha")
        for name, (row, words) in panels.items():
            bars = {"type": "data", "symmetric": False, "array": part[f"{name}_high"] - part[name],
                    "arrayminus": part[name] - part[f"{name}_low"]}  # fmt: skip
            line = go.Scatter(x=part["alpha"], y=part[name], error_y=bars, mode="lines+markers",
                              name=f"{words}, layer {layer}" if several else words)  # fmt: skip
            figure.add_trace(line, row=row, col=1)
    unit = "typical norms" if bool(frame["relative"].all()) else "lengths of the vector"
    figure.update_xaxes(title_text=f"dose ({unit})", row=2, col=1)
    figure.update_yaxes(title_text="share of problems", range=[0, 1], row=1, col=1)
    return figure.update_layout(title=title)
