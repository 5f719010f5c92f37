"""Is it already usable?  What a vector made from the base alone does to the base, beside its damage and its null.

The problems are cut into two halves by name.  On the *calibration* half every direction is tried at every dose, and the
most accurate pair is kept (ties go to the smaller dose).  On the *held-out* half that one choice is measured against

* the unsteered base and the RL model on the same problems, which give the share of the gain recovered
  (:mod:`probes.stats.ratios`, Fieller);
* at least 20 random vectors of the same length at the same site, dose and positions.  With ``a_i`` the accuracies under
  random vectors, ``p = (1 + #{a_i >= a}) / (1 + n)`` (a permutation-style p-value, one-sided), and the interval of
  ``a - mean(a_i)`` is a paired bootstrap over problems;
* its damage: KL(unsteered || steered) per token of the base's own texts, nats, and the share of the problems that the
  unsteered base solved and the steered base still solves.

Positions: the last token of the prompt and every generated token that ends a sentence or a step, the places where the
next strategy is chosen; a vector added at every token wrecks the execution of the very steps it asks for.

What it does not show: that RL uses the same direction, or that no better one exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float

from hooks.direction import Direction
from hooks.divergence import kl, log_probs
from hooks.generate import generate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.sites import Positions
from hooks.steer import Steering, steering
from probes import tasks
from probes.latent.strategies import annotate
from probes.results import Result, manifest
from probes.stats import Estimate, bootstrap_problems, ratio, stream
from probes.tasks import Problem

ENDINGS = (".", "!", "?", ";", ":", "\n")
"""Characters that end a sentence or a step."""
DAMAGE_TEXTS = 64
"""Texts of the base on which damage is measured."""


@dataclass(frozen=True, repr=False, eq=False)
class SteeringEffect(Result):
    """A direction chosen on one half of the problems, measured on the other half."""

    frame: pd.DataFrame
    """A row an arm on the held-out half: ``arm`` (unsteered, rl, steered, random), ``label``, ``layer``, ``alpha``,
    ``accuracy``, ``low``, ``high``, ``recovery`` with interval, ``strategy_share``, ``kept``, ``kl_damage``, ``p``."""
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
    """Accuracy under the direction minus mean accuracy under random vectors."""
    p: float
    """One-sided p-value against the random vectors."""

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
        random = self.frame[self.frame["arm"] == "random"]
        figure.add_trace(
            go.Scatter(x=["random vectors"] * len(random), y=random["accuracy"], mode="markers", name="random vectors")
        )
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


@dataclass(frozen=True)
class _Bench:
    """What every steered run shares."""

    pair: Pair
    positions: Positions
    settings: Mapping[str, Any]
    annotator: Any
    n_boot: int
    seed: int

    def run(self, problems: Sequence[Problem], plan: Steering) -> Rollouts:
        written = generate(self.pair.base, problems, steering=plan, **self.settings)
        return tasks.grade(written, list({problem.id: problem for problem in problems}.values()))

    def share(self, texts: Rollouts, label: str) -> float:
        """Share of texts that use the strategy a label names."""
        if not len(texts):
            return math.nan
        numbered = Rollouts(texts.frame.assign(sample=range(len(texts))))
        spans = annotate(numbered, self.annotator, tokenizer=self.pair.base.tokenizer).frame
        strategy = label.split(" (")[0]
        return float(spans.loc[spans["strategy"] == strategy, "sample"].nunique() / len(texts))

    def mean(self, values: Any, problems: Any) -> Estimate:
        return bootstrap_problems(values, problems, n_boot=self.n_boot, seed=self.seed)


def decision_positions(pair: Pair) -> Positions:
    """The last prompt token, and every generated token that ends a sentence or a step."""
    tokenizer: Any = pair.base.tokenizer
    pieces = tokenizer.batch_decode([[token] for token in range(pair.d_vocab)])
    ends = [token for token, piece in enumerate(pieces) if piece.rstrip(" ").endswith(ENDINGS)]
    if not ends:
        return Positions.last_prompt()
    return Positions.last_prompt() | (Positions.after(token_ids=ends) & Positions.completion())


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
        annotator: of strategies, see :func:`probes.latent.strategies.annotate`.
        n_boot: bootstrap draws.
        seed: of the halves, the random vectors and the draws.
        settings: keyword arguments of :func:`hooks.generate.generate`, the same as for ``base`` and ``rl``.
        progress: called with (runs done, runs in all).

    Raises:
        ValueError: fewer than four problems.

    It does not show that RL uses the direction, nor that no better one exists.
    """
    if len(problems) < 4:
        raise ValueError(f"steering needs at least 4 problems to choose and to measure on, not {len(problems)}")
    bench = _Bench(pair, positions or decision_positions(pair), dict(settings or {}), annotator, n_boot, seed)
    order = stream(seed, "steering halves").permutation(len(problems))
    tried = [problems[at] for at in sorted(order[: len(problems) // 2])]
    held = [problems[at] for at in sorted(order[len(problems) // 2 :])]
    move = progress or (lambda done, total: None)
    total = len(directions) + n_random + 1
    rows = []
    for at, one in enumerate(directions):
        rows += [{"candidate": at, **row} for row in _calibrate(bench, tried, one, alphas)]
        move(at + 1, total)
    calibration = pd.DataFrame(rows, columns=["candidate", "label", "layer", "alpha", "accuracy", "strategy_share"])
    made = manifest(measure="latent.steering_effect", n_random=n_random, n_boot=n_boot, seed=seed, held_out=len(held))
    if calibration.empty:
        frame = pd.DataFrame(_plain_rows(bench, held, base, rl))
        return SteeringEffect(frame, calibration, None, math.nan, None, None, math.nan, manifest=made)
    best = calibration.sort_values(["accuracy", "alpha"], ascending=[False, True], kind="stable").iloc[0]
    chosen, alpha = directions[int(best["candidate"])], float(best["alpha"])
    texts = bench.run(held, steering(chosen, alpha * chosen.typical_norm / chosen.norm, positions=bench.positions))
    random = []
    for number in range(n_random):
        vector = random_like(chosen, seed=seed, number=number)
        random.append(
            bench.run(held, steering(vector, alpha * chosen.typical_norm / chosen.norm, positions=bench.positions))
        )
        move(len(directions) + 1 + number, total)
    return _measured(bench, held, base, rl, chosen, alpha, texts, random, calibration, made)


def random_like(one: Direction, *, seed: int, number: int) -> Direction:
    """A random vector of the same length at the same site, uniform over directions."""
    draw = stream(seed, "random direction", str(one.site), number).standard_normal(one.d_model)
    vector = torch.from_numpy(draw / np.linalg.norm(draw) * one.norm).float()
    return replace(one, vector=vector, kind="random", label=f"random {number}", scores={})


def _calibrate(bench: _Bench, problems: list[Problem], one: Direction, alphas: Sequence[float]) -> list[dict[str, Any]]:
    """Every dose of one direction in one batch: a row is a problem and a dose."""
    doses = [alpha for alpha in alphas for _ in problems]
    unit = one.typical_norm / one.norm
    plan = steering(one, [dose * unit for dose in doses], positions=bench.positions)
    frame = bench.run(problems * len(alphas), plan).frame.assign(dose=doses)
    rows = []
    for alpha in alphas:
        part = frame[frame["dose"] == alpha].reset_index(drop=True)
        share = bench.share(Rollouts(part.drop(columns="dose")), one.label)
        rows.append(
            {
                "label": one.label, "layer": one.site.layer, "alpha": alpha,
                "accuracy": float(part["correct"].astype(float).mean()), "strategy_share": share,
            }
        )  # fmt: skip
    return rows


def _correct(texts: Rollouts, problems: Sequence[Problem]) -> Float[np.ndarray, "problem"]:
    found = texts.frame.set_index("problem")["correct"].astype(float)
    return found.loc[[problem.id for problem in problems]].to_numpy()


def _plain_rows(bench: _Bench, held: Sequence[Problem], base: Rollouts, rl: Rollouts) -> list[dict[str, Any]]:
    rows = []
    for arm, texts in (("unsteered", base), ("rl", rl)):
        found = bench.mean(_correct(texts, held) > 0, None)
        rows.append({"arm": arm, "accuracy": found.value, "low": found.low, "high": found.high})
    return rows


def _measured(
    bench: _Bench,
    held: list[Problem],
    base: Rollouts,
    rl: Rollouts,
    chosen: Direction,
    alpha: float,
    texts: Rollouts,
    random: list[Rollouts],
    calibration: pd.DataFrame,
    made: dict[str, Any],
) -> SteeringEffect:
    plain, tuned, steered = (_correct(one, held) for one in (base, rl, texts))
    cloud = np.stack([_correct(one, held) for one in random])
    recovery = ratio(steered - plain, tuned - plain)
    over = bench.mean(steered - cloud.mean(0), None)
    p = float((1 + (cloud.mean(1) >= steered.mean()).sum()) / (1 + len(random)))
    own = {"label": chosen.label, "layer": chosen.site.layer, "alpha": alpha, "relative": True}
    rows = _plain_rows(bench, held, base, rl)
    plan = steering(chosen, alpha * chosen.typical_norm / chosen.norm, positions=bench.positions)
    rows.append(
        _arm("steered", bench, steered, plain, tuned, own)
        | {"strategy_share": bench.share(texts, chosen.label), "kl_damage": damage(bench.pair, base, plan), "p": p}
    )
    rows += [
        _arm("random", bench, one, plain, tuned, {**own, "label": "same length", "number": at})
        for at, one in enumerate(cloud)
    ]
    unsteered = Rollouts(base.frame[base.frame["problem"].isin([problem.id for problem in held])])
    rows[0]["strategy_share"] = bench.share(unsteered, chosen.label)
    frame = pd.DataFrame(rows).assign(positions=str(bench.positions))
    return SteeringEffect(frame, calibration, chosen, alpha, recovery, over, p, manifest=made)


def _arm(
    arm: str, bench: _Bench, values: np.ndarray, plain: np.ndarray, tuned: np.ndarray, own: dict[str, Any]
) -> dict[str, Any]:
    found, share = bench.mean(values > 0, None), ratio(values - plain, tuned - plain)
    known = share.measured
    solved = plain > 0
    return {
        "arm": arm, **own, "accuracy": found.value, "low": found.low, "high": found.high,
        "recovery": share.value if known else math.nan, "recovery_low": share.low if known else math.nan,
        "recovery_high": share.high if known else math.nan,
        "kept": float(values[solved].mean()) if solved.any() else math.nan,
    }  # fmt: skip


@torch.no_grad()
def damage(pair: Pair, texts: Rollouts, plan: Steering, *, most: int = DAMAGE_TEXTS) -> float:
    """KL(unsteered || steered), nats a generated token, on the base's own unsteered texts.

    Read text by text without a cache; NaN without a text.  Does not show whether the change is for the worse.
    """
    total, count = 0.0, 0
    for ids, n_prompt in texts.sequences()[:most]:
        batch = torch.tensor([ids], device=pair.base.device)
        plain = log_probs(pair.base.net(input_ids=batch, use_cache=False).logits[0, n_prompt - 1 : -1])
        with plan.on(pair.base, n_prompt=n_prompt):
            moved = log_probs(pair.base.net(input_ids=batch, use_cache=False).logits[0, n_prompt - 1 : -1])
        each = kl(plain, moved)
        total, count = total + float(each.sum()), count + len(each)
    return total / count if count else math.nan
