"""Formats counted: a number a checkpoint, problem and format, and what they come to under weights of the problems.

Samples of one problem stay together, and checkpoints are compared on the problems that all of them have. It shows
nothing by itself; :mod:`probes.samples.formats` says what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hooks.rollouts import Rollouts
from probes.samples.formats_of_texts import Classifier
from probes.stats import problem_means


@dataclass(frozen=True)
class Counted:
    """Means of each problem: of being in a format, and of that together with being graded and right."""

    steps: list[int | float]
    """Steps of the checkpoints, ascending."""
    formats: list[str]
    """Names of the formats that occur."""
    problems: list[str]
    """Problems that all checkpoints have."""
    shares: Float[np.ndarray, "step problem format"]
    """Share of a problem's texts in the format."""
    graded: Float[np.ndarray, "step problem format"]
    """The same of texts that somebody graded."""
    right: Float[np.ndarray, "step problem format"]
    """The same of texts that are right."""
    texts: Float[np.ndarray, "step format"]
    """How many texts there are."""

    @classmethod
    def of(cls, series: Mapping[int | float, Rollouts], classifier: Classifier) -> Counted:
        """Classify all texts and take the means of each problem; ValueError where no problem is common to all."""
        steps = sorted(series)
        frames = {step: series[step].frame[["problem", "text", "correct"]] for step in steps}
        problems = sorted(set.intersection(*(set(frame["problem"]) for frame in frames.values())))
        if not problems:
            raise ValueError("The checkpoints have no problem in common; compare texts of the same problems.")
        frames = {step: frame[frame["problem"].isin(problems)] for step, frame in frames.items()}
        named = {step: [str(classifier(text)) for text in frame["text"]] for step, frame in frames.items()}
        names = sorted(set().union(*named.values()))
        blocks: dict[str, list[list[np.ndarray]]] = {"shares": [], "graded": [], "right": []}
        texts = np.zeros((len(steps), len(names)))
        for at, step in enumerate(steps):
            own, correct = np.array(named[step], dtype=object), frames[step]["correct"]
            graded, right = correct.notna().to_numpy(), correct.fillna(False).to_numpy(dtype=bool)
            texts[at] = [(own == name).sum() for name in names]
            for key, mask in (("shares", True), ("graded", graded), ("right", right)):
                columns = [
                    problem_means(((own == name) & mask).astype(float), frames[step]["problem"]) for name in names
                ]
                blocks[key].append([means for _, means in columns])
        arrays = {key: np.array(block, dtype=float).transpose(0, 2, 1) for key, block in blocks.items()}
        return cls(steps, names, problems, texts=texts, **arrays)


@dataclass(frozen=True)
class Drawn:
    """All quantities under each draw of problems."""

    shares: Float[np.ndarray, "draw step format"]
    accuracies: Float[np.ndarray, "draw step format"]
    accuracy: Float[np.ndarray, "draw step"]

    @classmethod
    def of(cls, table: Counted, weights: Float[np.ndarray, "draw problem"]) -> Drawn:
        """Means over problems under weights that sum to one."""
        mean = {
            name: np.tensordot(weights, getattr(table, name), axes=(1, 1)) for name in ("shares", "graded", "right")
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(
                mean["shares"], mean["right"] / mean["graded"], mean["right"].sum(axis=2) / mean["graded"].sum(axis=2)
            )

    @property
    def entropy(self) -> Float[np.ndarray, "draw step"]:
        """Entropy of the shares, nats."""
        inside = np.where(self.shares > 0, self.shares, 1.0)
        return np.asarray(0.0 - (inside * np.log(inside)).sum(axis=2))

    def collapse(self, steps: list[int | float], bar: float) -> Float[np.ndarray, "draw"]:
        """The first step at which one share is at least the bar; infinite where none is."""
        # A hair of slack: nine samples of ten are 0.9 whatever the order of summation.
        over = self.shares.max(axis=2) >= bar - 1e-12
        return np.where(over.any(axis=1), np.array(steps, dtype=float)[over.argmax(axis=1)], np.inf)

    def lead(self, winner: int, others: list[int]) -> Float[np.ndarray, "draw"]:
        """Accuracy of a format at the first step minus the best of the others there."""
        first = self.accuracies[:, 0]
        if not others:
            return np.full(len(first), np.nan)
        best = np.where(np.isnan(first[:, others]), -np.inf, first[:, others]).max(axis=1)
        return np.where(np.isfinite(best), first[:, winner] - best, np.nan)
