"""Checkpoints of one run in order, each with graded samples of the same problems, cut to equal numbers of samples.

Every measure along training compares checkpoints with each other; a count of distinct things grows with the number of
samples, so all checkpoints are cut to the same problems and the same number of samples of each.  What a series does not
show: what happened between two checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float

from hooks.rollouts import Rollouts
from probes.stats import problem_means

TOKEN_COLUMNS = ("problem", "sample", "index", "logp", "entropy")
"""What a checkpoint's token table needs: a row a token of its own samples, log-probability and entropy in nats."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One checkpoint: what it wrote and how sure it was."""

    name: str
    step: float
    """Training steps; 0 is the start."""
    rollouts: Rollouts
    """Graded samples."""
    tokens: pd.DataFrame | None = None
    """A row a token of these samples with :data:`TOKEN_COLUMNS`, read by the checkpoint itself."""
    compute: float | None = None
    """Compute spent so far in any unit; None if nobody knows."""


@dataclass(frozen=True, eq=False)
class Series:
    """Checkpoints with the same problems and the same number of samples of each, sorted by problem and sample."""

    checkpoints: tuple[Checkpoint, ...]
    problems: tuple[str, ...]
    samples: int
    """Samples of each problem at each checkpoint."""
    left_out: int
    """Problems that some checkpoint lacks."""

    @classmethod
    def of(cls, checkpoints: Sequence[Checkpoint], *, samples: int | None = None) -> Series:
        """Cut checkpoints to what all of them have.

        Args:
            checkpoints: with rising steps.
            samples: of each problem at most; by default as many as the least has.

        Raises:
            ValueError: fewer than two checkpoints, steps that do not rise, no common problem, or a token table that
                does not fit its samples.
        """
        if len(checkpoints) < 2:
            raise ValueError(f"a series needs at least 2 checkpoints, not {len(checkpoints)}")
        steps = [one.step for one in checkpoints]
        if any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError(f"steps must rise from checkpoint to checkpoint, but they are {steps}; sort them")
        held = [set(one.rollouts.frame["problem"]) for one in checkpoints]
        common = sorted(set.intersection(*held))
        if not common:
            raise ValueError("the checkpoints have no problem in common; sample the same problems at each")
        least = min(
            int(frame.groupby("problem").size().min())
            for frame in (one.rollouts.subset(common).frame for one in checkpoints)
        )
        count = least if samples is None else min(samples, least)
        cut = tuple(_cut(one, common, count) for one in checkpoints)
        return cls(cut, tuple(common), count, len(set.union(*held)) - len(common))

    @property
    def steps(self) -> Float[np.ndarray, "checkpoint"]:
        """Training steps."""
        return np.array([one.step for one in self.checkpoints], dtype=float)

    def accuracy(self) -> Float[np.ndarray, "problem checkpoint"]:
        """Share of correct samples of each problem; NaN where nothing was graded."""
        columns = [
            problem_means(one.rollouts.frame["correct"], one.rollouts.frame["problem"])[1] for one in self.checkpoints
        ]
        return np.stack(columns, axis=1)

    def lengths(self) -> Float[np.ndarray, "problem checkpoint"]:
        """Mean tokens of each problem's samples."""
        columns = [
            problem_means(one.rollouts.frame["ids"].map(len), one.rollouts.frame["problem"])[1]
            for one in self.checkpoints
        ]
        return np.stack(columns, axis=1)


def _cut(one: Checkpoint, common: list[str], count: int) -> Checkpoint:
    frame = one.rollouts.subset(common).frame.sort_values(["problem", "sample"], kind="stable")
    frame = frame[frame.groupby("problem").cumcount() < count].reset_index(drop=True)
    if one.tokens is None:
        return replace(one, rollouts=Rollouts(frame))
    missing = set(TOKEN_COLUMNS) - set(one.tokens.columns)
    if missing:
        raise ValueError(f"the token table of {one.name} has no column {sorted(missing)[0]!r}")
    keys = frame[["problem", "sample"]].assign(_text=np.arange(len(frame)))
    tokens = one.tokens[list(TOKEN_COLUMNS)].astype({"problem": str, "sample": "int64"})
    tokens = tokens.merge(keys, on=["problem", "sample"], how="inner").sort_values(["_text", "index"], kind="stable")
    lengths = frame["ids"].map(len).to_numpy()
    if not np.array_equal(np.bincount(tokens["_text"], minlength=len(frame)), lengths):
        raise ValueError(f"the token table of {one.name} does not hold one row a token of its samples; score them anew")
    return replace(one, rollouts=Rollouts(frame), tokens=tokens.reset_index(drop=True))
