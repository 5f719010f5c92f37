r"""Does the base solve as much as the RL model if both may try k times?

For a problem with ``c`` correct of ``n`` samples the unbiased estimate of the chance that one of ``k`` is correct is

.. math:: \mathrm{pass@}k = 1 - \binom{n-c}{k} \Big/ \binom{n}{k} = 1 - \prod_{j=n-c+1}^{n} (1 - k/j)

and 1 where ``n - c < k`` (Chen et al. 2021, arXiv 2107.03374); curves average it over problems. The comparison of a
base with its RL model is that of arXiv 2504.13837. The crossing is the least k at which the base has caught up with an
RL model that was ahead at k = 1, linear between whole k. Intervals resample problems, both models' together; the band
of the difference is simultaneous over all k (largest studentised deviation of a draw).

Assumes samples drawn independently with the same decoding for both models, and a verifier that is right: at large k a
single false positive counts as solved. What it does not show: what happens beyond the largest k, nor whether a solution
was reasoned or guessed. With small answer spaces guessing alone lifts the base at large k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int

from probes.results import Result, manifest
from probes.samples.counts import Samples, counts
from probes.stats import Estimate, bootstrap_weights, percentile_interval
from probes.stats.bootstrap import bootstrap_table

CELLS = ("both", "base only", "RL only", "neither")


def pass_at_k(n: Int[np.ndarray, "problem"], c: Int[np.ndarray, "problem"], k: int) -> Float[np.ndarray, "problem"]:
    """Unbiased pass@k of each problem from its counts; NaN where fewer than ``k`` samples were drawn.

    The product is taken over at most ``c`` factors in logarithms, so it neither overflows nor cancels.

    Raises:
        ValueError: k below 1, or counts with c outside 0 to n.
    """
    return pass_at_ks(n, c, np.array([k]))[:, 0]


def pass_at_ks(
    n: Int[np.ndarray, "problem"], c: Int[np.ndarray, "problem"], ks: Int[np.ndarray, "k"]
) -> Float[np.ndarray, "problem k"]:
    """:func:`pass_at_k` for several k at once; problems with equal counts are computed once."""
    if np.any(ks < 1):
        raise ValueError(f"k counts tries and begins at 1, not {int(ks.min())}.")
    if np.any((c < 0) | (c > n)):
        raise ValueError("A problem has more correct samples than samples, or fewer than none; look at its counts.")
    pairs, back = np.unique(np.stack([n, c], axis=1), axis=0, return_inverse=True)
    out = np.full((len(pairs), len(ks)), np.nan)
    for row, (total, right) in enumerate(pairs):
        drawn = ks <= total
        sure = drawn & (total - right < ks)
        unsure = drawn & ~sure
        out[row, sure] = 1.0
        factors = np.arange(total - right + 1, total + 1, dtype=float)
        out[row, unsure] = -np.expm1(np.log1p(-ks[unsure, None] / factors).sum(axis=1))
    return out[back.reshape(-1)]


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
    n_problems: int
    """Problems that both models have samples of."""
    left_out: int
    """Problems that only one of them has."""

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
        )

    def headline(self) -> str:
        """Both ends of the curves and the crossing."""
        ends = [
            f"pass@{k}: base {self.at(k, 'base'):.3f}, RL {self.at(k, 'rl'):.3f}"
            for k in dict.fromkeys((1, self.largest))
        ]
        return f"{'; '.join(ends)}; {self.crossing_note}; {self.n_problems} problems"

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
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> PassK:
    """pass@k of both models with paired intervals, the crossing, and which problems each can solve.

    Args:
        base: samples or counts of the base, see :mod:`probes.samples.counts`.
        rl: the same of the RL model; matched by the names of the problems.
        ks: the k to tabulate; by default the powers of two and the largest k that every problem allows.
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
    most = int(both[["n_base", "n_rl"]].to_numpy().min())
    wanted = np.array(sorted(set(ks)) if ks is not None else _powers(most))
    if wanted.max() > most or wanted.min() < 1:
        raise ValueError(
            f"k must lie between 1 and {most}, the fewest samples of a problem; {wanted.tolist()} does not."
        )
    whole = np.arange(1, int(wanted.max()) + 1)
    curves = {
        model: pass_at_ks(both[f"n_{model}"].to_numpy(), both[f"c_{model}"].to_numpy(), whole)
        for model in ("base", "rl")
    }
    n = len(both)
    weights = bootstrap_weights(n, n_boot=n_boot, seed=seed) / n
    means = {model: values.mean(axis=0) for model, values in curves.items()}
    drawn = {model: weights @ values for model, values in curves.items()}
    means["rl - base"], drawn["rl - base"] = means["rl"] - means["base"], drawn["rl"] - drawn["base"]
    frame = _table(means, drawn, wanted, n=n, level=level)
    crossing, note = _crossing(means["rl - base"], drawn["rl - base"], n=n, level=level, most=int(wanted.max()))
    return PassK(
        frame=frame,
        crossing=crossing,
        crossing_note=note,
        solvable=_solvable(curves["base"][:, -1], curves["rl"][:, -1], n_boot=n_boot, level=level, seed=seed),
        n_problems=n,
        left_out=len(set(ours["problem"]) | set(theirs["problem"])) - n,
        manifest=manifest(measure="samples.passk", ks=wanted.tolist(), n_boot=n_boot, level=level, seed=seed),
    )


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
            inside = percentile_interval(drawn[model][:, k - 1], n=n, level=level)
            row = {"k": int(k), "model": model, "value": value, "low": inside.low, "high": inside.high}
            width = half[place] if model == "rl - base" and n > 1 else np.nan
            rows.append(row | {"band_low": value - width, "band_high": value + width})
    return pd.DataFrame(rows)


def _band(value: np.ndarray, draws: np.ndarray, level: float) -> np.ndarray:
    """Half widths that hold for all k at once: the quantile of the largest studentised deviation, times the spread."""
    spread = draws.std(axis=0, ddof=1)
    steady = spread > 0
    if not steady.any():
        return np.zeros_like(value)
    largest = (np.abs(draws - value)[:, steady] / spread[steady]).max(axis=1)
    return np.asarray(np.quantile(largest, level) * spread)


def crossings(difference: Float[np.ndarray, "draw k"]) -> Float[np.ndarray, "draw"]:
    """Where RL minus base first falls to zero, linear between whole k; 1 if it starts there, infinite if it never does.

    It does not show whether the two curves part again.
    """
    behind = difference <= 0
    first = np.where(behind.any(axis=1), behind.argmax(axis=1), -1)
    rows, out = np.arange(len(difference)), np.full(len(difference), np.inf)
    out[first == 0] = 1.0
    inside = rows[first > 0]
    at = first[inside]
    before, after = difference[inside, at - 1], difference[inside, at]
    out[inside] = at + before / (before - after)
    return out


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


def _solvable(base: np.ndarray, rl: np.ndarray, *, n_boot: int, level: float, seed: int) -> pd.DataFrame:
    """Expected shares of the four cells when each model has the same number of tries."""
    cells = dict(zip(CELLS, (base * rl, base * (1 - rl), rl * (1 - base), (1 - base) * (1 - rl)), strict=True))
    rows = []
    for cell, values in cells.items():
        share = bootstrap_table(values[:, None], n_boot=n_boot, level=level, seed=seed)
        rows.append(
            {"cell": cell, "share": share.value, "low": share.low, "high": share.high, "problems": float(values.sum())}
        )
    return pd.DataFrame(rows)
