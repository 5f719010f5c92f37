"""Does the base solve as much as the RL model if both may try k times?

Curves average the unbiased pass@k of :mod:`probes.samples.passk_estimates` over problems; the comparison of a base with
its RL model is that of arXiv 2504.13837. The crossing is the least k at which the base has caught up with an
RL model that was ahead at k = 1, linear between whole k. Intervals resample problems, both models' together; the band
of the difference is simultaneous over all k (largest studentised deviation of a draw).

Assumes samples drawn independently with the same decoding for both models, and a verifier that is right: at large k a
single false positive counts as solved. What it does not show: what happens beyond the largest k, nor whether a solution
was reasoned or guessed. With small answer spaces guessing alone lifts the base at large k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from probes.results import Result, manifest
from probes.samples.counts import Samples, counts
from probes.samples.passk_estimates import crossings, pass_at_ks
from probes.samples.passk_problems import histogram, histogram_plot, solvable, to_check
from probes.stats import GAP, SHARE, Estimate, bootstrap_weights, percentile_interval
from probes.stats.contrast import Measured, beside


@dataclass(frozen=True, repr=False, eq=False)
class PassK(Result):
    """pass@k of a base and its RL model on the same problems."""

    frame: pd.DataFrame
    """A row a k and model: ``k``, ``model`` (base, rl, or ``rl - base``), ``value``, ``low``, ``high``; for the
    difference also ``band_low``, ``band_high``, which hold for all k at once."""
    crossing: Estimate | None
    """The least k at which the base has caught up; None where it never does, or where RL was not ahead at k = 1."""
    crossing_note: str
    """What is known about the crossing in words."""
    solvable: pd.DataFrame
    """Share of problems solved within the largest common k: ``cell`` (both, base only, RL only, neither), ``share``,
    ``low``, ``high``, ``problems`` (expected number)."""
    jaccard: Estimate
    """Problems that both solve over those that either does, at the largest common k."""
    histogram: pd.DataFrame
    """How many problems have which accuracy, see :func:`probes.samples.passk_problems.histogram`."""
    delta_se: Estimate
    """pass@k of the base at the largest k minus pass@1 of the RL model: how far sampling the RL model once stays behind
    what the base can reach (arXiv 2504.13837, there with k = 256 and in percentage points)."""
    n_problems: int
    """Problems that both models have samples of."""
    unmatched: pd.DataFrame
    """Problems that only one of them has and that were left out: ``problem``, ``only_in`` (base or rl)."""
    measured: Mapping[str, Measured]
    """Differences at every k and ``delta_se``, open to be set against a contrast."""
    to_check: pd.DataFrame
    """Problems to be tried again or read by hand, see :func:`probes.samples.passk_problems.to_check`."""
    contrasts: pd.DataFrame
    """What the contrasts reach and what is left of the differences; empty without any. See
    :func:`probes.stats.contrast.beside`."""

    @property
    def left_out(self) -> int:
        """How many problems only one of them has."""
        return len(self.unmatched)

    @property
    def largest(self) -> int:
        """The largest k that all problems allow."""
        return int(self.frame["k"].max())

    def at(self, k: int, model: str = "rl - base") -> Estimate:
        """The value of one curve at one k.

        Raises:
            ValueError: a k that is not in the table.
        """
        rows = self.frame[(self.frame["k"] == k) & (self.frame["model"] == model)]
        if rows.empty:
            raise ValueError(
                f"There is no pass@{k} of {model!r} here; the table has k = {sorted(set(self.frame['k']))}."
            )
        row = rows.iloc[0]
        return Estimate(
            float(row["value"]),
            float(row["low"]),
            float(row["high"]),
            self.n_problems,
            "paired bootstrap over problems",
            self.level,
        )

    def headline(self) -> str:
        """Both ends of the curves and the crossing."""
        ends = [
            f"pass@{k}: base {self.at(k, 'base'):.3f}, RL {self.at(k, 'rl'):.3f}"
            for k in dict.fromkeys((1, self.largest))
        ]
        return f"{'; '.join(ends)}; {self.crossing_note}; {self.n_problems} problems"

    def plot_accuracy(self) -> go.Figure:
        """The histogram of accuracies."""
        return histogram_plot(self.histogram)

    def plot(self) -> go.Figure:
        """Both curves with their bands over log k, and the crossing."""
        figure = go.Figure()
        for model, name, colour in (("base", "base", "127,140,141"), ("rl", "RL", "36,113,163")):
            rows = self.frame[self.frame["model"] == model]
            k = list(rows["k"])
            figure.add_trace(
                go.Scatter(
                    x=k + k[::-1], y=list(rows["high"]) + list(rows["low"])[::-1], fill="toself",
                    fillcolor=f"rgba({colour},0.2)", line={"width": 0}, hoverinfo="skip", showlegend=False,
                )
            )  # fmt: skip
            figure.add_trace(
                go.Scatter(x=k, y=list(rows["value"]), mode="lines+markers", name=name, line_color=f"rgb({colour})")
            )
        if self.crossing is not None:
            figure.add_vline(
                x=self.crossing.value, line_dash="dot", annotation_text=f"crossing k = {self.crossing:.1f}"
            )
        return figure.update_layout(
            template="plotly_white", xaxis={"type": "log", "title": "k (tries)"}, yaxis={"title": "pass@k"},
            title=self.crossing_note,
        )  # fmt: skip


def passk(
    base: Samples,
    rl: Samples,
    *,
    ks: Sequence[int] | None = None,
    contrast: Mapping[str, PassK | Samples] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> PassK:
    """pass@k of both models with paired intervals, the crossing, and which problems each can solve.

    Args:
        base: samples or counts of the base, see :mod:`probes.samples.counts`.
        rl: the same of the RL model; matched by the names of the problems.
        ks: the k to tabulate; by default the powers of two and the largest k that every problem allows.
        contrast: by name ("random reward", "SFT") samples or counts of the same base after another training, or the
            :class:`PassK` of another pair on the same problems.
        n_boot: bootstrap draws.
        level: of all intervals.
        seed: of the draws.

    Raises:
        ValueError: no problem in common, or a k that some problem has too few samples for.

    It does not show what more samples would, nor whether a solved problem was solved by reasoning.
    """
    ours, theirs = counts(base), counts(rl)
    both = ours.merge(theirs, on="problem", suffixes=("_base", "_rl"))
    if both.empty:
        raise ValueError("Base and RL samples have no problem in common; compare samples of the same problems.")
    wanted = _wanted(both, ks)
    whole = np.arange(1, int(wanted.max()) + 1)
    curves = {
        model: pass_at_ks(both[f"n_{model}"].to_numpy(), both[f"c_{model}"].to_numpy(), whole)
        for model in ("base", "rl")
    }
    n = len(both)
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    weights = bootstrap_weights(n, n_boot=n_boot, seed=seed) / n
    means = {model: values.mean(axis=0) for model, values in curves.items()}
    drawn = {model: weights @ values for model, values in curves.items()}
    means["rl - base"], drawn["rl - base"] = means["rl"] - means["base"], drawn["rl"] - drawn["base"]
    crossing, note = _crossing(means["rl - base"], drawn["rl - base"], n=n, level=level, most=int(wanted.max()))
    cells, jaccard = solvable(curves["base"][:, -1], curves["rl"][:, -1], **options)
    accuracy = {model: (both[f"c_{model}"] / both[f"n_{model}"]).to_numpy() for model in ("base", "rl")}
    measured = _measured(both["problem"].to_numpy(dtype=str), curves, wanted)
    return PassK(
        frame=_table(means, drawn, wanted, n=n, level=level),
        crossing=crossing,
        crossing_note=note,
        solvable=cells,
        jaccard=jaccard,
        histogram=histogram(accuracy["base"], accuracy["rl"], **options),
        delta_se=measured["delta_se"].estimate(**options),
        n_problems=n,
        unmatched=_unmatched(ours, theirs),
        measured=measured,
        to_check=to_check(both),
        contrasts=beside(measured, _contrasts(ours, contrast or {}, wanted), **options),
        manifest=manifest(measure="samples.passk", ks=wanted.tolist(), contrast=sorted(contrast or {}), **options),
    )


def _wanted(both: pd.DataFrame, ks: Sequence[int] | None) -> np.ndarray:
    """The k to tabulate, checked."""
    most = int(both[["n_base", "n_rl"]].to_numpy().min())
    wanted = np.array(sorted(set(ks)) if ks is not None else _powers(most), dtype=int)
    if not len(wanted) or wanted.max() > most or wanted.min() < 1:
        raise ValueError(
            f"k must lie between 1 and {most}, the fewest samples of a problem; {wanted.tolist()} does not."
        )
    return wanted


def _unmatched(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    first, second = set(ours["problem"]), set(theirs["problem"])
    rows = [(name, "base" if name in first else "rl") for name in sorted(first ^ second)]
    return pd.DataFrame(rows, columns=["problem", "only_in"])


def _measured(problems: np.ndarray, curves: dict[str, np.ndarray], wanted: np.ndarray) -> dict[str, Measured]:
    """RL minus base at every k, and the base at the largest k minus RL at 1."""

    def gap(first: np.ndarray, second: np.ndarray, against: np.ndarray) -> Measured:
        return Measured.of_means(
            problems, np.stack([first, second], axis=1), lambda a, b: b - a, within=GAP, against=against
        )

    base, rl = curves["base"], curves["rl"]
    out = {f"pass@{k}, rl - base": gap(base[:, k - 1], rl[:, k - 1], base[:, k - 1]) for k in wanted}
    most = base[:, wanted.max() - 1]
    return out | {"delta_se": gap(rl[:, 0], most, most)}


def _contrasts(
    base: pd.DataFrame, contrast: Mapping[str, PassK | Samples], wanted: np.ndarray
) -> dict[str, Mapping[str, Measured]]:
    """The figures of each contrast; samples are compared with this pair's base at the k that they allow."""
    out: dict[str, Mapping[str, Measured]] = {}
    for name, other in contrast.items():
        if isinstance(other, PassK):
            out[name] = other.measured
            continue
        both = base.merge(counts(other), on="problem", suffixes=("_base", "_rl"))
        if both.empty:
            raise ValueError(f"The contrast {name!r} has no problem in common with the base; use the same problems.")
        ks = wanted[wanted <= both[["n_base", "n_rl"]].to_numpy().min()]
        out[name] = passk(base, counts(other), ks=ks.tolist(), n_boot=2).measured
        if ks.max() < wanted.max():
            # The largest k is part of what delta_se means: with another k it is another figure.
            out[name] = {quantity: one for quantity, one in out[name].items() if quantity != "delta_se"}
    return out


def _powers(most: int) -> list[int]:
    return sorted({2**power for power in range(most.bit_length())} | {most})


def _table(
    means: dict[str, np.ndarray], drawn: dict[str, np.ndarray], wanted: np.ndarray, *, n: int, level: float
) -> pd.DataFrame:
    """A row a k and curve, with pointwise intervals and, for the difference, the band."""
    rows = []
    half = _band(means["rl - base"][wanted - 1], drawn["rl - base"][:, wanted - 1], level)
    for model in ("base", "rl", "rl - base"):
        for place, k in enumerate(wanted):
            value = float(means[model][k - 1])
            within = GAP if model == "rl - base" else SHARE
            inside = percentile_interval(drawn[model][:, k - 1], n=n, level=level, within=within)
            row = {"k": int(k), "model": model, "value": value, "low": inside.low, "high": inside.high}
            width = half[place] if model == "rl - base" and n > 1 else np.nan
            # A band that holds for all k at once holds for this one too; where problems are alike it has no width.
            band = (np.fmin(value - width, inside.low), np.fmax(value + width, inside.high))
            band = band if model == "rl - base" else (np.nan, np.nan)
            rows.append(row | {"band_low": band[0], "band_high": band[1]})
    return pd.DataFrame(rows)


def _band(value: np.ndarray, draws: np.ndarray, level: float) -> np.ndarray:
    """Half widths that hold for all k at once: the quantile of the largest studentised deviation, times the spread."""
    spread = draws.std(axis=0, ddof=1)
    steady = spread > 0
    if not steady.any():
        return np.zeros_like(value)
    largest = (np.abs(draws - value)[:, steady] / spread[steady]).max(axis=1)
    return np.asarray(np.quantile(largest, level) * spread)


def _crossing(
    difference: np.ndarray, draws: np.ndarray, *, n: int, level: float, most: int
) -> tuple[Estimate | None, str]:
    found = float(crossings(difference[None])[0])
    if difference[0] <= 0:
        return None, "RL is not ahead at k = 1, so there is no crossing"
    inside = percentile_interval(crossings(draws), n=n, level=level)
    if not np.isfinite(found):
        maybe = f" (the interval begins at k = {inside.low:.3g})" if np.isfinite(inside.low) else ""
        return None, f"the base does not catch up within k = {most}{maybe}"
    value = Estimate(found, inside.low, inside.high, n, "paired bootstrap over problems", level)
    return value, f"the base catches up at k = {value:.3g}"
