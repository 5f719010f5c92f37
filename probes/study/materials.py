"""What the stages of a study share: the pair, the problems, the rollouts; each is loaded once, on first use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from hooks.organisms import PREFIX, resolve
from hooks.organisms.chains import Policy
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes import tasks
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.orders import check_domains
from probes.tasks import Problem

Progress = Callable[[int, int], object]
Tell = Callable[[str], Progress]
"""Opens a progress bar with a title, and returns what moves it: (done, total)."""

CHUNK = 4096
"""Samples written before they are put on disk; what a killed study may lose."""


class Materials:
    """The pair, the problems and the rollouts of one study."""

    def __init__(self, config: StudyConfig, folder: StudyFolder, tell: Tell) -> None:
        self.config = config
        self.folder = folder
        self.tell = tell

    @cached_property
    def pair(self) -> Pair:
        """Both models, checked against each other."""
        return Pair.load(self.config.base, self.config.rl, dtype=self.config.dtype, device=self.config.device)

    @cached_property
    def problems(self) -> list[Problem]:
        """The problems, in a fixed order."""
        found = tasks.load(self.config.problems, n=self.config.n_problems, seed=self.config.seed)
        check_domains(self.config.order, found)
        return found

    @cached_property
    def policy(self) -> Policy | None:
        """The stated probabilities behind an organism's base text, which give the best AUROC a probe can reach."""
        if not self.config.base.startswith(PREFIX):
            return None
        import json

        path = Path(self.pair.base.path)
        record = path / "training.json"
        if not record.is_file():
            record = resolve(f"{self.config.base}:base") / "training.json"
        policy = json.loads(record.read_text()).get("policy") if record.is_file() else None
        # What was a tuple is a list in JSON.
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in (policy or {}).items()
        }
        return None if policy is None else Policy(**fields)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments of every call that writes text."""
        shared = {
            "max_new_tokens": self.config.max_new_tokens,
            "seed": self.config.seed,
            "template": self.config.template,
            "batch_size": self.config.batch_size,
        }
        return {**shared, **changes}

    def path(self, name: str) -> Path:
        """``rollouts/NAME.parquet``."""
        return self.folder.root / "rollouts" / f"{name}.parquet"

    def rollouts(self, name: str) -> Rollouts:
        """Rollouts that a stage before has written."""
        return Rollouts.load(self.path(name))

    def keep(self, name: str, make: Callable[[Sequence[Problem], Progress], Rollouts], *, n: int = 1) -> Rollouts:
        """Rollouts of all problems, graded: from disk where they are, else made chunk by chunk.

        Args:
            name: of the file.
            make: writes texts for some problems.
            n: samples of a problem, which sets how many problems make a chunk.
        """
        if self.path(name).exists():
            return self.rollouts(name)
        step = max(1, CHUNK // n)
        starts = range(0, len(self.problems), step)
        move = self.tell(name.replace("_", " "))
        total = n * len(self.problems)
        parts = []
        for start in starts:
            part = self.path(f"parts/{name}-{start:06d}")
            if not part.exists():
                some = self.problems[start : start + step]
                made = make(some, partial(lambda before, done, _: move(before + done, total), n * start))
                tasks.grade(made, some).save(part)
            parts.append(part)
            move(min(total, n * (start + step)), total)
        whole = Rollouts.concat([Rollouts.load(part) for part in parts])
        whole.save(self.path(name))
        for part in parts:
            part.unlink()
        return whole


def first_samples(rollouts: Rollouts, count: int) -> Rollouts:
    """The first samples of each problem."""
    frame = rollouts.frame
    return Rollouts(frame[frame["sample"] < count].reset_index(drop=True))


def per_problem(rollouts: Rollouts, column: Literal["correct"] = "correct") -> pd.Series:
    """Mean of a column in each problem."""
    frame = rollouts.frame
    return frame[column].astype("Float64").groupby(frame["problem"], sort=False).mean()
