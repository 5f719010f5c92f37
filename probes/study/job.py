"""The main job: all of it on one pair, stage by stage, each finished stage kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from probes.progress import bars
from probes.study.calibrating import calibration
from probes.study.config import StudyConfig
from probes.study.contrasting import contrasts
from probes.study.folder import StudyFolder
from probes.study.formatting import formatting
from probes.study.matching import matching
from probes.study.materials import Materials
from probes.study.moved import weights
from probes.study.ordering import ordering
from probes.study.readable import probes
from probes.study.reflecting import reflecting
from probes.study.router import routing
from probes.study.says import samples, shift
from probes.study.shortcutting import shortcutting
from probes.study.suppressing import suppression
from probes.study.trained import training
from probes.study.usable import steering
from probes.study.verdict import claims
from probes.study.written import pair, rollouts, strategies

STAGES: dict[str, Callable[[Materials], None]] = {
    "pair": pair,
    "rollouts": rollouts,
    "strategies": strategies,
    "shift": shift,
    "samples": samples,
    "suppression": suppression,
    "calibration": calibration,
    "probes": probes,
    "steering": steering,
    "routing": routing,
    "weights": weights,
    "training": training,
    "formats": formatting,
    "shortcuts": shortcutting,
    "reflection": reflecting,
    "temperature": matching,
    "order": ordering,
    "contrasts": contrasts,
    "claims": claims,
}
"""Stages in order.  Each reads what the stages before wrote, and writes its own tables and figures."""


@dataclass(frozen=True)
class Study:
    """A finished study: its folder, its report, its tables."""

    folder: Path
    report: Path
    headline: str

    def table(self, name: str) -> pd.DataFrame:
        """One of the tables in ``results/``."""
        return StudyFolder(self.folder).read(name)

    def __str__(self) -> str:
        return f"{self.headline}\nReport: {self.report}"


def run(config: StudyConfig, *, quiet: bool = False) -> Study:
    """Run a study, or go on with the one in ``config.out``.

    A stage that was finished is not run again; a stage that was interrupted starts from the last file it completed,
    and ends with the same tables as an undisturbed run.

    Args:
        config: what to study.
        quiet: no progress bars and no closing words.

    Returns:
        the finished study; its page is at ``.report``.

    Raises:
        ValueError: if the folder holds another study, or the two models cannot be compared.
        FileNotFoundError: if a checkpoint or the problems cannot be found.
    """
    from probes.report import write_report

    folder = StudyFolder(config.out)
    folder.open(config.key, _record(config))
    with bars(quiet=quiet) as tell:
        materials = Materials(config, folder, tell)
        for name, stage in STAGES.items():
            if folder.done(name):
                continue
            start = time.monotonic()
            stage(materials)
            folder.finish(name, time.monotonic() - start)
    page = write_report(config.out)
    study = Study(config.out, page, str(folder.read_json("headline")["sentence"]))
    if not quiet:
        from rich.console import Console

        Console().print(f"\n{study.headline}\n[bold]Report:[/bold] {page}", highlight=False)
    return study


def _record(config: StudyConfig) -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for name in ("whenlens", "torch", "transformers", "transformer-lens"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return {
        "name": config.name,
        "base": config.base if config.rl else f"{config.base}:base",
        "rl": config.rl or f"{config.base}:rl",
        "config": config.model_dump(mode="json", exclude={"out"}),
        "command": config.command,
        "versions": versions,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
