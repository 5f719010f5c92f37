"""Is the subnetwork that RL changed enough?  A run that was trained on those entries alone, beside the full run.

The subnetwork is the set of entries that the full run changed, ``m = 1[bf16(w_full) != bf16(w)]``; training it alone
from the same start, gradients of all other entries held at zero, is said to give the same model back (arXiv
2505.11711).  For the retrained weights ``w'``:

* ``equal``: of the entries in ``m``, the share with ``|w' - w_full| <= tolerance`` (published: 1e-4, 100 %);
* ``equal_base``: the same with the untrained ``w`` in place of ``w'``.  Most changes of RL are below 1e-4, so that the
  base itself is "equal" nearly everywhere: what counts is how far ``equal`` lies above it;
* ``closed``: ``1 - ||m (w' - w_full)|| / ||m (w - w_full)||``, 1 for the same weights and 0 for the base, free of any
  tolerance;
* ``outside``: of the entries not in ``m``, the share that moved all the same, which a run with masked gradients keeps
  at zero (weight decay does not).

:func:`write_mask` writes ``m`` for a trainer.  Every figure is exact for fixed files: one run.  What it does not show:
whether the retrained model does as well; grade both (the published claim is about accuracy and weights).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Tensor

from hooks.rollouts import write_whole
from probes.results import Result, manifest
from probes.weights.files import Checkpoint, place
from probes.weights.matching import common_shape, line_up
from probes.weights.sources import paths_of

SAME = 1e-4
"""Published tolerance."""
_COUNTS = ("size", "changed", "near", "near_base", "outside_moved", "left", "start")
_ROWS = 256  # rows of a matrix that are read at a time


@dataclass(frozen=True, repr=False, eq=False)
class Sufficiency(Result):
    """How near a run on the subnetwork alone came to the full run."""

    frame: pd.DataFrame
    """A row a tensor: its place, ``size``, ``changed`` (entries of the subnetwork), ``equal``, ``equal_base``,
    ``closed`` and ``outside``."""
    totals: Mapping[str, float]
    """The same over all tensors, entry by entry."""
    notes: Mapping[str, tuple[str, ...]]
    """Tensors that were renamed, tied, cut or left out."""

    def headline(self) -> str:
        """Equal entries beside those of the base, the distance closed, and what moved outside."""
        t = self.totals
        return (
            f"{t['changed'] / t['size']:.1%} of {int(t['size']):,} parameters in the subnetwork (one run, exact): "
            f"{t['equal']:.2%} of them as in the full run (untrained {t['equal_base']:.2%}), {t['closed']:.1%} of the "
            f"distance closed; {t['outside']:.2%} of the others moved"
        )

    def plot(self) -> go.Figure:
        """Equal entries of every tensor beside those of the untrained base, and the distance closed."""
        figure = go.Figure()
        for column, name in (("equal", "retrained"), ("equal_base", "untrained base"), ("closed", "distance closed")):
            marker = {"symbol": "circle-open" if column == "equal_base" else "circle", "size": 7}
            figure.add_trace(
                go.Scatter(
                    x=list(self.frame["tensor"]), y=list(self.frame[column]), mode="markers", name=name, marker=marker
                )
            )
        figure.update_xaxes(showticklabels=False, title_text="tensor, in the order of the network")
        return figure.update_layout(template="plotly_white", title="Is the subnetwork enough?", yaxis_title="share")


def sufficiency(base: str | Path, full: str | Path, retrained: str | Path, *, tolerance: float = SAME) -> Sufficiency:
    """Compare a run on the subnetwork alone with the full run, a row a tensor, streamed from disk.

    Raises:
        FileNotFoundError: a checkpoint is not there.
        ValueError: no tensor in common, or the full run changed nothing.

    It does not show whether the retrained model does as well.
    """
    paths = [*paths_of(base, full), paths_of(base, retrained)[1]]
    rows = []
    with ExitStack() as stack:
        opened = [stack.enter_context(Checkpoint.open(path)) for path in paths]
        shared, notes = line_up(opened[0], opened[1])
        others, more = line_up(opened[0], opened[2])
        for name in (one for one in shared if one in others):
            layer, module, kind = place(name)
            where = {"tensor": opened[0].tensors[name].name, "layer": layer, "module": module, "kind": kind}
            parts = [_count(one, goal, now, tolerance) for one, goal, now in _entries(opened, name)]
            rows.append(where | dict(zip(_COUNTS, np.sum(parts, axis=0), strict=True)))
    table = pd.DataFrame(rows)
    if not len(table) or not table["changed"].sum():
        raise ValueError(f"{paths[1]} changed nothing of {paths[0]}, so there is no subnetwork; is it the tuned model?")
    frame = pd.concat([table, _shares(table)], axis=1)
    sums = _shares(table[list(_COUNTS)].sum().to_frame().T).iloc[0]
    totals = {str(name): float(value) for name, value in sums.items()}
    names = {f"{side}{what}": told for side, own in (("", notes), ("retrained: ", more)) for what, told in own.items()}
    made = manifest(measure="weights.sufficiency", tolerance=tolerance, runs=[path.name for path in paths])
    size = {name: float(table[name].sum()) for name in ("size", "changed")}
    return Sufficiency(frame.drop(columns=list(_COUNTS[2:])), {**size, **totals}, names, manifest=made)


def write_mask(base: str | Path, full: str | Path, out: str | Path) -> Path:
    """Write the subnetwork as truth values under the full run's tensor names, for a trainer that masks gradients.

    Raises:
        FileNotFoundError: a checkpoint is not there.
        ValueError: no tensor in common.

    It does not show that the subnetwork is enough; train it and ask :func:`sufficiency`.
    """
    from safetensors.torch import save_file

    masks: dict[str, Tensor] = {}
    with ExitStack() as stack:
        opened = [stack.enter_context(Checkpoint.open(path)) for path in paths_of(base, full)]
        for name in line_up(*opened)[0]:
            parts = [one.bfloat16() != other.bfloat16() for one, other in _entries(opened, name)]
            shape = common_shape(name, *opened)
            masks[opened[1].tensors[name].name] = torch.cat([part.flatten() for part in parts]).reshape(shape)
    path = Path(out)
    write_whole(path, lambda temporary: save_file(masks, temporary))
    return path


def _entries(opened: list[Checkpoint], name: str) -> Iterator[tuple[Tensor, ...]]:
    """The same rows of every checkpoint, part by part."""
    shape = common_shape(name, *opened)
    rows = shape[0] if shape else 1
    for start in range(0, rows, _ROWS):
        yield tuple(one.rows(name, start, min(start + _ROWS, rows)) for one in opened)


def _count(base: Tensor, full: Tensor, other: Tensor, tolerance: float) -> list[float]:
    """Counts and squares of one part, in the order of ``_COUNTS``."""
    inside = base.bfloat16() != full.bfloat16()
    start, goal, now = (one.double() for one in (base, full, other))
    left, whole = (now - goal).abs(), (start - goal).abs()
    moved = base.bfloat16() != other.bfloat16()
    return [
        float(value)
        for value in (
            inside.numel(), inside.sum(), (inside & (left <= tolerance)).sum(), (inside & (whole <= tolerance)).sum(),
            (~inside & moved).sum(), left[inside].square().sum(), whole[inside].square().sum(),
        )
    ]  # fmt: skip


def _shares(table: pd.DataFrame) -> pd.DataFrame:
    """Shares from counts; NaN where there is nothing to share."""
    counts: dict[str, Any] = {name: table[name].astype(float) for name in _COUNTS}
    inside, outside = counts["changed"], counts["size"] - counts["changed"]
    with np.errstate(invalid="ignore", divide="ignore"):
        closed = 1 - np.sqrt(counts["left"] / counts["start"])
        return pd.DataFrame(
            {
                "equal": counts["near"] / inside, "equal_base": counts["near_base"] / inside, "closed": closed,
                "outside": counts["outside_moved"] / outside,
            }
        )  # fmt: skip
