"""The result of comparing two checkpoints: a row a tensor, totals by size, sums by layer or module, a picture.

A share in a sum is ``sum_i size_i share_i / sum_i size_i``: every parameter weighs the same, so that a thousand small
norm vectors cannot outvote one matrix. Norms add up in squares. Ranks are averaged over matrices, each once, as in
arXiv 2505.11711, and are a property of a matrix, so they have no size-weighted sum; a matrix that did not move has no
rank.

Every figure is an exact count over one pair of checkpoints, so there is no interval: it is one run. It does not show
how the figures would vary between training runs; compare several seeds for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from probes.results import Result, manifest
from probes.stats import Estimate
from probes.stats.bootstrap import bootstrap_table

SHARES = ("unchanged_exact", "unchanged_tolerance", "unchanged_relative", "unchanged_stored", "one_ulp")
_RANKS = ("rank_share", "stable_rank", "entropy_rank", "energy_top")
RANKS = tuple(f"{name}{null}" for name in _RANKS for null in ("", "_null"))


@dataclass(frozen=True, repr=False, eq=False)
class Delta(Result):
    """What moved between two checkpoints."""

    frame: pd.DataFrame
    """A row a tensor: its place (``layer``, ``module``, ``kind``), size, shares, norms and ranks."""
    totals: Mapping[str, float]
    """Over all tensors: shares weighted by size, ``size``, norms, and ranks averaged over matrices that moved."""
    notes: Mapping[str, tuple[str, ...]]
    """Tensors that were renamed, tied, cut, left out or stored in two types, by name."""
    base: str
    """Where the base lies."""
    rl: str
    """Where the RL checkpoint lies."""
    sizes: pd.DataFrame
    """Where both are stored in float32 or wider: ``entries`` and ``share`` of them by the size of their change, from
    ``low`` up to ``high``, a power of two a row (zero first); without rows elsewhere."""

    @classmethod
    def of(
        cls, rows: list[dict[str, Any]], *, base: str, rl: str, notes: Mapping[str, tuple[str, ...]], options: Any,
        by_size: Sequence[int] = (),
    ) -> Delta:  # fmt: skip
        """Put the rows of all tensors together.

        Raises:
            ValueError: there is no row.
        """
        if not rows:
            raise ValueError("There is no tensor to compare.")
        frame = pd.DataFrame(rows)
        frame["layer"] = frame["layer"].astype("Int64")
        made = manifest(measure="weights.compare", base=Path(base).name, rl=Path(rl).name, **options)
        unmoved = _experts(frame)
        notes = {**notes, **({"experts without a change, not routed perhaps": unmoved} if unmoved else {})}
        return cls(frame, _summary(frame), notes, base, rl, _sizes(by_size), manifest=made)

    @property
    def changed(self) -> float:
        """Share of all parameters whose bfloat16 value changed: one minus ``unchanged_exact``."""
        return 1.0 - self.totals["unchanged_exact"]

    @property
    def reading(self) -> str:
        """One sentence: whether what changed can be told from rounding (:mod:`probes.weights.rounding`)."""
        t = self.totals
        if t["unchanged_stored"] == 1.0:
            return "The two checkpoints hold the same values."
        if t["unchanged_exact"] == 1.0:
            return (
                f"Only rounding: all values agree in bfloat16, and {1 - t['unchanged_stored']:.1%} are written "
                f"differently because of the stored types."
            )
        counted = self.frame["reading"].value_counts()
        rounding, moved = int(counted.get("like rounding", 0)), int(counted.get("moved", 0))
        unknown = int(self.frame["reading"].isna().sum())
        if moved:
            like = f"; {rounding} cannot be told from rounding" if rounding else ""
            return f"{moved} of {len(self.frame)} tensors moved by more, or more in one direction, than rounding{like}."
        if rounding:
            small = f" ({unknown} tensors without a direction to test moved by single steps as well)" if unknown else ""
            return (
                f"Like rounding: all changes are single bfloat16 steps and those of all {rounding} changed matrices "
                f"have no direction, so this update cannot be told from rounding{small}."
            )
        return "All changes are single bfloat16 steps; whether they have a direction was not measured (it needs ranks)."

    def by(self, what: Literal["layer", "module", "kind"]) -> pd.DataFrame:
        """The same totals for each layer, each module name over the layers, or each kind of parameter."""
        rows = [{what: key, **_summary(part)} for key, part in self.frame.groupby(what, dropna=False, sort=True)]
        return pd.DataFrame(rows)

    def over_shuffled(
        self, rank: Literal["stable_rank", "entropy_rank"] = "stable_rank", *, n_boot: int = 2000, seed: int = 0
    ) -> Estimate:
        """A rank of the updates over that of the same entries at random places: ``mean_m rank(D_m) / rank(S D_m)``.

        1 is what noise gives at any density; below 1, few directions hold more of the update than chance would put
        there.  The stable rank weighs directions by their squared size, so that it still falls for an update of low
        rank (arXiv math/0503442) whose rounding to bfloat16 fills every direction; the entropy rank mostly does not.
        Each matrix counts once and matrices are resampled; NaN without ranks and their nulls.

        It does not show how the updates of another run would spread.
        """
        ratios = (self.frame[rank] / self.frame[f"{rank}_null"]).to_numpy(dtype=float)
        found = bootstrap_table(ratios[:, None], n_boot=n_boot, seed=seed, label=f"matrices {rank}")
        return replace(found, method=f"one run, bootstrap over {found.n} matrices")

    def headline(self) -> str:
        """The line above the table: shares unchanged by each definition, and the rank beside its null."""
        t = self.totals
        lines = [
            f"{len(self.frame)} tensors, {int(t['size']):,} parameters (one run, exact counts): unchanged "
            f"{t['unchanged_exact']:.1%} bit for bit in bfloat16, {t['unchanged_tolerance']:.1%} within the absolute "
            f"tolerance, {t['unchanged_relative']:.1%} by the relative test; {t['one_ulp']:.1%} moved by one "
            f"bfloat16 step; norm of the update {t['norm']:.3g}, of rounding twice {t['rounding_norm']:.3g}",
            self.reading,
        ]
        if not np.isnan(t["rank_share"]):
            null = t["rank_share_null"]
            known = not np.isnan(null)
            beside, stable, energy = (
                (f" (entries shuffled: {null:.1%})", f", shuffled {t['stable_rank_null']:.3g}",
                 f", shuffled {t['energy_top_null']:.1%}") if known else ("", "", "")
            )  # fmt: skip
            lines.append(
                f"numerical rank {t['rank_share']:.1%} of full{beside}; stable rank {t['stable_rank']:.3g}{stable}"
                f"{f', a ratio of {self.over_shuffled():.2f}' if known else ''}; "
                f"energy in the top 1 % of directions {t['energy_top']:.1%}{energy}"
            )
        lines += [
            f"{what}: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}" for what, names in self.notes.items()
        ]
        return "\n".join(lines)

    def plot_sizes(self) -> go.Figure:
        """How large the changes are, a bar a power of two, with the published tolerance of 1e-5 as a line.

        It does not show anything where the files hold bfloat16.
        """
        moved = self.sizes[self.sizes["high"] > 0]
        figure = go.Figure(go.Bar(x=list(np.sqrt(moved["low"] * moved["high"])), y=list(moved["share"])))
        figure.add_vline(x=1e-5, line_dash="dot", annotation_text="1e-5")
        figure.update_xaxes(type="log", title_text="size of the change")
        return figure.update_layout(template="plotly_white", title="How large the changes are", yaxis_title="share")

    def plot(self) -> go.Figure:
        """Share changed (bfloat16) per layer and module; the stable rank of each update beside its shuffled twin."""
        matrices = self.frame.dropna(subset=["stable_rank"])
        figure = make_subplots(
            rows=1, cols=2, subplot_titles=("share of entries changed in bfloat16", "stable rank of the update")
        )
        blocks = self.frame.dropna(subset=["layer"])
        table = blocks.pivot_table(index="module", columns="layer", values="unchanged_exact", aggfunc="mean")
        figure.add_trace(
            go.Heatmap(
                z=1.0 - table.to_numpy(dtype=float), x=[int(x) for x in table.columns], y=list(table.index),
                colorscale="Viridis", colorbar={"x": 0.46, "title": "changed"},
                hovertemplate="layer %{x}<br>%{y}<br>changed %{z:.3f}<extra></extra>",
            ), row=1, col=1,
        )  # fmt: skip
        for column, name in (("stable_rank", "update"), ("stable_rank_null", "entries shuffled")):
            figure.add_trace(
                go.Scatter(x=list(matrices["tensor"]), y=list(matrices[column]), mode="markers", name=name),
                row=1,
                col=2,
            )
        figure.update_xaxes(title_text="layer", row=1, col=1)
        figure.update_xaxes(showticklabels=False, title_text="matrix", row=1, col=2)
        figure.update_yaxes(type="log", row=1, col=2)
        figure.update_layout(template="plotly_white", title="What moved", height=460)
        return figure


def _sizes(by_size: Sequence[int]) -> pd.DataFrame:
    """Rows from the least to the largest change that there is, empty ones between them kept, zero first."""
    counts = np.asarray(by_size, dtype=np.int64)
    columns = ["low", "high", "entries", "share"]
    if not counts.any():
        return pd.DataFrame(columns=columns)
    seen = np.flatnonzero(counts[1:]) + 1
    kept = [0, *(range(int(seen.min()), int(seen.max()) + 1) if len(seen) else ())]
    low = [0.0 if e == 0 else 2.0 ** (e - 127) for e in kept]
    high = [0.0 if e == 0 else 2.0 ** (e - 126) for e in kept]
    return pd.DataFrame({"low": low, "high": high, "entries": counts[kept], "share": counts[kept] / counts.sum()})


def _experts(frame: pd.DataFrame) -> tuple[str, ...]:
    """Expert matrices that hold what they held: they count as unchanged, whatever RL did to those it routed to."""
    own = frame[frame["tensor"].str.contains("expert", case=False) & (frame["unchanged_stored"] == 1.0)]
    some = frame["tensor"].str.contains("expert", case=False) & (frame["unchanged_stored"] < 1.0)
    return tuple(own["tensor"]) if some.any() else ()


def _summary(part: pd.DataFrame) -> dict[str, float]:
    """Shares weighted by size, norms added in squares, ranks averaged over the matrices that have them."""
    size = part["size"].to_numpy(dtype=float)
    out: dict[str, float] = {"size": float(size.sum()), "tensors": float(len(part))}
    for name in SHARES:
        values = part[name].to_numpy(dtype=float)
        out[name] = float(np.average(values, weights=size)) if size.sum() else np.nan
    norms = part["norm"].to_numpy(dtype=float)
    base_squares = part["norm_base"].to_numpy(dtype=float) ** 2
    out["norm"] = float(np.sqrt((norms**2).sum()))
    out["rounding_norm"] = float(np.sqrt((part["rounding_norm"].to_numpy(dtype=float) ** 2).sum()))
    out["relative_norm"] = out["norm"] / float(np.sqrt(base_squares.sum())) if base_squares.sum() else np.nan
    for name in RANKS:
        values = part[name].dropna().to_numpy(dtype=float)
        out[name] = float(values.mean()) if len(values) else np.nan
    return out
