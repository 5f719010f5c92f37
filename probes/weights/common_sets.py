"""The result of :func:`probes.weights.overlap.overlap`: shares that runs have in common beside what chance would share.

Sums over tensors add counts and expected counts, so that a large tensor weighs what its entries weigh. Formulas and
sources stand at the head of :mod:`probes.weights.overlap`. It does not show how further runs would agree: the range
over pairs is that of the runs that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from probes.results import Result, manifest

if TYPE_CHECKING:
    from probes.weights.overlap import Tally

SUMS = ("size", "changed_1", "changed_2", "both", "same", "by_tensors", "by_sizes", "by_stripes", "dot", "one", "two")
NULLS = ("jaccard_null", "jaccard_tensors", "jaccard_sizes", "jaccard_stripes")
"""Columns with the Jaccard index that chance would give, the more of them held fixed the further right."""


@dataclass(frozen=True, repr=False, eq=False)
class Overlap(Result):
    """What several RL runs changed in common."""

    frame: pd.DataFrame
    """A row a pair of runs, over all tensors: shares changed, ``o1``, ``o2``, Jaccard, each beside its nulls."""
    tensors: pd.DataFrame
    """The same for each tensor, with correlations of row and column ratios between the runs."""
    consensus: pd.DataFrame
    """``runs``: how many runs changed an entry; ``share`` of all entries; ``null``: were the runs independent."""
    stripes: pd.DataFrame
    """A row a matrix and run: variance of row and of column ratios over that of independent entries (chance: 1)."""
    rows: Mapping[str, Float[np.ndarray, "run row"]]
    """Row update ratios of each matrix."""
    columns: Mapping[str, Float[np.ndarray, "run column"]]
    """Column update ratios of each matrix."""
    maps: Mapping[str, Float[np.ndarray, "block_row block_column"]]
    """Consensus of each matrix, averaged over at most 48 x 48 blocks."""
    runs: tuple[str, ...]
    """Names of the runs."""
    notes: Mapping[str, tuple[str, ...]]
    """Tensors that were renamed, tied, cut or left out, by run."""

    @classmethod
    def of(
        cls,
        tallies: Mapping[str, Tally],
        shapes: Mapping[str, tuple[int, ...]],
        places: Mapping[str, tuple[int | None, str, str]],
        runs: tuple[str, ...],
        *,
        notes: Mapping[str, tuple[str, ...]],
        base: str,
        tolerance: float,
    ) -> Overlap:
        """Put the counts of all tensors together."""
        matrices = [name for name, shape in shapes.items() if len(shape) == 2 and min(shape) > 1]
        sums, stripes = [], []
        for name, tally in tallies.items():
            layer, module, kind = places[name]
            where: dict[str, Any] = {"tensor": name, "layer": layer, "module": module, "kind": kind}
            for a, b in combinations(range(len(runs)), 2):
                both = {"run_1": runs[a], "run_2": runs[b]}
                sums.append(where | both | _sums(tally, a, b, name in matrices) | _alike(tally, a, b, name in matrices))
            if name in matrices:
                stripes += [where | {"run": run} | _stripes(tally, place) for place, run in enumerate(runs)]
        table = pd.DataFrame(sums)
        table["layer"] = table["layer"].astype("Int64")
        made = manifest(measure="weights.overlap", base=Path(base).name, runs=list(runs), tolerance=tolerance)
        return cls(
            frame=_added(table, ["run_1", "run_2"]),
            tensors=_shares(table),
            consensus=_consensus(tallies, len(runs)),
            stripes=pd.DataFrame(stripes),
            rows={name: tallies[name].rows / shapes[name][1] for name in matrices},
            columns={name: tallies[name].columns / shapes[name][0] for name in matrices},
            maps={name: tallies[name].map for name in matrices},
            runs=runs,
            notes=notes,
            manifest=made,
        )

    def by(self, what: Literal["layer", "module", "kind", "tensor"]) -> pd.DataFrame:
        """The same measures for each pair of runs and each layer, module, kind or tensor."""
        return _added(self.tensors, [what, "run_1", "run_2"])

    def headline(self) -> str:
        """Jaccard index beside its nulls, with the range over pairs of runs, and what everyone changed."""
        f = self.frame
        size = int(f["size"].iloc[0])
        everyone, null = self.consensus.iloc[-1][["share", "null"]]
        return (
            f"{len(self.runs)} runs, {size:,} parameters (exact counts; "
            f"{f'ranges are over {len(f)} pairs of runs' if len(f) > 1 else 'one pair of runs'}): Jaccard "
            f"{_range(f['jaccard'])}; by chance {_range(f['jaccard_null'])}, with the density of each tensor "
            f"{_range(f['jaccard_tensors'])}, with the sizes of weights {_range(f['jaccard_sizes'])}, with rows and "
            f"columns {_range(f['jaccard_stripes'])}; same sign {_range(f['same_sign'])} (chance 0.5), cosine of the "
            f"updates {_range(f['cosine'])} (chance 0); {everyone:.1%} changed by every run (independent: {null:.1%})"
        )

    def plot(self) -> go.Figure:
        """Jaccard beside its nulls by module, entries changed by k runs, and the map of the most striped matrix."""
        figure = make_subplots(
            rows=1, cols=3, subplot_titles=("Jaccard index by module", "entries changed by k runs", self._striped or "")
        )
        modules = self.by("module").groupby("module", sort=False)[["jaccard", *NULLS]].mean()
        for column, name in zip(("jaccard", *NULLS), ("runs", "chance", "tensors", "weight sizes", "rows, columns")):
            if column == "jaccard_tensors":  # one module in one layer is one tensor: too close to "chance" to draw
                continue
            shown = {"symbol": "circle" if column == "jaccard" else "line-ns-open", "size": 9}
            trace = go.Scatter(x=modules[column], y=list(modules.index), mode="markers", name=name, marker=shown)
            figure.add_trace(trace, row=1, col=1)
        for column, name in (("share", "runs together"), ("null", "independent runs")):
            figure.add_trace(go.Bar(x=self.consensus["runs"], y=self.consensus[column], name=name), row=1, col=2)
        if self._striped is not None:
            values = self.maps[self._striped]
            figure.add_trace(go.Heatmap(z=values, colorscale="Viridis", showscale=False), row=1, col=3)
        figure.update_layout(template="plotly_white", title="What the runs changed in common", height=480)
        return figure

    @property
    def _striped(self) -> str | None:
        if self.stripes.empty or self.stripes["row_dispersion"].isna().all():
            return None
        means = self.stripes.groupby("tensor", sort=False)[["row_dispersion", "column_dispersion"]].mean().max(axis=1)
        return str(means.idxmax())


def _sums(tally: Tally, a: int, b: int, matrix: bool) -> dict[str, float]:
    """Counts of two runs in one tensor, and the intersections to expect, which all add up over tensors."""
    number = np.arange(len(tally.table))
    one, two = tally.table[number >> a & 1 == 1].sum(0), tally.table[number >> b & 1 == 1].sum(0)
    both = tally.table[(number >> a & 1 & (number >> b)) == 1].sum()
    binades, size = tally.table.sum(0), int(tally.table.sum())
    first, second = int(one.sum()), int(two.sum())
    chance = first * second / size if size else 0.0
    stripes = chance
    if matrix and first and second:
        rows = float(tally.rows[a].astype(float) @ tally.rows[b])
        stripes = rows * float(tally.columns[a].astype(float) @ tally.columns[b]) / (first * second)
    found = {
        "size": size, "changed_1": first, "changed_2": second, "both": both, "same": tally.same[a, b],
        "by_tensors": chance,
        "by_sizes": (one * two / np.maximum(binades, 1)).sum(),
        # Where stripes are dense, expected densities pass one; no more than the smaller set can be shared.
        "by_stripes": min(stripes, first, second),
        "dot": tally.dots[a, b], "one": tally.dots[a, a], "two": tally.dots[b, b],
    }  # fmt: skip
    return {name: float(value) for name, value in found.items()}


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """Shares and nulls from columns of sums; NaN where nothing changed."""
    out = table.copy()
    n, one, two, both = (out[name].astype(float) for name in ("size", "changed_1", "changed_2", "both"))
    p, q = one / n, two / n
    out["share_1"], out["share_2"] = p, q
    out["o1"], out["o1_null"], out["o2"], out["o2_null"] = both / one, q, both / two, p
    out["jaccard"] = both / (one + two - both)
    out["jaccard_null"] = p * q / (p + q - p * q)
    spread = np.sqrt(n * p * q * (1 - p) * (1 - q) * n / np.maximum(n - 1, 1))
    expected = n * p * q
    out["jaccard_null_error"] = spread * (one + two) / (one + two - expected) ** 2
    for name in ("tensors", "sizes", "stripes"):
        out[f"jaccard_{name}"] = out[f"by_{name}"] / (one + two - out[f"by_{name}"])
    out["same_sign"] = out["same"] / both
    with np.errstate(invalid="ignore"):
        out["cosine"] = out["dot"] / np.sqrt(out["one"].astype(float) * out["two"])
    return out.replace([np.inf, -np.inf], np.nan)


def _added(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    summed = table.groupby(keys, sort=False, dropna=False)[list(SUMS)].sum().reset_index()
    return _shares(summed)


def _alike(tally: Tally, a: int, b: int, matrix: bool) -> dict[str, float]:
    """Correlation between two runs of their row and of their column ratios (chance: 0)."""
    return {
        f"{name}_correlation": _correlation(counts[a], counts[b]) if matrix else np.nan
        for name, counts in (("row", tally.rows), ("column", tally.columns))
    }


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    if len(one) < 3 or one.std() == 0 or two.std() == 0:
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])


def _stripes(tally: Tally, run: int) -> dict[str, float]:
    rows, columns = tally.rows[run].astype(float), tally.columns[run].astype(float)
    p = rows.sum() / (len(rows) * len(columns))
    chance = p * (1 - p)
    return {
        "share": float(p),
        "row_dispersion": float(rows.var(ddof=1) / (len(columns) * chance)) if chance else np.nan,
        "column_dispersion": float(columns.var(ddof=1) / (len(rows) * chance)) if chance else np.nan,
    }


def _consensus(tallies: Mapping[str, Tally], n_runs: int) -> pd.DataFrame:
    """How many entries were changed by k runs, and by how many if in each tensor the runs were independent."""
    ones = np.array([number.bit_count() for number in range(1 << n_runs)])
    counts, null, total = np.zeros(n_runs + 1), np.zeros(n_runs + 1), 0
    for tally in tallies.values():
        by_set = tally.table.sum(1)
        size = int(by_set.sum())
        counts += np.bincount(ones, by_set, minlength=n_runs + 1)
        chance = np.ones(1)
        for run in range(n_runs):
            p = by_set[np.arange(1 << n_runs) >> run & 1 == 1].sum() / max(size, 1)
            chance = np.convolve(chance, [1 - p, p])
        null += size * chance
        total += size
    return pd.DataFrame({"runs": range(n_runs + 1), "share": counts / max(total, 1), "null": null / max(total, 1)})


def _range(values: Any) -> str:
    known = pd.Series(values, dtype=float).dropna()
    if known.empty:
        return "not measured"
    low, high = float(known.min()), float(known.max())
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
