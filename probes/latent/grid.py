"""Where in the network, and how much?  Effect and damage of steering over a grid of layers and doses.

Each layer has its own vector and one batch of all doses (:mod:`probes.latent.dose`); with a folder, a finished layer's
table is kept and the same call goes on at the next.  The grid is shown whole: the best cell of many is the best of
many, and to quote one it has to be chosen on other problems, as :func:`probes.latent.steering.steering_effect` does.

What it does not show: that a random vector would do less in a cell, nor that layers without an effect do not take part.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hooks.direction import Direction
from hooks.pair import Pair
from hooks.rollouts import write_whole
from hooks.sites import Positions
from probes.latent.dose import dose_response
from probes.results import Result, manifest
from probes.tasks import Problem

PANELS = {"strategy_share": "strategy used", "accuracy": "accuracy", "kl": "KL, nats a token"}
"""Columns that are drawn, and what they are called."""


@dataclass(frozen=True, repr=False, eq=False)
class SteeringGrid(Result):
    """Effect and damage at every layer and dose."""

    frame: pd.DataFrame
    """A row a layer and dose, as in :class:`probes.latent.dose.DoseResponse`, and the layer's ``anti_steered_overall``
    and ``slope`` with intervals."""

    def headline(self) -> str:
        """How large the grid is and how far the strategy's share moves in it."""
        share = self.frame["strategy_share"].dropna()
        moved = f"; strategy used in {share.min():.1%} to {share.max():.1%} of texts" if len(share) else ""
        doses, layers = self.frame["alpha"].nunique(), self.frame["layer"].nunique()
        return f"Steering over {layers} layer{'s' * (layers != 1)} and {doses} doses{moved}"

    def plot(self) -> go.Figure:
        """A heat map a measure, layers upwards and doses to the right, with the interval of every cell on hovering."""
        from plotly.subplots import make_subplots

        figure = make_subplots(rows=1, cols=len(PANELS), subplot_titles=list(PANELS.values()), shared_yaxes=True)
        for column, name in enumerate(PANELS, start=1):
            value, low, high = (
                self.frame.pivot(index="layer", columns="alpha", values=key)
                for key in (name, f"{name}_low", f"{name}_high")
            )
            words = [
                [f"{v:.3g} [{a:.3g}, {b:.3g}]" for v, a, b in zip(*rows, strict=True)]
                for rows in zip(value.to_numpy(), low.to_numpy(), high.to_numpy(), strict=True)
            ]
            ends = {"zmin": 0.0} if name == "kl" else {"zmin": 0.0, "zmax": 1.0}
            figure.add_trace(
                go.Heatmap(
                    x=[f"{alpha:g}" for alpha in value.columns], y=[str(layer) for layer in value.index],
                    z=value.to_numpy(), text=words, colorscale="Viridis", showscale=False,
                    hovertemplate="layer %{y}, dose %{x}<br>%{text}<extra></extra>",
                    texttemplate="%{z:.2f}", **ends,
                ),
                row=1,
                col=column,
            )  # fmt: skip
            figure.update_xaxes(title_text="dose", type="category", row=1, col=column)
        figure.update_yaxes(title_text="layer", type="category", row=1, col=1)
        return figure.update_layout(title=self.headline())


def steering_grid(
    pair: Pair,
    problems: Sequence[Problem],
    directions: Sequence[Direction],
    *,
    alphas: Sequence[float],
    relative: bool = False,
    positions: str | Positions | None = None,
    annotator: Any = "auto",
    n_boot: int = 2000,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> SteeringGrid:
    """Measure every dose of every direction, one direction a layer.

    Args:
        pair: both models; only the base is steered.
        problems: what it is asked.
        directions: one a layer.
        alphas: doses; 0 is added.
        relative: count doses in typical norms of the activation, else in lengths of the vectors.
        positions: where to steer; :func:`probes.latent.trial.decision_positions` by default.
        annotator: of strategies, see :func:`probes.latent.strategies.annotate`.
        n_boot: bootstrap draws.
        seed: of the draws.
        settings: keyword arguments of :func:`hooks.generate.generate`.
        out: a folder for the tables of finished layers; the same call goes on where it stopped.
        progress: called with (layers done, layers in all).

    Raises:
        ValueError: without directions, with two at one layer, or for a folder that holds another grid.

    It does not show that a random vector would do less.
    """
    layers = [one.site.layer for one in directions]
    if not layers or len(set(layers)) != len(layers):
        raise ValueError(f"a grid needs directions at different layers, not at layers {layers}")
    how: dict[str, Any] = {
        "alphas": [float(alpha) for alpha in alphas], "relative": relative, "positions": positions,
        "annotator": annotator, "n_boot": n_boot, "seed": seed, "settings": dict(settings or {}),
    }  # fmt: skip
    record = _record(pair, problems, how)
    if out is not None:
        _open(Path(out), record)
    parts = []
    for done, one in enumerate(directions):
        kept = None if out is None else Path(out) / "layers" / f"{one.site}-{_hash(one)}.parquet"
        if kept is not None and kept.exists():
            part = pd.read_parquet(kept)
        else:
            part = _layer(pair, problems, one, how)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_whole(kept, lambda path, part=part: part.to_parquet(path, index=False))  # type: ignore[misc]
        parts.append(part)
        if progress is not None:
            progress(done + 1, len(directions))
    made = manifest(measure="latent.steering_grid", **record)
    return SteeringGrid(pd.concat(parts, ignore_index=True), manifest=made)


def _layer(pair: Pair, problems: Sequence[Problem], one: Direction, how: Mapping[str, Any]) -> pd.DataFrame:
    curve = dose_response(pair, problems, one, **how)
    columns: dict[str, float] = {}
    for name, found in (("anti_steered_overall", curve.anti_steered), ("slope", curve.slope)):
        columns |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return curve.frame.assign(site=str(one.site), vector=_hash(one), norm=one.norm, **columns)


def _record(pair: Pair, problems: Sequence[Problem], how: Mapping[str, Any]) -> dict[str, Any]:
    """What a number of the grid depends on, as plain JSON values; how many rows are written at a time is not."""
    asked = hashlib.sha256("\0".join(f"{one.id}\0{one.prompt}" for one in problems).encode()).hexdigest()[:16]
    settings = {name: value for name, value in how["settings"].items() if name != "batch_size"}
    where = None if how["positions"] is None else str(how["positions"])
    told = how["annotator"] if isinstance(how["annotator"], str) else type(how["annotator"]).__name__
    plain = {**how, "settings": settings, "positions": where, "annotator": told}
    return {"model": pair.base.name, "weights": pair.base.weights_hash, "problems": asked, **plain}


def _open(root: Path, record: Mapping[str, Any]) -> None:
    path = root / "grid.json"
    text = json.dumps(record, indent=1, sort_keys=True, default=str)
    if path.exists():
        held = json.loads(path.read_text())
        if held != json.loads(text):
            changed = sorted(name for name in record if held.get(name) != json.loads(text)[name])
            raise ValueError(
                f"{root} holds a steering sweep with other settings ({', '.join(changed)}); choose another folder, or "
                "delete it"
            )
        return
    root.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write_text(text + "\n"))


def _hash(one: Direction) -> str:
    return hashlib.sha256(one.vector.numpy().tobytes()).hexdigest()[:12]
