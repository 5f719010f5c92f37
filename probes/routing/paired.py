"""Base, RL and mixed texts of the same problems, side by side: one number a problem and arm.

The unit of chance is the problem. Samples of one problem are averaged first, so that a problem weighs the same however
many samples it has, and the three arms of a problem stay together in every resampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from hooks.rollouts import Rollouts
from probes.stats import SHARE, Estimate, problem_means
from probes.stats.bootstrap import bootstrap_table


@dataclass(frozen=True)
class Paired:
    """Means of every arm over the problems that all arms have."""

    problems: Shaped[np.ndarray, "problem"]
    """Names, sorted."""
    accuracy: Mapping[str, Float[np.ndarray, "problem"]]
    """Share of each problem's graded samples that are correct, by arm."""
    length: Mapping[str, Float[np.ndarray, "problem"]]
    """Mean number of generated tokens, by arm."""
    opened: Mapping[str, Float[np.ndarray, "problem"]]
    """Mean number of tokens written with the gate open; NaN where an arm has no gate."""
    changed: Mapping[str, Float[np.ndarray, "problem"]]
    """Mean number of those that differ from what the primary would have written; NaN without a record."""
    samples: float
    """Graded samples of a problem: the mean over problems, of the arm that has fewest."""
    left_out: int
    """Problems that some arm lacks or has no graded sample of."""

    def mean(self, values: Float[np.ndarray, "problem"], *, n_boot: int, level: float, seed: int) -> Estimate:
        """A mean over problems with its bootstrap interval; that of one of the accuracies knows its bounds."""
        within = SHARE if any(values is one for one in self.accuracy.values()) else None
        return bootstrap_table(values[:, None], within=within, n_boot=n_boot, level=level, seed=seed)

    def share(
        self,
        part: Float[np.ndarray, "problem"],
        whole: Float[np.ndarray, "problem"],
        *,
        n_boot: int,
        level: float,
        seed: int,
    ) -> Estimate:
        """A share of tokens: sum over sum, so that long texts count by their length."""
        if np.isnan(part).any():
            nan = float("nan")
            return Estimate(nan, nan, nan, len(part), "the texts carry no record of a gate", level)
        table = np.stack([part, whole], axis=1)
        # Problems without a token are no part of the share.
        table = table[table[:, 1] > 0]
        return bootstrap_table(table, lambda p, w: p / w, within=SHARE, n_boot=n_boot, level=level, seed=seed)


def pair_up(arms: Mapping[str, Rollouts]) -> Paired:
    """Line up the arms problem by problem.

    Raises:
        ValueError: an arm without a graded sample, or no problem that all arms share.
    """
    frames = {arm: _per_problem(arm, rollouts) for arm, rollouts in arms.items()}
    everything = pd.concat(frames, axis=1)
    graded = np.logical_and.reduce([everything[(arm, "correct")].notna().to_numpy() for arm in arms])
    complete = everything[graded].sort_index()
    if complete.empty:
        raise ValueError(f"The arms {', '.join(arms)} have no graded problem in common; use the same problems for all.")
    column = {
        name: {arm: complete[(arm, name)].to_numpy(dtype=float) for arm in arms}
        for name in ("correct", "tokens", "opened", "changed", "graded")
    }
    return Paired(
        problems=complete.index.to_numpy(dtype=str),
        accuracy=column["correct"],
        length=column["tokens"],
        opened=column["opened"],
        changed=column["changed"],
        samples=min(float(np.mean(column["graded"][arm])) for arm in arms),
        left_out=len(everything) - len(complete),
    )


def _per_problem(arm: str, rollouts: Rollouts) -> pd.DataFrame:
    frame = rollouts.frame
    if frame["correct"].notna().sum() == 0:
        raise ValueError(f"The {arm} samples are not graded; run probes.tasks.grade on them first.")
    columns = {"correct": frame["correct"], "tokens": frame["ids"].map(len)}
    for name, source in (("opened", "gate_open"), ("changed", "changed")):
        columns[name] = frame[source].map(sum) if source in frame.columns else pd.Series(np.nan, index=frame.index)
    found = {name: problem_means(values, frame["problem"]) for name, values in columns.items()}
    index = found["correct"][0]
    table = pd.DataFrame({name: means for name, (_, means) in found.items()}, index=index)
    graded = frame["correct"].notna().groupby(frame["problem"]).sum()
    return table.assign(graded=graded.reindex(index).to_numpy(dtype=float))
