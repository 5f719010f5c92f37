r"""Is it only when?, asked of the weights: which part of what RL changed brings how much of the gain?

A part of the update is put on the base (:mod:`hooks.graft`), or the RL model's activations at one site are put into it
while it writes (:mod:`hooks.implant`); the texts are graded and measured by the same
:mod:`recovery <probes.routing.recovery>` as texts that two models wrote together,

.. math:: R = (\bar g - \bar b) / (\bar r - \bar b)

with :math:`\bar g` the accuracy of the grafted model. Beside each part stands the share of the parameters that differ
from the base's and the share of the update's squared norm. All models draw their tokens from the same named random
numbers, so arms are paired. Cf. subnetwork sufficiency in arXiv 2505.11711, where the subnetwork is trained anew; here
nothing is trained, and parts that only work together show as parts that do nothing.

What it does not show: that a part which suffices is the only one, or was meant for it. ``random:X`` beside
``largest:X`` says whether size picks anything; ``without:`` parts say whether a part is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hooks.generate import generate
from hooks.graft import grafted, weights_of
from hooks.implant import Implant, implant
from hooks.pair import Pair
from hooks.part import KINDS, Part
from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.routing.curve import draw, row_of
from probes.routing.kept import kept
from probes.routing.paired import pair_up
from probes.routing.recovery import Recovery, of_paired
from probes.tasks import Problem, grade

Piece = Part | Implant
"""Weights or activations."""
SHOWN = ("part", "kind", "share", "energy", "recovery", "low", "high", "accuracy", "accuracy_low", "accuracy_high")


@dataclass(frozen=True, repr=False, eq=False)
class GraftResult(Result):
    """How much of the gain each part of the update brings."""

    frame: pd.DataFrame
    """A row a part: part, kind (``layer``, ``largest``, ..., ``activations``), share (of parameters that differ from
    the base's), energy (share of the update's squared norm), recovery with ``low`` and ``high``, accuracy with its
    interval, tokens, problems. NaN where a share does not exist (activations) or there is no gain."""
    recoveries: Mapping[str, Recovery]
    """The full recovery of each part."""
    rollouts: Mapping[str, Rollouts]
    """The graded texts of each part."""

    def headline(self) -> str:
        """The smallest part that brings back half of the gain, or that there is nothing to explain."""
        rows = self.frame.dropna(subset=["recovery", "share"])
        if rows.empty:
            first = next(iter(self.recoveries.values()))
            return f"No recovery: {first.reason} (gap {first.gap:.3f})"
        enough = rows[rows["recovery"] >= 0.5].sort_values("share")
        if enough.empty:
            return f"None of {len(rows)} parts brings back half of the gain"
        part = str(enough["part"].iloc[0])
        return f"{part}, the smallest of {len(rows)} parts with half of the gain: {self.recoveries[part].headline()}"

    def plot(self) -> go.Figure:
        """Recovery against the share of parameters moved; parts with a dose are joined, activations stand at 0."""
        counts = self.frame["kind"].map(self.frame["kind"].value_counts())
        dosed = self.frame["kind"].isin(("largest", "random", "rows", "rank", "upto")) & (counts > 1)
        table = self.frame.assign(
            arm=self.frame["part"], routed=self.frame["share"].fillna(0.0), routed_low=np.nan, routed_high=np.nan,
            line=self.frame["kind"].where(dosed, ""), tokens=1.0,
        )  # fmt: skip
        figure = draw(table)
        for trace in figure.data:
            trace.update(hovertemplate=trace.hovertemplate.replace("routed", "moved"))
            if trace.name == "controls":
                trace.update(name="single parts", mode="markers+text", textposition="top center")
        return figure.update_layout(
            title=self.headline(), xaxis={"title": "share of parameters that differ from the base's"}
        )


def parts_of(spec: str | Sequence[str | Piece], pair: Pair) -> list[Piece]:
    """Read a list of parts, spelling out the short forms.

    ``layers`` is each layer alone and ``outside``; ``cumulative`` layers from the first up; ``modules`` each kind;
    ``largest:0.01:0.1`` both shares, and so for every rule with a number; ``resid_post.2@generated`` the RL model's
    activations there, and ``resid_post.*@generated`` of each layer.

    Raises:
        ValueError: for a part that does not exist, and where there is none.
    """
    words: list[str | Piece] = [*spec.split(",")] if isinstance(spec, str) else list(spec)
    out: dict[str, Piece] = {}
    for word in words:
        for piece in _spelt_out(word, pair) if isinstance(word, str) else [word]:
            out.setdefault(name_of(piece), piece)
    if not out:
        raise ValueError("grafting needs at least one part, such as layers or largest:0.01")
    return list(out.values())


def _spelt_out(word: str, pair: Pair) -> list[Piece]:
    word, layers = word.strip(), range(pair.base.n_layers)
    if word == "layers":
        return [*(Part("layer", at) for at in layers), Part("outside")]
    if word == "cumulative":
        return [Part("upto", at) for at in layers]
    if word == "modules":
        kinds = {weight.kind for weight in weights_of(pair)}
        return [Part("module", kind) for kind in KINDS if kind in kinds]
    if "@" in word:
        from hooks.sites import expand_sites

        where, _, positions = word.partition("@")
        return [implant(pair.rl, site, positions=positions) for site in expand_sites(where, pair.base.n_layers)]
    head, *values = word.split(":")
    if head == "without":
        head, values = f"without:{values[0] if values else ''}", values[1:]
    return [Part.parse(f"{head}:{value}") for value in values] or [Part.parse(head)]


def name_of(piece: Piece) -> str:
    """What a part is called in tables."""
    return str(piece) if isinstance(piece, Part) else f"{piece.site}@{piece.positions}"


def graft(
    pair: Pair,
    problems: Sequence[Problem],
    *,
    base: Rollouts,
    rl: Rollouts,
    parts: str | Sequence[str | Part | Implant] = "layers,modules,largest:0.01:0.1,random:0.01:0.1",
    n: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    batch_size: int = 64,
    template: str = "auto",
    n_boot: int = 2000,
    level: float = 0.95,
    folder: str | Path | None = None,
    progress: Callable[[str, int, int], object] | None = None,
) -> GraftResult:
    """Put parts of the update on the base one after another, let it write, grade, and measure what comes back.

    Args:
        pair: two models of one shape; neither is changed.
        problems: the problems that ``base`` and ``rl`` answered.
        base: graded texts of the base, decoded with the same options.
        rl: graded texts of the RL model, likewise.
        parts: see :func:`parts_of` and :mod:`hooks.part`.
        n: samples a problem.
        temperature: 0 is greedy.
        top_p: nucleus.
        max_new_tokens: longest text.
        seed: names the streams of tokens and of random parts.
        batch_size: texts at a time.
        template: prompt template, as for ``base`` and ``rl``.
        n_boot: bootstrap draws.
        level: of the intervals.
        folder: where finished parts are kept; the same call again reads them and goes on with the rest.
        progress: called with (part, texts done, texts in all).

    Raises:
        ValueError: models of different shape, a part that does not exist, or ungraded texts.

    It does not show that a part which suffices is the only one that does.
    """
    pieces = parts_of(parts, pair)
    decoding: dict[str, Any] = {
        "n": n, "temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens, "seed": seed,
        "template": template,
    }  # fmt: skip
    rollouts: dict[str, Rollouts] = {}
    for piece in pieces:
        name = name_of(piece)
        tell = None if progress is None else _tell(progress, name)

        def write(piece: Piece = piece, tell: Any = tell) -> Rollouts:
            with _writer(pair, piece, seed) as (model, steering, share, energy):
                texts = generate(
                    model, problems, steering=steering, author="grafted", batch_size=batch_size, progress=tell,
                    **decoding,
                )  # fmt: skip
            sized = texts.with_columns(share=[share] * len(texts), energy=[energy] * len(texts))
            return grade(sized, problems)

        rollouts[name] = kept(folder, name, write, pair=pair, problems=problems, told=[decoding])
    made = manifest(measure="routing.graft", parts=list(rollouts), level=level, n_boot=n_boot, **decoding)
    kinds = {name_of(piece): _kind(piece) for piece in pieces}
    return outcome_of(kinds, rollouts, base=base, rl=rl, manifest=made, n_boot=n_boot, level=level, seed=seed)


def _tell(progress: Callable[[str, int, int], object], name: str) -> Callable[[int, int], object]:
    return lambda done, total: progress(name, done, total)


def _kind(piece: Piece) -> str:
    if isinstance(piece, Implant):
        return "activations"
    return f"{'without ' * piece.without}{piece.rule}"


@contextmanager
def _writer(pair: Pair, piece: Piece, seed: int) -> Iterator[tuple[Any, Implant | None, float, float]]:
    """Who writes, with what put in, and which shares of parameters and of the squared norm that is."""
    if isinstance(piece, Implant):
        yield pair.base, piece, float("nan"), float("nan")
        return
    with grafted(pair, piece, seed=seed) as graft:
        yield graft.model, None, graft.share, graft.energy


def outcome_of(
    kinds: Mapping[str, str], rollouts: Mapping[str, Rollouts], *, base: Rollouts, rl: Rollouts,
    manifest: Mapping[str, Any], n_boot: int, level: float, seed: int,
) -> GraftResult:  # fmt: skip
    """Put graded texts of parts together; each is measured on the problems that all of them have.

    Raises:
        ValueError: texts that are not graded, or no problem in common.

    It does not show differences between parts; compare their paired texts for that.
    """
    paired = pair_up({"base": base, "rl": rl, **{f"arm {name}": texts for name, texts in rollouts.items()}})
    runs, rows = {}, []
    for name, texts in rollouts.items():
        run = of_paired(paired, f"arm {name}", manifest=manifest, n_boot=n_boot, level=level, seed=seed)
        first = texts.frame.iloc[0]
        runs[name] = run
        rows.append(
            {"part": name, "kind": kinds[name], "share": float(first["share"]), "energy": float(first["energy"])}
            | row_of(run)
        )
    frame = pd.DataFrame(rows)[[*SHOWN, "tokens", "problems"]]
    return GraftResult(frame, runs, dict(rollouts), manifest=manifest)
