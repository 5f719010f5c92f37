"""Which checkpoints lie between base and tuned model, and how far along each is.

The ends of a study are the ends of its series.  What lies between comes from the settings, or from an organism that
ships it (members called ``step-NUMBER``).  Steps are read from the checkpoints' own records, else from the numbers in
their names; where neither is there, checkpoints are only counted, and no curve in compute can be fitted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from hooks.organisms import ORGANISMS, PREFIX, resolve
from probes.study.config import StudyConfig


@dataclass(frozen=True)
class Place:
    """One checkpoint of the series."""

    path: str
    """What a model is loaded from."""
    name: str
    """What tables call it."""
    step: float
    """Along the run; 0 is the base."""


@dataclass(frozen=True)
class Way:
    """The series of a study, base first and tuned model last; empty where nothing lies between."""

    places: tuple[Place, ...]
    counted: Literal["compute", "steps", "checkpoints"]
    """What ``step`` counts: the compute that was given, training steps, or only the order."""

    @classmethod
    def of(cls, config: StudyConfig) -> Way:
        """Read the series of a study off its settings and the checkpoints' records."""
        short = config.base.removeprefix(PREFIX)
        organism = ORGANISMS.get(short) if config.rl is None else None
        between = list(config.series)
        if not between and organism is not None:
            found = [member for member in organism.members if re.fullmatch(r"step-\d+", member)]
            between = [f"{PREFIX}{short}:{member}" for member in found]
        if not between:
            return cls((), "checkpoints")
        base = f"{config.base}:base" if config.rl is None else config.base
        last = f"{config.base}:rl" if config.rl is None else config.rl
        paths = [base, *between, str(last)]
        steps, counted = _steps(paths[1:], config.compute)
        if counted == "steps":
            order = sorted(range(len(steps)), key=lambda index: steps[index])
            paths, steps = [base, *(paths[1 + index] for index in order)], [steps[index] for index in order]
        names = ["base", *(_short(path) for path in paths[1:-1]), "tuned"]
        if len(set(names)) < len(names):
            names = ["base", *paths[1:-1], "tuned"]
        return cls(tuple(Place(*row) for row in zip(paths, names, [0.0, *steps], strict=True)), counted)


def _steps(
    paths: list[str], compute: tuple[float, ...]
) -> tuple[list[float], Literal["compute", "steps", "checkpoints"]]:
    """How far each checkpoint behind the base is, and in what that is counted."""
    if compute:
        return list(compute), "compute"
    found = [step_of(path) for path in paths]
    known = [step for step in found if step is not None]
    rising = sorted(known[:-1]) + known[-1:]
    if len(known) == len(paths) and known[0] > 0 and all(a < b for a, b in pairwise(rising)):
        return known, "steps"
    return [float(index) for index in range(1, len(paths) + 1)], "checkpoints"


def step_of(path: str) -> float | None:
    """Training steps of a checkpoint, from its record or the last number in its name; None where neither says."""
    folder = resolve(path) if path.startswith(PREFIX) else Path(path)
    for record, key in (("training.json", "step"), ("trainer_state.json", "global_step")):
        if (folder / record).is_file():
            value = json.loads((folder / record).read_text(encoding="utf-8")).get(key)
            if isinstance(value, (int, float)):
                return float(value)
    # A size such as 1.5B is no step; a step stands behind a word that says so.
    match = re.search(r"(?:step|steps|checkpoint|ckpt|iter|global_step)[-_ ]?(\d+)\D*$", path, re.IGNORECASE)
    return float(match[1]) if match else None


def _short(path: str) -> str:
    return path.rsplit(":", 1)[-1] if path.startswith(PREFIX) else Path(path).name
