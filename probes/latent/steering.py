"""Is it already usable?  What a vector made from the base alone does to the base, beside its damage and its null.

The problems are cut into two halves by name.  On the *calibration* half every direction is tried at every dose, and the
most accurate pair is kept (ties go to the smaller dose).  On the *held-out* half that one choice is measured against

* the unsteered base and the RL model on the same problems, which give the share of the gain recovered
  (:mod:`probes.stats.ratios`, Fieller);
* at least 20 random vectors of the same length at the same site, dose and positions: a one-sided p-value and the
  interval of the difference, both of which allow for the choice among several vectors and doses
  (:mod:`probes.latent.beyond_random`); ``p_share`` is the p-value for the share of texts that use the strategy;
* vectors made by the same recipe from shuffled labels, and the vector of another strategy at the same site that is
  most nearly orthogonal (:mod:`probes.latent.placebos`), where they can be had;
* its damage: KL(unsteered || steered) per token of the base's own texts, nats, and the share of the problems that the
  unsteered base solved and the steered base still solves.

All vectors of one kind of run are rows of one batch, with the same random numbers, and every change is a paired
difference over problems.  The whole curve over doses is :mod:`probes.latent.dose`.

Positions: the last token of the prompt and every generated token that ends a sentence or a step, the places where the
next strategy is chosen; a vector added at every token wrecks the execution of the very steps it asks for.

What it does not show: that RL uses the same direction, or that no better one exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
from probes.latent.beyond_random import beyond_random, over_random
from probes.latent.damage import DAMAGE_TEXTS, Reading, damage, read_rows
from probes.latent.placebos import Placebo, min_cosine, random_like
from probes.latent.trial import Trial, correct_of, decision_positions
from probes.results import Result, manifest
from probes.stats import Estimate, ratio, stream
from probes.tasks import Problem

__all__ = ["SteeringEffect", "damage", "decision_positions", "random_like", "steering_effect"]

PLACEBO_NAMES = {"random": "same length", "shuffled": "shuffled labels"}
"""What the placebos of one kind are called together."""


@dataclass(frozen=True, repr=False, eq=False)
class SteeringEffect(Result):
    """A direction chosen on one half of the problems, measured on the other half."""

    frame: pd.DataFrame
    """A row an arm on the held-out half: ``arm`` (unsteered, rl, steered, random, shuffled, min_cosine), ``label``,
    ``layer``, ``alpha``, ``accuracy``, ``low``, ``high``; ``recovery``, ``change`` (of accuracy), ``share_change`` and
    ``kl_damage`` with intervals; ``strategy_share``, ``kept``, ``p``, ``p_share``."""
    calibration: pd.DataFrame
    """A row a direction and dose on the calibration half: ``label``, ``layer``, ``alpha``, ``accuracy``,
    ``strategy_share``."""
    chosen: Direction | None
    """The direction that was kept; None if there was none to try."""
    alpha: float
    """Its dose, in typical norms."""
    recovery: Estimate | None
    """Share of the gain that the steered base recovers; NaN without a gain."""
    over_random: Estimate | None
    """Accuracy under the direction minus accuracy under a random vector, the choice among directions and doses allowed
    for."""
    p: float
    """One-sided p-value against the random vectors, the choice among directions and doses allowed for."""
    held: tuple[str, ...] = ()
    """Ids of the held-out problems."""

    def headline(self) -> str:
        """The choice and what it did."""
        if self.chosen is None or self.over_random is None:
            return "Steering: no direction to try"
        return (
            f"Steering: {self.chosen.label} at {self.chosen.site}, {self.alpha:g} typical norms; "
            f"accuracy over random vectors {self.over_random:.3f}, p = {self.p:.3f}"
        )

    def plot(self) -> go.Figure:
        """Accuracy of every arm on the held-out half, random vectors as a cloud."""
        figure = go.Figure()
        for arm, words in (("random", "random vectors"), ("shuffled", "shuffled labels"), ("min_cosine", "another")):
            part = self.frame[self.frame["arm"] == arm]
            if len(part):
                figure.add_trace(go.Scatter(x=[words] * len(part), y=part["accuracy"], mode="markers", name=words))
        for arm in ("unsteered", "steered", "rl"):
            row = self.frame[self.frame["arm"] == arm]
            if row.empty:
                continue
            bars = {"type": "data", "symmetric": False, "array": row["high"] - row["accuracy"],
                    "arrayminus": row["accuracy"] - row["low"]}  # fmt: skip
            figure.add_trace(
                go.Scatter(x=[arm], y=row["accuracy"], error_y=bars, mode="markers", marker_size=11, name=arm)
            )
        return figure.update_layout(yaxis_title="accuracy, held-out problems", title=self.headline())


def steering_effect(
    pair: Pair,
    problems: Sequence[Problem],
    directions: Sequence[Direction],
    *,
    base: Rollouts,
    rl: Rollouts,
    alphas: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    positions: Positions | None = None,
    n_random: int = 20,
    shuffled: Placebo | None = None,
    n_shuffled: int = 5,
    annotator: Any = "auto",
    n_boot: int = 2000,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> SteeringEffect:
    """Choose a direction and a dose on half of the problems, and measure them on the other half.

    Args:
        pair: both models; only the base is steered.
        problems: those that ``base`` and ``rl`` answered.
        directions: candidates, made from the base alone.
        base: graded greedy texts of the base, unsteered.
        rl: graded greedy texts of the RL model.
        alphas: doses in typical norms of the activation.
        positions: where to steer; :func:`decision_positions` by default.
        n_random: random vectors of the same length.
        shuffled: makes vectors from shuffled labels, see :func:`probes.latent.placebos.shuffled_pairs`.
        n_shuffled: how many of them.
        annotator: of strategies, see :func:`probes.latent.strategies.annotate`.
        n_boot: bootstrap draws.
        seed: of the halves, the random vectors and the draws.
        settings: keyword arguments of :func:`hooks.generate.generate`, the same as for ``base`` and ``rl``.
        progress: called with (vectors done, vectors in all).

    Raises:
        ValueError: fewer than four problems.

    It does not show that RL uses the direction, nor that no better one exists.
    """
    if len(problems) < 4:
        raise ValueError(f"steering needs at least 4 problems to choose and to measure on, not {len(problems)}")
    trial = Trial(pair, positions or decision_positions(pair), dict(settings or {}), annotator, n_boot, seed)
    order = stream(seed, "steering halves").permutation(len(problems))
    tried = [problems[at] for at in sorted(order[: len(problems) // 2])]
    held = [problems[at] for at in sorted(order[len(problems) // 2 :])]
    move = progress or (lambda done, total: None)
    total = len(directions) + 1
    rows = []
    for at, one in enumerate(directions):
        rows += [{"candidate": at, **row} for row in _calibrate(trial, tried, one, alphas)]
        move(at + 1, total)
    calibration = pd.DataFrame(rows, columns=["candidate", "label", "layer", "alpha", "accuracy", "strategy_share"])
    made = manifest(measure="latent.steering_effect", n_random=n_random, n_boot=n_boot, seed=seed, held_out=len(held))
    ids = tuple(problem.id for problem in held)
    if calibration.empty:
        frame = pd.DataFrame(_plain_rows(trial, held, base, rl))
        return SteeringEffect(frame, calibration, None, math.nan, None, None, math.nan, ids, manifest=made)
    best = calibration.sort_values(["accuracy", "alpha"], ascending=[False, True], kind="stable").iloc[0]
    chosen, alpha = directions[int(best["candidate"])], float(best["alpha"])
    arms = [("steered", chosen), *(("random", random_like(chosen, seed=seed, number=at)) for at in range(n_random))]
    if shuffled is not None:
        arms += [("shuffled", shuffled(chosen, at)) for at in range(n_shuffled)]
    other = min_cosine(chosen, directions)
    arms += [] if other is None else [("min_cosine", other)]
    measured = _Held(trial, held, base, rl, chosen, alpha, arms, len(calibration))
    frame = measured.frame()
    move(total, total)
    recovery, over, p = measured.verdict()
    return SteeringEffect(frame, calibration, chosen, alpha, recovery, over, p, ids, manifest=made)


def _calibrate(trial: Trial, problems: list[Problem], one: Direction, alphas: Sequence[float]) -> list[dict[str, Any]]:
    """Every dose of one direction in one batch: a row is a problem and a dose."""
    unit = one.typical_norm / one.norm
    rows = []
    for alpha, texts in zip(alphas, trial.run_rows(problems, [(one, dose * unit) for dose in alphas]), strict=True):
        accuracy = float(correct_of(texts, problems).mean())
        rows.append({"label": one.label, "layer": one.site.layer, "alpha": alpha, "accuracy": accuracy,
                     "strategy_share": trial.share(texts, one.label)})  # fmt: skip
    return rows


def _plain_rows(trial: Trial, held: Sequence[Problem], base: Rollouts, rl: Rollouts) -> list[dict[str, Any]]:
    rows = []
    for arm, texts in (("unsteered", base), ("rl", rl)):
        found = trial.mean(correct_of(texts, held) > 0)
        rows.append({"arm": arm, "accuracy": found.value, "low": found.low, "high": found.high})
    return rows


class _Held:
    """The chosen vector and its placebos on the held-out half, every one a row of one batch for every problem."""

    def __init__(
        self,
        trial: Trial,
        held: list[Problem],
        base: Rollouts,
        rl: Rollouts,
        chosen: Direction,
        alpha: float,
        arms: list[tuple[str, Direction]],
        tried: int,
    ) -> None:
        self.trial, self.held, self.base, self.rl = trial, held, base, rl
        self.chosen, self.alpha, self.arms, self.tried = chosen, alpha, arms, tried
        dose = alpha * chosen.typical_norm / chosen.norm
        rows = [(one, dose) for _, one in arms]
        texts = trial.run_rows(held, rows)
        own = Rollouts(base.frame.set_index("problem").loc[[problem.id for problem in held]].reset_index())
        self.plain, self.tuned = correct_of(base, held), correct_of(rl, held)
        self.correct = np.stack([correct_of(one, held) for one in texts])
        self.uses = np.stack([trial.uses(one, chosen.label) for one in texts])
        self.plain_uses = trial.uses(own, chosen.label)
        self.reading: Reading = read_rows(trial.pair.base, own.sequences()[:DAMAGE_TEXTS], rows, trial.positions)

    def frame(self) -> pd.DataFrame:
        """A row an arm, the references first."""
        rows = _plain_rows(self.trial, self.held, self.base, self.rl)
        rows[0]["strategy_share"] = float(self.plain_uses.mean())
        counts: dict[str, int] = {}
        for at, (arm, one) in enumerate(self.arms):
            number = counts[arm] = counts.get(arm, -1) + 1
            label = PLACEBO_NAMES.get(arm, one.label)
            rows.append({"arm": arm, "label": label, "number": number, **self._row(at)})
        rows[2] |= {"p": self._p(self.correct.mean(1)), "p_share": self._p(self.uses.mean(1))}
        return pd.DataFrame(rows).assign(positions=str(self.trial.positions))

    def verdict(self) -> tuple[Estimate, Estimate, float]:
        """Share of the gain, accuracy over random vectors, p-value."""
        recovery = ratio(self.correct[0] - self.plain, self.tuned - self.plain)
        random = self.correct[self.random]
        over = over_random(self.correct[0], random, tried=self.tried, n_boot=self.trial.n_boot, seed=self.trial.seed)
        return recovery, over, self._p(self.correct.mean(1))

    @property
    def random(self) -> list[int]:
        """The places of the random vectors among the arms."""
        return [at for at, (arm, _) in enumerate(self.arms) if arm == "random"]

    def _p(self, means: Float[np.ndarray, "arm"]) -> float:
        return beyond_random(float(means[0]), means[self.random], n=len(self.held), tried=self.tried)

    def _row(self, at: int) -> dict[str, Any]:
        values, mean = self.correct[at], self.trial.mean
        found, share = mean(values > 0), ratio(values - self.plain, self.tuned - self.plain)
        solved = self.plain > 0
        paired = {
            "change": mean(values - self.plain),
            "share_change": mean(self.uses[at] - self.plain_uses),
            "kl_damage": self.reading.divergence(at, n_boot=self.trial.n_boot, seed=self.trial.seed),
        }
        out = {
            "layer": self.chosen.site.layer, "alpha": self.alpha, "relative": True,
            "accuracy": found.value, "low": found.low, "high": found.high,
            "recovery": share.value if share.measured else math.nan,
            "recovery_low": share.low if share.measured else math.nan,
            "recovery_high": share.high if share.measured else math.nan,
            "kept": float(values[solved].mean()) if solved.any() else math.nan,
            "strategy_share": float(self.uses[at].mean()),
        }  # fmt: skip
        for name, one in paired.items():
            out |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
        return out
