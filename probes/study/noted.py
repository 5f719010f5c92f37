"""The few numbers that claims are judged by, kept on disk by the stage that measured them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from hooks.rollouts import write_whole
from probes.evidence import Evidence
from probes.stats import Estimate
from probes.study.folder import StudyFolder


def note(folder: StudyFolder, stage: str, evidence: Evidence) -> None:
    """Write down what a stage measured; what it left out stays not measured."""
    measured = {
        field.name: _written(getattr(evidence, field.name))
        for field in fields(Evidence)
        if getattr(evidence, field.name) is not None
    }
    text = json.dumps(measured, indent=1)
    write_whole(folder.root / "evidence" / f"{stage}.json", lambda path: path.write_text(text + "\n"))


def noted(folder: StudyFolder) -> Evidence:
    """All that the stages wrote down, as one object."""
    found: dict[str, Any] = {}
    for path in sorted((folder.root / "evidence").glob("*.json")):
        found |= {name: _read(value) for name, value in json.loads(path.read_text()).items()}
    return Evidence(**found)


def _written(value: Any) -> Any:
    """Numbers that JSON does not know (not defined, never reached) go as text."""
    if isinstance(value, Estimate):
        return {name: _written(item) for name, item in asdict(value).items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _read(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    numbers = {name: float(value[name]) for name in ("value", "low", "high")}
    return Estimate(**{**value, **numbers})
