"""A study folder, read: every table, record and figure that is there, and a plain word for what is not.

The report is a pure function of these files. A file that is absent is "not measured"; a file that is broken is named
with the remedy, and the rest of the page stands.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from probes.report.wording import number


class StudyReader:
    """Reads ``study.json``, ``results/``, ``figures/`` and the names of ``rollouts/``; absence is no error.

    Attributes:
        root: folder of the study.
        broken: files that are there but cannot be read, with what to do about it; filled while reading.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broken: dict[str, str] = {}
        self._frames: dict[str, pd.DataFrame | None] = {}
        self._records: dict[str, Any] = {}

    def frame(self, name: str, *, needs: tuple[str, ...] = ()) -> pd.DataFrame | None:
        """``results/NAME.parquet``, or None when it is absent, broken, empty or without a column of ``needs``."""
        if name not in self._frames:
            self._frames[name] = self._read_frame(self.root / "results" / f"{name}.parquet")
        found = self._frames[name]
        if found is None or found.empty or any(column not in found.columns for column in needs):
            return None
        return found

    def record(self, name: str) -> dict[str, Any]:
        """``results/NAME.json`` when it holds an object; empty otherwise."""
        found = self._json(f"results/{name}.json")
        return found if isinstance(found, dict) else {}

    def listing(self, name: str) -> list[dict[str, Any]]:
        """The objects in ``results/NAME.json`` when it holds a list; empty otherwise."""
        found = self._json(f"results/{name}.json")
        return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []

    def figure(self, name: str) -> dict[str, Any] | None:
        """``figures/NAME.json`` when it holds a figure with at least one trace."""
        found = self._json(f"figures/{name}.json")
        return found if isinstance(found, dict) and isinstance(found.get("data"), list) and found["data"] else None

    def rollouts(self) -> list[str]:
        """Names of the tables of samples."""
        return sorted(path.name for path in (self.root / "rollouts").glob("*.parquet"))

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Seconds of each finished stage, from ``study.json`` or the marks in ``stages/``."""
        said = self.study.get("seconds")
        if isinstance(said, dict) and said:
            return {str(stage): value for stage, value in said.items() if number(value) is not None}
        marks = sorted((self.root / "stages").glob("*"), key=lambda path: path.stat().st_mtime_ns)
        texts = {
            mark.name: mark.read_text(encoding="utf-8", errors="replace").strip() for mark in marks if mark.is_file()
        }
        return {stage: float(text) for stage, text in texts.items() if text.replace(".", "", 1).isdigit()}

    @cached_property
    def study(self) -> dict[str, Any]:
        """``study.json``; empty when absent."""
        found = self._json("study.json")
        return found if isinstance(found, dict) else {}

    @cached_property
    def headline(self) -> dict[str, Any]:
        """``results/headline.json``; empty when absent."""
        return self.record("headline")

    @cached_property
    def gap(self) -> dict[str, float | None]:
        """Accuracy gap RL minus base: ``value``, ``low``, ``high``, each None when not measured."""
        gap = self.record("routing").get("gap")
        gap = gap if isinstance(gap, dict) else {"value": gap}
        return {key: number(gap.get(key)) for key in ("value", "low", "high")}

    @cached_property
    def identified(self) -> bool:
        """Whether there is a gain to explain, so that a share of it means something.

        The headline says so, or the router; without them, a known interval of the gap must lie on one side of zero.
        """
        for record in (self.headline, self.record("routing")):
            said = record.get("identified")
            if isinstance(said, bool):
                return said
        low, high = self.gap["low"], self.gap["high"]
        return low is None or high is None or low > 0 or high < 0

    @property
    def name(self) -> str:
        """What the page calls this study."""
        return str(self.study.get("name") or self.root.resolve().name)

    def _json(self, relative: str) -> Any:
        if relative not in self._records:
            self._records[relative] = self._read_json(relative)
        return self._records[relative]

    def _read_json(self, relative: str) -> Any:
        try:
            return json.loads((self.root / relative).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            self._note(relative, error)
            return None

    def _read_frame(self, path: Path) -> pd.DataFrame | None:
        try:
            return pd.read_parquet(path)
        except FileNotFoundError:
            return None
        except (ArrowException, ValueError, OSError) as error:
            self._note(f"results/{path.name}", error)
            return None

    def _note(self, relative: str, error: Exception) -> None:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        self.broken[relative] = f"{relative} cannot be read ({reason}); delete it and run the study again."
