r"""Does a model know how likely it is to be right, and did RL make it worse?

Each arm (base, RL, others) has a confidence a sample from one source (:mod:`probes.samples.confidence`): the Brier
score, the expected calibration error, the ranking of right above wrong samples and the reliability curve say how well
it fits (:mod:`probes.samples.calibration_errors`). The claim is that of RLCR (arXiv 2507.16806): a binary reward ruins
confidence, a Brier term repairs it. An arm that nearly always says the same is called constant: its AUROC is 1/2 by
construction and its ECE only the distance of that one number from the accuracy.

Intervals resample problems, the arms' problems together, so that RL minus base is paired. Assumes the same problems
and the same source in all arms. What it does not show: whether a model that states no confidence has one; nor that a
better ECE is better judgement, since a constant at the right level has an ECE near zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from probes.results import Result, manifest
from probes.samples.calibration_errors import (
    BINS,
    adaptive_bins,
    ece_if_calibrated,
    measured_auroc,
    measured_ece,
    measured_means,
    width_bins,
)
from probes.samples.confidence import Confidences
from probes.stats import SHARE, Estimate, permutation_p
from probes.stats.contrast import Measured, beside
from probes.stats.problems import problem_codes

CONSTANT = 0.95
"""An arm is constant if this share of its samples has one and the same confidence, to two decimals."""
DIFFERENCES = ("accuracy", "confidence", "overconfidence", "brier", "ece", "ece, adaptive", "auroc")
"""Figures of which paired differences between arms are made."""
PAIRS = (("rl", "base"),)


@dataclass(frozen=True, repr=False, eq=False)
class Calibration(Result):
    """How well the confidences of several arms fit."""

    frame: pd.DataFrame
    """A row an arm and quantity: ``arm``, ``source``, ``quantity``, ``value``, ``low``, ``high``, ``n``, ``p``,
    ``method``. The arm ``rl - base`` holds paired differences. ``p`` is that of an ECE at least as large under perfect
    calibration, in the rows of the ECE."""
    reliability: pd.DataFrame
    """A row an arm, kind of bins (equal width, adaptive) and bin: ``confidence`` (mean), ``accuracy`` with ``low`` and
    ``high``, ``samples``."""
    constant: Mapping[str, float]
    """Arms that nearly always have the same confidence, and that confidence."""
    measured: Mapping[str, Mapping[str, Measured]]
    """Figures of each arm, open to be set against a contrast."""
    contrasts: pd.DataFrame
    """The contrasts' figures, and those of the arm ``rl`` minus them, see :func:`probes.stats.contrast.beside`."""

    def figure(self, arm: str, quantity: str) -> Estimate:
        """One figure with its interval.

        Raises:
            ValueError: a figure that is not in the table.
        """
        rows = self.frame[(self.frame["arm"] == arm) & (self.frame["quantity"] == quantity)]
        if rows.empty:
            known = ", ".join(dict.fromkeys(f"{one.arm}: {one.quantity}" for one in self.frame.itertuples()))
            raise ValueError(f"There is no figure {arm}: {quantity} here; there are {known}.")
        row = rows.iloc[0]
        value, low, high = (float(row[name]) for name in ("value", "low", "high"))
        return Estimate(value, low, high, int(row["n"]), str(row["method"]), self.level)

    def headline(self) -> str:
        """ECE of each arm, and who is constant."""
        arms = [arm for arm, figures in self.measured.items() if figures]
        said = ", ".join(f"{arm} {self.figure(arm, 'ece'):.3f}" for arm in arms) or "no confidence stated"
        same = "".join(f"; {arm} nearly always says {value:g}" for arm, value in self.constant.items())
        return f"ECE: {said}{same}"

    def plot(self) -> go.Figure:
        """Reliability curves, equal-width bins, with the diagonal of perfect calibration."""
        figure = go.Figure()
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": "gray"}, name="calibrated")
        curves = self.reliability[self.reliability["bins"] == "equal width"]
        for arm, rows in curves.groupby("arm", sort=False):
            bars = {"type": "data", "symmetric": False, "array": list(rows["high"] - rows["accuracy"]),
                    "arrayminus": list(rows["accuracy"] - rows["low"])}  # fmt: skip
            figure.add_scatter(
                x=list(rows["confidence"]), y=list(rows["accuracy"]), error_y=bars, mode="lines+markers", name=str(arm),
                text=[f"{count} samples" for count in rows["samples"]],
            )  # fmt: skip
        return figure.update_layout(
            template="plotly_white", xaxis_title="confidence", yaxis_title="share right", title=self.headline()
        )


def calibration(
    arms: Mapping[str, Confidences],
    *,
    contrast: Mapping[str, Confidences | Calibration] | None = None,
    bins: int = BINS,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Calibration:
    """How well confidences fit, arm by arm, with the paired difference of the arms ``rl`` and ``base``.

    Args:
        arms: confidences by name, all from the same kind of source.
        contrast: by name ("random reward", "SFT", "RLCR") the confidences of another training of the same base, or the
            result that has them as its arm ``rl``; set against the arm ``rl``.
        bins: of the calibration error.
        n_boot: bootstrap draws over problems.
        level: of the intervals.
        seed: of all draws.

    Raises:
        ValueError: no arm, an arm without any graded sample, or a contrast without the arm ``rl``.

    It does not show why a confidence is off.
    """
    if not arms:
        raise ValueError("Give at least one arm, such as {'base': confidences}.")
    if bins < 1:
        raise ValueError(f"An ECE needs at least one bin, not {bins}.")
    if contrast and "rl" not in arms:
        raise ValueError("A contrast is set against the arm 'rl'; name the tuned model so.")
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    measured = {arm: _figures(one, arm, bins) for arm, one in arms.items()}
    rows: list[tuple[Any, ...]] = []
    curves: list[tuple[Any, ...]] = []
    constant: dict[str, float] = {}
    for arm, one in arms.items():
        own, steady = _arm(arm, one, measured[arm], bins, options)
        rows += own
        curves += _reliability(arm, one, bins, options)
        constant |= steady
    for first, second in PAIRS:
        if {first, second} <= set(arms):
            rows += _differences(first, second, arms, measured, options)
    others: dict[str, Mapping[str, Measured]] = {}
    for name, other in (contrast or {}).items():
        others[name] = _of_contrast(name, other, bins)
    return Calibration(
        frame=pd.DataFrame(rows, columns=["arm", "source", "quantity", "value", "low", "high", "n", "p", "method"]),
        reliability=pd.DataFrame(
            curves, columns=["arm", "bins", "bin", "confidence", "accuracy", "low", "high", "samples"]
        ),
        constant=constant,
        measured=measured,
        contrasts=beside(measured.get("rl", {}), others, **options),
        manifest=manifest(
            measure="samples.calibration", arms=list(arms), sources={arm: one.source for arm, one in arms.items()},
            bins=bins, contrast=sorted(contrast or {}), **options,
        ),
    )  # fmt: skip


def _complete(one: Confidences) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Confidences and judgements of the samples that have both, the problem of each, and the problems' names."""
    frame = one.frame.dropna(subset=["confidence", "correct"])
    names, codes = problem_codes(frame["problem"], len(frame))
    q, c = frame["confidence"].to_numpy(dtype=float), frame["correct"].to_numpy(dtype=float)
    return q, c, codes, [str(name) for name in names]


def _figures(one: Confidences, arm: str, bins: int) -> dict[str, Measured]:
    if one.frame["correct"].isna().all():
        raise ValueError(f"No sample of the arm {arm!r} is graded; run probes.tasks.grade on them first.")
    sample = _complete(one)
    if not len(sample[0]):
        return {}
    return {
        **measured_means(*sample),
        "ece": measured_ece(*sample, bins=bins),
        "ece, adaptive": measured_ece(*sample, bins=bins, adaptive=True),
        "auroc": measured_auroc(*sample),
    }


def _of_contrast(name: str, other: Confidences | Calibration, bins: int) -> Mapping[str, Measured]:
    if isinstance(other, Confidences):
        return _figures(other, name, bins)
    if "rl" not in other.measured:
        raise ValueError(f"The contrast {name!r} has no arm 'rl'; give the confidences of its tuned model.")
    return other.measured["rl"]


def _arm(
    arm: str, one: Confidences, figures: Mapping[str, Measured], bins: int, options: Mapping[str, Any]
) -> tuple[list[tuple[Any, ...]], dict[str, float]]:
    """The rows of one arm, and its confidence if that is constant."""
    q = _complete(one)[0]
    rows = [_row(arm, one.source, "has a confidence", _stated(one, options))]
    if not len(q):
        return rows, {}
    values, counts = np.unique(q.round(2), return_counts=True)
    steady = {arm: float(values[counts.argmax()])} if counts.max() >= CONSTANT * len(q) else {}
    for name, part in figures.items():
        said = part.estimate(**options)
        if name == "auroc" and np.ptp(q) == 0 and said.measured:
            said = replace(said, method=f"constant: every confidence is {q[0]:g}")
        p = math.nan
        if name.startswith("ece"):
            null = ece_if_calibrated(q, bins=bins, adaptive="adaptive" in name, seed=options["seed"])
            p = permutation_p(said.value, null)
        rows.append(_row(arm, one.source, name, said, p))
        if name.startswith("ece"):
            low, high = np.quantile(null, [(1 - options["level"]) / 2, (1 + options["level"]) / 2])
            chance = Estimate(float(null.mean()), float(low), float(high), said.n, "simulated, every confidence true")
            rows.append(_row(arm, one.source, f"{name}, if calibrated", chance))
    most = Estimate(
        float(counts.max() / len(q)), math.nan, math.nan, len(q), f"one run; at {values[counts.argmax()]:g}"
    )
    return [*rows, _row(arm, one.source, "share at the commonest confidence", most)], steady


def _stated(one: Confidences, options: Mapping[str, Any]) -> Estimate:
    graded = one.frame[one.frame["correct"].notna()]
    means = graded["confidence"].notna().astype(float).groupby(graded["problem"].astype(str)).mean()
    return Measured.of_means(list(means.index), means.to_numpy()[:, None], within=SHARE).estimate(**options)


def _differences(
    first: str,
    second: str,
    arms: Mapping[str, Confidences],
    measured: Mapping[str, Mapping[str, Measured]],
    options: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    rows = []
    for name in DIFFERENCES:
        if name in measured[first] and name in measured[second]:
            gap = measured[first][name].minus(measured[second][name], **options)
            rows.append(_row(f"{first} - {second}", arms[first].source, name, gap))
    return rows


def _row(arm: str, source: str, name: str, said: Estimate, p: float = math.nan) -> tuple[Any, ...]:
    return (arm, source, name, said.value, said.low, said.high, said.n, p, said.method)


def _reliability(arm: str, one: Confidences, bins: int, options: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Mean confidence and accuracy of every bin that holds a sample."""
    q, c, codes, names = _complete(one)
    rows = []
    for kind, held in (("equal width", width_bins(q, bins)), ("adaptive", adaptive_bins(q, bins))):
        for place in np.unique(held):
            inside = held == place
            sums = [np.bincount(codes[inside], weights=part, minlength=len(names)) for part in (c[inside], None)]
            table = np.stack(sums, axis=1).astype(float)
            # Only problems with a sample in the bin say anything of it, and only they are counted.
            there = table[:, 1] > 0
            own = [name for name, seen in zip(names, there, strict=True) if seen]
            pooled = Measured.of_means(own, table[there], lambda part, whole: part / whole, within=SHARE)
            right = pooled.estimate(**options)
            rows.append(
                (arm, kind, int(place), float(q[inside].mean()), right.value, right.low, right.high, int(inside.sum()))
            )
    return rows
