"""The result of :func:`probes.weights.geometry.geometry`: a row a matrix, means over matrices, a picture.

Overlaps are pooled over matrices by the entries that changed; drift and angles are properties of a matrix and are
averaged, each matrix once. Exact for one pair of files: one run, so without an interval. It does not show how the
figures would vary between training runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from probes.results import Result, manifest

POOLED = ("overlap", "overlap_null", "overlap_sizes", "overlap_small")
_MEANS = ("drift", "drift_of_update", "angle_left", "angle_right", "mean_left", "mean_right", "kept")
MEANS = ("relative_norm", *(f"{name}{null}" for name in _MEANS for null in ("", "_null")))


@dataclass(frozen=True, repr=False, eq=False)
class Geometry(Result):
    """The update beside the base's principal directions."""

    frame: pd.DataFrame
    """A row a matrix; ``_null`` columns are of a random update with the same changes."""
    totals: Mapping[str, float]
    """Overlaps pooled by changed entries, drift and angles averaged over matrices."""
    notes: Mapping[str, tuple[str, ...]]
    """Tensors that were renamed, tied, cut or left out."""
    base: str
    """Where the base lies."""
    rl: str
    """Where the RL checkpoint lies."""

    @classmethod
    def of(
        cls, rows: list[dict[str, Any]], *, base: str, rl: str, notes: Mapping[str, tuple[str, ...]], options: Any
    ) -> Geometry:
        """Put the rows of all matrices together."""
        frame = pd.DataFrame(rows)
        frame["layer"] = frame["layer"].astype("Int64")
        made = manifest(measure="weights.geometry", base=Path(base).name, rl=Path(rl).name, **options)
        return cls(frame, _summary(frame), notes, base, rl, manifest=made)

    def by(self, what: Literal["layer", "module", "kind"]) -> pd.DataFrame:
        """The totals for each layer, module or kind."""
        rows = [{what: key, **_summary(part)} for key, part in self.frame.groupby(what, dropna=False, sort=True)]
        return pd.DataFrame(rows)

    def headline(self) -> str:
        """Overlap with principal weights, drift and rotation, each beside its null."""
        t = self.totals
        return (
            f"{len(self.frame)} matrices (one run, exact): {t['overlap']:.1%} of the changed entries are principal "
            f"weights (random places {t['overlap_null']:.1%}, by the sizes of weights {t['overlap_sizes']:.1%}); "
            f"singular values drift by {t['drift']:.3g} of their norm{_beside(t['drift_null'])}; largest principal "
            f"angle of the top-k subspaces {t['angle_left']:.3g} degrees left{_beside(t['angle_left_null'])}, "
            f"{t['angle_right']:.3g} right{_beside(t['angle_right_null'])}"
        )

    def plot(self) -> go.Figure:
        """Overlap with principal weights, and the largest left angle, of every matrix beside its nulls."""
        figure = make_subplots(
            rows=1, cols=2,
            subplot_titles=("changed entries that are principal weights", "largest principal angle, left (degrees)"),
        )  # fmt: skip
        columns = (
            ("overlap", "RL update", 1), ("overlap_null", "random places", 1), ("overlap_sizes", "by weight sizes", 1),
            ("angle_left", "RL update, angle", 2), ("angle_left_null", "random update, angle", 2),
        )  # fmt: skip
        for column, name, place in columns:
            marker = {"symbol": "circle" if name.startswith("RL") else "circle-open", "size": 7}
            trace = go.Scatter(
                x=list(self.frame["tensor"]), y=list(self.frame[column]), mode="markers", name=name, marker=marker
            )
            figure.add_trace(trace, row=1, col=place)
        figure.update_xaxes(showticklabels=False, title_text="matrix, in the order of the network")
        figure.update_layout(template="plotly_white", title="Where the update lies", height=440)
        return figure


def _beside(null: float) -> str:
    return "" if np.isnan(null) else f" (random update {null:.3g})"


def _summary(part: pd.DataFrame) -> dict[str, float]:
    changed = part["changed"].to_numpy(dtype=float)
    out = {"matrices": float(len(part)), "size": float(part["size"].sum()), "changed": float(changed.sum())}
    for name in POOLED:
        values = part[name].to_numpy(dtype=float)
        known = changed > 0
        out[name] = float(np.average(values[known], weights=changed[known])) if known.any() else np.nan
    for name in MEANS:
        values = part[name].dropna().to_numpy(dtype=float)
        out[name] = float(values.mean()) if len(values) else np.nan
    return out
