"""First reliable execution, then more planning?  Token and phrase measures along a run, and where they turn.

Tokens inside strategic phrases are planning, all others execution (arXiv 2509.03646; phrases from
:mod:`probes.training.grams`, the same set at every checkpoint).  At each checkpoint, over its own samples of the same
problems: perplexity ``exp(mean -log p)`` of each group relative to the first checkpoint, mean entropy of each group,
entropy of the phrases ("semantic"), entropy of what follows given the phrase, length, accuracy, and the share of
planning among the fifth of tokens with the highest entropy.

Phase one, as told: execution entropy falls and then stays: a bend of its series (:mod:`probes.training.bend`), a slope
before it below zero, and a flatter one after. Phase two: semantic entropy rises from the bend on. Both are asked again
with 30 % of the phrases dropped and with placebo phrases of equal coverage; a finding that the placebo shows too is
none about planning.

All checkpoints have equal numbers of samples; entropies of phrases carry the Miller-Madow correction besides, because
the number of phrases in equal samples is not equal.  What it does not show: that tokens in phrases plan, nor what one
run's course would be in another; intervals are over problems, not over runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from probes.results import Result, manifest
from probes.stats import Estimate, percentile_interval
from probes.training.bend import Bend, find_bend, slope_after
from probes.training.curves import Curves, curves
from probes.training.grams import Grams
from probes.training.phrases import Corpus, Offsets, match
from probes.training.series import Checkpoint, Series

DROPPED = 0.3
"""Share of phrases left out in the test of robustness."""


@dataclass(frozen=True, repr=False, eq=False)
class TwoPhases(Result):
    """Measures along a run, the bend of execution entropy, and the slope of semantic entropy after it."""

    frame: pd.DataFrame
    """A row a checkpoint: ``checkpoint``, ``step`` and each measure with ``_low`` and ``_high``: ``accuracy``,
    ``length``, ``relative_ppl_planning``, ``relative_ppl_execution``, ``entropy_planning``, ``entropy_execution``,
    ``semantic_entropy``, ``conditional_entropy``, ``planning_share``, ``planning_of_high_entropy``,
    ``words_in_phrases``."""
    arms: pd.DataFrame
    """A row a set of phrases (all, five with 30 % dropped, placebo): ``phrases``, ``coverage`` (mean over checkpoints
    that have words), ``bend`` with ends, ``before`` and ``after`` (slopes), ``p``, ``semantic_slope`` with ends."""
    grams: pd.DataFrame
    """The phrases with their clusters and document frequencies."""
    breakpoint: Estimate
    """Step at which execution entropy bends; NaN where no bend is claimed."""
    bend: Bend
    """The fit itself, claimed or not."""
    semantic_slope: Estimate
    """Change of semantic entropy (nats) a step, from the bend on; NaN where no bend is claimed."""
    over_placebo: Estimate
    """That slope minus the placebo phrases' from the same bend on, paired by problem; NaN where no bend is claimed."""
    planning_of_high: Estimate
    """Share of planning among high-entropy tokens at the last checkpoint; ``n`` counts the problems that have any."""
    note: str
    """Whether there is a bend, in words."""
    robust: float
    """Share of the five dropped sets whose slopes have the same signs as the whole set's; NaN without a bend."""
    problems: int

    def headline(self) -> str:
        """The bend or that there is none, and what semantic entropy does after it."""
        after = (
            f"; semantic entropy {self.semantic_slope:+.2g} nats a step after it" if self.breakpoint.measured else ""
        )
        return f"{self.note}{after}; {len(self.frame)} checkpoints, {self.problems} problems"

    def plot(self) -> go.Figure:
        """Entropies and relative perplexities along the steps, with the bend."""
        from plotly.subplots import make_subplots

        panels = {
            "relative perplexity": ("relative_ppl_execution", "relative_ppl_planning"),
            "token entropy (nats)": ("entropy_execution", "entropy_planning"),
            "entropy of phrases (nats)": ("semantic_entropy", "conditional_entropy"),
        }
        figure = make_subplots(rows=1, cols=3, subplot_titles=list(panels))
        for column, names in enumerate(panels.values(), start=1):
            for name in names:
                bars = {
                    "type": "data", "symmetric": False,
                    "array": list(self.frame[f"{name}_high"] - self.frame[name]),
                    "arrayminus": list(self.frame[name] - self.frame[f"{name}_low"]),
                }  # fmt: skip
                figure.add_trace(
                    go.Scatter(
                        x=list(self.frame["step"]), y=list(self.frame[name]), error_y=bars, mode="lines+markers",
                        name=name.replace("_", " ").replace("ppl", "perplexity"),
                    ), row=1, col=column,
                )  # fmt: skip
            if self.breakpoint.measured:
                figure.add_vline(x=self.breakpoint.value, line_dash="dot", line_color="#6B7280", row=1, col=column)  # type: ignore[arg-type]
        return figure.update_layout(template="plotly_white", title=self.headline()).update_xaxes(title="step")


def two_phases(
    checkpoints: Sequence[Checkpoint] | Series,
    *,
    offsets: Offsets | None = None,
    grams: Grams | None = None,
    drops: int = 5,
    n_boot: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> TwoPhases:
    """Measure planning and execution along a run.

    Args:
        checkpoints: in order, the start first, with graded samples of the same problems and token tables.
        offsets: token ids of a completion to its text and the characters of each token; without it (or without token
            tables) only the measures of phrases are there and no bend is looked for.
        grams: the phrases; mined from the correct samples of all checkpoints by default.
        drops: sets with 30 % of the phrases left out.
        n_boot: bootstrap draws over problems.
        level: of the intervals.
        seed: of all draws.

    Raises:
        ValueError: what :meth:`Series.of` refuses, or no phrase to be mined.

    It does not show that planning caused a gain.
    """
    series = checkpoints if isinstance(checkpoints, Series) else Series.of(checkpoints)
    corpus = Corpus.of(series, offsets)
    chosen = grams if grams is not None else Grams.mine(corpus.solutions(), seed=seed)
    whole = curves(series, corpus, match(corpus, chosen), n_boot=n_boot, seed=seed)
    bend, slope = _turn(series, whole, level, seed)
    claimed, note = _judged(bend, level)
    rows = [_row("all", chosen, whole, bend, slope)]
    signs = []
    for index in range(drops):
        fewer = chosen.dropped(DROPPED, seed=seed + index)
        own = curves(series, corpus, match(corpus, fewer), n_boot=0, seed=seed)
        turned, after = _turn(series, own, level, seed)
        rows.append(_row(f"30 % dropped, set {index + 1}", fewer, own, turned, after))
        signs.append(_signs(turned, after) == _signs(bend, slope))
    sham = chosen.placebo(corpus.texts, seed=seed)
    none = Estimate(math.nan, math.nan, math.nan, whole.problems, note, level)
    lead = none
    if len(sham.frame):
        own = curves(series, corpus, match(corpus, sham), n_boot=n_boot, seed=seed)
        rows.append(_row("placebo", sham, own, *_turn(series, own, level, seed)))
        if claimed:
            slopes = [_slopes(series, one, bend.at.value) for one in (whole, own)]
            lead = _estimate(slopes[0] - slopes[1], whole.problems, level)
    frame = whole.frame(level)
    frame.insert(0, "checkpoint", [one.name for one in series.checkpoints])
    frame.insert(1, "step", series.steps)
    last = frame.iloc[-1]
    return TwoPhases(
        frame=frame,
        arms=pd.DataFrame(rows),
        grams=chosen.frame,
        breakpoint=bend.at if claimed else none,
        bend=bend,
        semantic_slope=slope if claimed else none,
        over_placebo=lead,
        planning_of_high=Estimate(
            float(last["planning_of_high_entropy"]), float(last["planning_of_high_entropy_low"]),
            float(last["planning_of_high_entropy_high"]), int(whole.rests["planning_of_high_entropy"][-1]),
            "bootstrap over problems, at the last checkpoint", level,
        ),
        note=note,
        robust=float(np.mean(signs)) if claimed and signs else math.nan,
        problems=whole.problems,
        manifest=manifest(
            measure="training.two_phases", phrases=len(chosen.frame), mined=grams is None, samples=series.samples,
            correction="equal samples, Miller-Madow", n_boot=n_boot, level=level, seed=seed,
        ),
    )  # fmt: skip


def _turn(series: Series, own: Curves, level: float, seed: int) -> tuple[Bend, Estimate]:
    """The bend of execution entropy, and the slope of semantic entropy from there on."""
    x, execution = series.steps, own.values["entropy_execution"]
    drawn = execution[1:] if len(execution) > 1 else None
    bend = find_bend(x, execution[0], draws=drawn, n=own.problems, level=level, seed=seed)
    if not bend.at.measured:
        return bend, Estimate(math.nan, math.nan, math.nan, own.problems, "no bend to start from", level)
    return bend, _estimate(_slopes(series, own, bend.at.value), own.problems, level)


def _slopes(series: Series, own: Curves, at: float) -> np.ndarray:
    """Slope of semantic entropy from a step on, the value and the draws."""
    semantic = own.values["semantic_entropy"]
    return slope_after(series.steps, semantic, np.full(len(semantic), at))


def _estimate(values: np.ndarray, problems: int, level: float) -> Estimate:
    ends = percentile_interval(values[1:] if len(values) > 1 else np.full(1, math.nan), n=problems, level=level)
    return Estimate(
        float(values[0]), ends.low, ends.high, problems, "bootstrap over problems, at the fitted bend", level
    )


def _judged(bend: Bend, level: float) -> tuple[bool, str]:
    """Whether phase one is there, and the words for it."""
    if math.isnan(bend.p):
        return False, f"no bend looked for: {bend.at.method}"
    if bend.p > 1 - level:
        return False, f"no bend of execution entropy (p = {bend.p:.2f})"
    if not bend.before.high < 0:
        return False, f"execution entropy bends at step {bend.at.value:.3g} but does not fall before"
    if not abs(bend.after.value) < abs(bend.before.value):
        return False, f"execution entropy bends at step {bend.at.value:.3g} but does not settle after"
    return True, f"execution entropy falls until step {bend.at:.3g} (p = {bend.p:.3f})"


def _signs(bend: Bend, slope: Estimate) -> tuple[float, float]:
    return float(np.sign(bend.before.value)), float(np.sign(slope.value))


def _row(arm: str, grams: Grams, own: Curves, bend: Bend, slope: Estimate) -> dict[str, object]:
    covered = own.values["words_in_phrases"][0]
    # A checkpoint of empty texts has no coverage, and takes none from the others.
    covered = covered[~np.isnan(covered)]
    return {
        "arm": arm, "phrases": len(grams.frame), "coverage": float(covered.mean()) if len(covered) else math.nan,
        "bend": bend.at.value, "bend_low": bend.at.low, "bend_high": bend.at.high, "before": bend.before.value,
        "before_low": bend.before.low, "before_high": bend.before.high, "after": bend.after.value,
        "after_low": bend.after.low, "after_high": bend.after.high, "p": bend.p, "semantic_slope": slope.value,
        "semantic_slope_low": slope.low, "semantic_slope_high": slope.high,
    }  # fmt: skip
