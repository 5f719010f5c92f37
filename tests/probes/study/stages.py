"""One stage of a study run by itself, killed at a write and run again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.materials import Materials

Stage = Callable[[Materials], Any]


class Killed(BaseException):
    """Stands for kill -9: nothing between here and the test catches it."""


def materials(config: StudyConfig, pair: Any = None) -> Materials:
    made = Materials(config, StudyFolder(config.out), lambda title: lambda done, total: None)
    if pair is not None:
        made.__dict__["pair"] = pair
    return made


def tables(root: Path) -> dict[str, Any]:
    """Everything a study holds in tables and records, by its path."""
    read = {".parquet": pd.read_parquet, ".json": lambda path: json.loads(path.read_text())}
    parts = ("results", "tokens", "evidence", "rollouts")
    found = [path for part in parts for path in sorted((root / part).glob("*"))]
    return {path.relative_to(root).as_posix(): read[path.suffix](path) for path in found if path.suffix in read}


def check_killed_and_run_again(stage: Stage, nth: int, whole: Materials, before: Path, out: Path) -> None:
    """Kill a stage at its ``nth`` write in a copy of ``before``; run again, its tables are those of ``whole``."""
    shutil.copytree(before, out)
    settings = whole.config.model_copy(update={"out": out})
    real, count = os.replace, 0

    def replace(source: Any, target: Any, **more: Any) -> None:
        nonlocal count
        count += 1
        if count == nth:
            raise Killed
        real(source, target, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(Killed):
            stage(materials(settings, whole.pair))
    stage(materials(settings, whole.pair))
    again, expected = tables(out), tables(whole.folder.root)
    assert again.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(again[name], value)
        else:
            assert again[name] == value
