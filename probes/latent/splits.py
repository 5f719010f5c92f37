"""Folds that keep every problem on one side.

Samples of one problem share its prompt, its numbers and often whole sentences; a probe that has seen some of them
recognises the others.  Here whole groups go to one fold, and a split that cuts through a group is an error.
What grouping does not show: problems that are copies of each other under different names still leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from hooks.streams import stream
from probes.stats import Column
from probes.stats.problems import problem_codes


class LeakError(ValueError):
    """A group has rows on both sides of a split."""


def grouped_folds(groups: Column, *, folds: int = 5, seed: int = 0) -> Int[np.ndarray, "row"]:
    """The fold of each row, 0 to ``folds - 1``: whole groups, dealt so that folds hold about equally many rows.

    Which fold a group gets depends on the seed and on the groups' names and sizes, not on the order of rows.

    Raises:
        ValueError: when there are fewer groups than folds, fewer than two folds, or a row without a group.
    """
    names, codes = problem_codes(groups, len(groups))
    if not 2 <= folds <= len(names):
        raise ValueError(f"{len(names)} groups cannot be split into {folds} folds; each fold needs a group")
    sizes = np.bincount(codes, minlength=len(names))
    shuffled = stream(seed, "folds").permutation(len(names))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    filled, held = np.zeros(folds, dtype=np.int64), np.zeros(folds, dtype=np.int64)
    fold_of = np.zeros(len(names), dtype=np.int64)
    for group in order:
        # The emptiest fold by rows, then by groups, so that no fold stays without a group.
        fold = int(np.lexsort((held, filled))[0])
        fold_of[group] = fold
        filled[fold] += sizes[group]
        held[fold] += 1
    return fold_of[codes]


def check_no_leak(groups: Column, folds: Int[np.ndarray, "row"]) -> None:
    """Pass in silence if every group lies in one fold.

    Raises:
        LeakError: naming a group that does not, and how many there are.
        ValueError: when there is not one fold a row.
    """
    names, codes = problem_codes(groups, len(groups))
    if folds.shape != codes.shape:
        raise ValueError(f"{len(folds)} folds for {len(codes)} rows; give one fold a row")
    low, high = np.full(len(names), np.iinfo(np.int64).max), np.full(len(names), -1)
    np.minimum.at(low, codes, folds)
    np.maximum.at(high, codes, folds)
    torn = np.flatnonzero(low < high)
    if len(torn):
        raise LeakError(
            f"group {names[torn[0]]!r} has rows in fold {low[torn[0]]} and in fold {high[torn[0]]} "
            f"({len(torn)} groups are torn); split by group, for instance with grouped_folds"
        )


@dataclass(frozen=True)
class GroupedFolds:
    """The same folds as a scikit-learn splitter: ``cross_val_score(probe, X, y, groups=..., cv=GroupedFolds())``."""

    folds: int = 5
    """How many."""
    seed: int = 0
    """Names the random stream."""

    def split(
        self, X: object, y: object = None, groups: Column | None = None
    ) -> Iterator[tuple[Int[np.ndarray, "train"], Int[np.ndarray, "test"]]]:
        """Row numbers of the training and the test side, fold by fold; ValueError without groups."""
        if groups is None:
            raise ValueError("GroupedFolds needs groups: the problem of each row")
        fold = grouped_folds(groups, folds=self.folds, seed=self.seed)
        for one in range(self.folds):
            yield np.flatnonzero(fold != one), np.flatnonzero(fold == one)

    def get_n_splits(self, X: object = None, y: object = None, groups: Column | None = None) -> int:
        """Number of folds."""
        return self.folds
