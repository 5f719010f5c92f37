r"""Do both models write a strategy along the same directions?  Cosines and principal angles, beside chance.

The direction of a label is the difference of the mean activations of its rows and of the others (as in arXiv
2506.18167).  Both models read the same tokens, so the directions of *any* label, a random one too, share the rows'
accidents: their cosine is near one wherever the models are alike.  So each cosine is given twice: from the same rows
(``cosine``), and from different problems (``apart``: the base's direction from one half, the RL model's from the other,
averaged over both ways round), which is zero for a label that means nothing.  ``base_apart`` is the base against itself
on the two halves: what sampling leaves of one.

The labels' directions together span a subspace.  Its overlap with the other model's is
:math:`\lVert U^\top V \rVert_F^2`, the sum of the squared cosines of the principal angles (TransformerLens'
``projection_kernel``); two random subspaces of rank r in d dimensions have r²/d on average, with a known variance.

Intervals leave out one problem at a time (jackknife, cosines on Fisher's scale): a bootstrap draw holds the noise of
a direction twice and would pull every cosine towards zero.  They assume exchangeable problems.
What it does not show: that a direction is used, or that equal directions mean the same thing to both models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from jaxtyping import Float, Int
from scipy.special import stdtrit

from hooks.sites import Site
from hooks.streams import stream
from probes.latent.labels import Labels, label_table
from probes.latent.matrix import whole
from probes.latent.splits import grouped_folds
from probes.results import Result, manifest
from probes.stats.problems import problem_codes

PAIRINGS = ("cosine", "apart", "base_apart")
"""Same rows; base half against RL half; base half against base half."""


@dataclass(frozen=True, repr=False, eq=False)
class Angles(Result):
    """Directions of both models beside each other."""

    frame: pd.DataFrame
    """A row a site and label: ``cosine``, ``apart`` and ``base_apart`` (see the module) with intervals; ``shuffled``,
    the largest absolute ``apart`` of shuffled labels; ``random``, the cosine that one in forty pairs of random
    directions exceeds."""
    subspaces: pd.DataFrame
    """A row a site and pairing: ``rank``, ``overlap`` over the rank with interval, the expected value and standard
    deviation of random subspaces, ``z``, and ``angles``, the principal angles in degrees, smallest first."""

    def headline(self) -> str:
        """The mean cosines."""
        means = [f"{name} {self.frame[name].mean():.2f}" for name in PAIRINGS]
        return f"Angles: mean cosine over sites and labels: {', '.join(means)}"

    def plot(self) -> go.Figure:
        """The cosine from different problems by site, a line a label, with intervals."""
        figure = go.Figure()
        for label, part in self.frame.groupby("label", sort=True):
            error = {"array": part["apart_high"] - part["apart"], "arrayminus": part["apart"] - part["apart_low"]}
            figure.add_scatter(x=part["site"], y=part["apart"], error_y=error, name=str(label), mode="lines+markers")
        return figure.update_layout(xaxis_title="site", yaxis_title="cosine, base and RL direction, other problems")


def angles(
    base: Mapping[str, Any],
    rl: Mapping[str, Any],
    labels: Labels,
    *,
    sites: Sequence[str | Site] | None = None,
    n_shuffles: int = 20,
    level: float = 0.95,
    seed: int = 0,
) -> Angles:
    """Compare the difference-of-means directions of both models.

    Args:
        base: activations of the base, with their table ``rows``.
        rl: activations of the RL model at the same rows.
        labels: see :data:`probes.latent.labels.Labels`.
        sites: which; all by default.
        n_shuffles: label shuffles, for the null.
        level: of the intervals.
        seed: of halves and shuffles.

    Raises:
        ValueError: when the two models' rows differ in number, or the labels do not fit them.

    Does not show that a direction does anything; steering does.
    """
    rows: pd.DataFrame = base.rows  # type: ignore[attr-defined]
    if len(rows) != len(rl.rows):  # type: ignore[attr-defined]
        raise ValueError("base and RL activations have different rows; capture both from the same texts and positions")
    names, values = label_table(labels, len(rows))
    problems = problem_codes(rows["problem"], len(rows))[1]
    half = grouped_folds(rows["problem"], folds=2, seed=seed)
    side = np.zeros(int(problems.max(initial=0)) + 1, dtype=int)
    side[problems] = half
    table, spaces = [], []
    for site in [str(one) for one in (sites if sites is not None else base)]:
        both = [whole(one[site]).double().numpy() for one in (base, rl)]
        sums = [[_Sums.of(own, label, problems) for label in values] for own in both]
        width = both[0].shape[1]
        for at, name in enumerate(names):
            line: dict[str, Any] = {"site": site, "label": name}
            for pairing in PAIRINGS:
                line |= _jackknife(pairing, _cosines([[sums[0][at]], [sums[1][at]]], side, pairing), level)
            line["shuffled"] = _null(both, values[at], problems, side, n_shuffles, seed, name)
            line["random"] = _random_cosine(width)
            table.append(line)
        if len(names) > 1:
            spaces += [{"site": site} | _subspace(sums, side, pairing, width, level) for pairing in PAIRINGS]
    made = manifest(what="angles", n_shuffles=n_shuffles, level=level, seed=seed)
    return Angles(pd.DataFrame(table), pd.DataFrame(spaces), manifest=made)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums of one label's rows by problem: all that a difference of means needs."""

    above: Float[np.ndarray, "problem d"]
    below: Float[np.ndarray, "problem d"]
    n_above: Float[np.ndarray, "problem"]
    n_below: Float[np.ndarray, "problem"]

    @classmethod
    def of(cls, rows: np.ndarray, label: np.ndarray, problems: Int[np.ndarray, "row"]) -> _Sums:
        count = int(problems.max(initial=-1)) + 1
        parts = []
        for value in (1, 0):
            kept = label == value
            total = np.zeros((count, rows.shape[1]))
            np.add.at(total, problems[kept], rows[kept])
            parts.append((total, np.bincount(problems[kept], minlength=count).astype(float)))
        return cls(parts[0][0], parts[1][0], parts[0][1], parts[1][1])

    def directions(self, kept: np.ndarray) -> Float[np.ndarray, "draw d"]:
        """The direction from the problems kept, and below it those with one of the kept problems left out.

        A direction is NaN where a class is empty.
        """
        out = []
        for total, count in ((self.above, self.n_above), (self.below, self.n_below)):
            whole_, n = total[kept].sum(0), count[kept].sum()
            sums = np.concatenate([whole_[None], whole_ - np.where(kept[:, None], total, 0.0)])
            counts = np.concatenate([[n], n - np.where(kept, count, 0.0)])
            with np.errstate(divide="ignore", invalid="ignore"):
                out.append(np.where(counts[:, None] > 0, sums / counts[:, None], np.nan))
        return out[0] - out[1]


def _sides(side: np.ndarray, pairing: str) -> list[tuple[tuple[int, np.ndarray], tuple[int, np.ndarray]]]:
    """Which model's directions from which problems stand against which, for one pairing."""
    every = np.ones(len(side), dtype=bool)
    if pairing == "cosine":
        return [((0, every), (1, every))]
    if pairing == "base_apart":
        return [((0, side == 0), (0, side == 1))]
    return [((0, side == 0), (1, side == 1)), ((0, side == 1), (1, side == 0))]


def _cosines(sums: list[list[_Sums]], side: np.ndarray, pairing: str) -> Float[np.ndarray, "draw"]:
    """The cosine of one label from all problems, and with each left out."""
    found = []
    for (first, own), (second, other) in _sides(side, pairing):
        a, b = sums[first][0].directions(own), sums[second][0].directions(other)
        size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        found.append(np.divide((a * b).sum(1), size, out=np.full(len(a), np.nan), where=size > 0))
    return np.mean(found, axis=0)


def _jackknife(name: str, draws: np.ndarray, level: float, *, fisher: bool = True) -> dict[str, float]:
    """Value and interval from the value itself and those with a problem left out."""
    value, n = float(draws[0]), len(draws) - 1
    out = {name: value, f"{name}_low": math.nan, f"{name}_high": math.nan}
    if n < 3 or not np.isfinite(draws).all():
        return out
    edge = 1 - 1e-12
    moved = np.arctanh(np.clip(draws, -edge, edge)) if fisher else draws
    error = math.sqrt((n - 1) / n * float(((moved[1:] - moved[1:].mean()) ** 2).sum()))
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    ends = moved[0] - reach, moved[0] + reach
    # An overlap is a share; a cosine stays inside by itself.
    low, high = (float(np.tanh(end)) if fisher else float(np.clip(end, 0, 1)) for end in ends)
    return out | {f"{name}_low": low, f"{name}_high": high}


def _null(
    both: list[np.ndarray], label: np.ndarray, problems: np.ndarray, side: np.ndarray, n: int, seed: int, name: str
) -> float:
    """The largest absolute cosine apart over shuffles of the label among its rows; NaN without a shuffle."""
    known = np.flatnonzero(~np.isnan(label))
    most = math.nan
    for draw in range(n):
        mixed = label.copy()
        mixed[known] = label[stream(seed, "shuffled directions", name, draw).permutation(known)]
        sums = []
        for own in both:
            means = []
            for half in (0, 1):
                kept = side[problems] == half
                above, below = own[kept & (mixed == 1)], own[kept & (mixed == 0)]
                means.append(above.mean(0) - below.mean(0) if len(above) and len(below) else own[0] * math.nan)
            sums.append(means)
        found = np.mean([_cosine(sums[0][0], sums[1][1]), _cosine(sums[0][1], sums[1][0])])
        most = float(np.nanmax([most, abs(found)])) if not (math.isnan(most) and math.isnan(found)) else most
    return most


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else math.nan


def _random_cosine(width: int) -> float:
    r"""The 97.5 % point of two random directions' cosine, :math:`t / \sqrt{\nu + t^2}` with :math:`\nu = d - 1`."""
    if width < 2:
        return 1.0
    t = float(stdtrit(width - 1, 0.975))
    return t / math.sqrt(width - 1 + t * t)


def _subspace(sums: list[list[_Sums]], side: np.ndarray, pairing: str, width: int, level: float) -> dict[str, Any]:
    """Overlap of the subspaces spanned by all labels' directions, beside random ones."""
    from transformer_lens.tools.analysis.projection_kernel import (
        orthonormal_subspace,
        projection_kernel,
        random_projection_kernel_moments,
    )

    line: dict[str, Any] = {"pairing": pairing}
    overlaps, turned = [], []
    for pair in _sides(side, pairing):
        # One stack of directions a side: the first from all its problems, the others with one left out.
        stacks = [_units(np.stack([one.directions(kept) for one in sums[who]], axis=2)) for who, kept in pair]
        if not all(np.isfinite(stack).all() for stack in stacks):
            return line | {"rank": None, "overlap": math.nan, "overlap_low": math.nan, "overlap_high": math.nan}
        # One-against-rest labels of the same choice can depend on each other, so the rank may be below their number.
        bases = [orthonormal_subspace(torch.from_numpy(stack[0]), rtol=1e-6) for stack in stacks]
        rank = min(one.rank for one in bases)
        bases = [orthonormal_subspace(torch.from_numpy(stack[0]), rank=rank, rtol=1e-6) for stack in stacks]
        exact = projection_kernel(*bases)
        spans = [np.linalg.svd(stack, full_matrices=False)[0][:, :, :rank] for stack in stacks]
        overlaps.append((np.einsum("sdi,sdj->sij", *spans) ** 2).sum((1, 2)) / rank)
        overlaps[-1][0] = float(exact.score) / rank
        turned.append((rank, np.degrees(exact.angles.numpy())))
    rank = min(one for one, _ in turned)
    moments = random_projection_kernel_moments(width, rank)
    line |= {"rank": rank} | _jackknife("overlap", np.mean(overlaps, axis=0), level, fisher=False)
    spread = math.sqrt(moments.variance) / rank
    expected = moments.mean / rank
    found = np.mean([np.sort(one)[:rank] for _, one in turned], axis=0)
    return line | {
        "random": expected, "random_sd": spread, "z": (line["overlap"] - expected) / spread if spread else math.nan,
        "angles": [round(float(one), 2) for one in found],
    }  # fmt: skip


def _units(stack: Float[np.ndarray, "draw d label"]) -> Float[np.ndarray, "draw d label"]:
    """Directions of length one, so that no label rules the subspace by its size."""
    size = np.linalg.norm(stack, axis=1, keepdims=True)
    return np.divide(stack, size, out=np.full_like(stack, np.nan), where=size > 0)
