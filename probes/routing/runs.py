"""One arm of mixed decoding, written and graded, and kept on disk so that a stopped call goes on.

An arm's file is named by everything that can change a token: gate, writers, pushes, decoding, problems, both models'
weights. The batch size cannot, nor can the length of a draft beyond the last digit of a divergence. What it does not
show: that two gates of one name and threshold are one gate; give another formula another name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hooks.gate import Gate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.shift import Shift
from hooks.steer import Steering
from probes.routing.gates import Half
from probes.routing.kept import kept
from probes.tasks import Problem, grade

Write = Literal["other", "steered", "resample", "rank_among_top_k"]


@dataclass(frozen=True)
class Arm:
    """One run: who writes, where the other is let in, and what it may write there."""

    name: str
    """What the run is called in tables."""
    gate: Gate
    """When it opens."""
    primary: Half = "base"
    """Who writes where the gate is closed."""
    write: Write = "other"
    """Who writes where it is open, as in :func:`hooks.mix.mix`."""
    kind: str = "gate"
    """``gate`` or the name of the control."""
    matched: str = ""
    """The arm that a control is matched to."""
    steering: Steering | Shift | None = None
    """How the writer is pushed at open places; with ``write="steered"`` alone."""

    @property
    def told(self) -> tuple[str, str, str, str, float, str]:
        """Name, kind, the arm it is matched to, gate, threshold, primary: what a table says of it."""
        return self.name, self.kind, self.matched, self.gate.name, self.gate.threshold, self.primary


@dataclass(frozen=True)
class Setting:
    """What all arms share."""

    pair: Pair
    problems: Sequence[Problem]
    decoding: Mapping[str, Any]
    folder: Path | None = None

    def run(self, arm: Arm, progress: Callable[[int, int], object] | None = None) -> Rollouts:
        """Write and grade one arm, or read it where the same arm was finished before."""
        told = [
            arm.gate.name, arm.gate.needs, arm.gate.threshold, str(arm.gate.hidden), arm.primary, arm.write,
            {name: value for name, value in self.decoding.items() if name != "batch_size"}, *_pushes(arm.steering),
        ]  # fmt: skip
        return kept(
            self.folder, arm.name, lambda: self._write(arm, progress),
            pair=self.pair, problems=self.problems, told=told,
        )  # fmt: skip

    def _write(self, arm: Arm, progress: Callable[[int, int], object] | None) -> Rollouts:
        from hooks.mix import mix

        pushed: dict[str, Any] = {} if arm.steering is None else {"steering": arm.steering, "reach": "place"}
        mixed = mix(
            self.pair, self.problems, gate=arm.gate, primary=arm.primary, write=arm.write,
            progress=progress, **pushed, **self.decoding,
        )  # fmt: skip
        return grade(mixed, self.problems)


def _pushes(steering: Steering | Shift | None) -> list[str]:
    """A steering in words that change whenever its vectors do."""
    if steering is None:
        return []
    if isinstance(steering, Shift):
        return [str(steering)]
    vectors = [part.direction.vector.numpy().tobytes() for part in steering.parts]
    return [str(steering), str(steering.relative), *(hashlib.sha256(one).hexdigest() for one in vectors)]


def opened_share(mixed: Rollouts) -> float:
    """Share of tokens at open gates; 0 for texts without a token."""
    return _share(mixed, "gate_open")


def changed_share(mixed: Rollouts) -> float:
    """Share of tokens that an open gate changed; 0 for texts without a token."""
    return _share(mixed, "changed")


def _share(mixed: Rollouts, column: str) -> float:
    tokens = sum(len(ids) for ids in mixed.frame["ids"])
    return sum(sum(row) for row in mixed.frame[column]) / tokens if tokens else 0.0
