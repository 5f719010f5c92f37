"""One way of running and marking steered texts, shared by every measure of what steering does.

A trial steers the base at fixed positions, grades what it writes and says which texts use a strategy.  Rows of one
batch may be steered by different vectors at different doses, so that a curve of doses, or a vector beside its placebos,
is one batch.

That a text uses a strategy means that its words were written (:mod:`probes.latent.strategies`), no more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from hooks.direction import Direction
from hooks.generate import generate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.sites import Positions
from hooks.steer import Steering, steering
from probes import tasks
from probes.latent.strategies import annotate
from probes.stats import Column, Estimate, bootstrap_problems
from probes.tasks import Problem

ENDINGS = (".", "!", "?", ";", ":", "\n")
"""Characters that end a sentence or a step."""
RULES = ("auto", "english", "organism")
"""Annotators that can read any text; a file of labels knows its own texts only."""


@dataclass(frozen=True)
class Trial:
    """What every steered run shares."""

    pair: Pair
    positions: Positions
    settings: Mapping[str, Any]
    """Keyword arguments of :func:`hooks.generate.generate`."""
    annotator: Any
    n_boot: int
    seed: int

    def run(self, problems: Sequence[Problem], plan: Steering) -> Rollouts:
        """One graded text a problem; a problem may stand there several times where the plan has a dose a row."""
        written = generate(self.pair.base, problems, steering=plan, **self.settings)
        return tasks.grade(written, list({problem.id: problem for problem in problems}.values()))

    def run_rows(self, problems: Sequence[Problem], rows: Sequence[tuple[Direction, float]]) -> list[Rollouts]:
        """All problems once for each (direction, dose), in one batch; the dose is absolute."""
        spread = [row for row in rows for _ in problems]
        texts = self.run(list(problems) * len(rows), plan_of_rows(spread, self.positions)).frame
        size = len(problems)
        parts = [texts.iloc[at * size : (at + 1) * size] for at in range(len(rows))]
        return [Rollouts(part.reset_index(drop=True)) for part in parts]

    def uses(self, texts: Rollouts, label: str) -> Float[np.ndarray, "text"]:
        """1 where a text uses the strategy that a label names, else 0; NaN where nobody can say."""
        strategy = strategy_of(label)
        told = callable(self.annotator) or (isinstance(self.annotator, (str, Path)) and str(self.annotator) in RULES)
        if not len(texts) or not strategy or not told:
            return np.full(len(texts), math.nan)
        numbered = Rollouts(texts.frame.assign(sample=range(len(texts))))
        spans = annotate(numbered, self.annotator, tokenizer=self.pair.base.tokenizer).frame
        return np.isin(np.arange(len(texts)), spans.loc[spans["strategy"] == strategy, "sample"]).astype(float)

    def share(self, texts: Rollouts, label: str) -> float:
        """Share of texts that use the strategy a label names; NaN without a text."""
        return float(self.uses(texts, label).mean()) if len(texts) else math.nan

    def mean(self, values: Column) -> Estimate:
        """Mean over problems with its interval; one value a problem."""
        return bootstrap_problems(values, n_boot=self.n_boot, seed=self.seed)

    def truths(self, values: Float[np.ndarray, "problem"]) -> Estimate:
        """Share of ones among zeros and ones (NaN left out), whose interval has a width even where all are alike."""
        return self.mean([None if value != value else bool(value) for value in values])


def correct_of(texts: Rollouts, problems: Sequence[Problem]) -> Float[np.ndarray, "problem"]:
    """1 where a problem was solved, else 0, in the order of the problems; NaN where it was not graded."""
    found = texts.frame.set_index("problem")["correct"].astype("Float64")
    return found.loc[[problem.id for problem in problems]].to_numpy(dtype=float, na_value=math.nan)


def strategy_of(label: str) -> str:
    """``verification`` of the label ``verification (start)``."""
    return label.split(" (")[0].strip()


def plan_of_rows(rows: Sequence[tuple[Direction, float]], positions: str | Positions) -> Steering:
    """Steer each row of a batch along its own direction by its own absolute dose.

    Raises:
        ValueError: without a row.
    """
    if not rows:
        raise ValueError("a batch needs at least one row to steer")
    own = {id(one): one for one, _ in rows}
    if len(own) == 1:
        return steering(rows[0][0], [dose for _, dose in rows], positions=positions)
    doses = pd.DataFrame(0.0, index=range(len(rows)), columns=list(own))
    for key in own:
        doses[key] = [dose if id(one) == key else 0.0 for one, dose in rows]
    return steering(list(own.values()), [doses[key].tolist() for key in own], positions=positions)


def decision_positions(pair: Pair) -> Positions:
    """The last prompt token, and every generated token that ends a sentence or a step."""
    tokenizer: Any = pair.base.tokenizer
    pieces = tokenizer.batch_decode([[token] for token in range(pair.d_vocab)])
    ends = [token for token, piece in enumerate(pieces) if piece.rstrip(" ").endswith(ENDINGS)]
    if not ends:
        return Positions.last_prompt()
    return Positions.last_prompt() | (Positions.after(token_ids=ends) & Positions.completion())
