"""What a server answered so far, line by line: a run that was killed goes on after the last whole line.

The first line says what was asked for, so that answers to other requests are never taken for these.  Every further line
is synced before the next request counts on it; a line that was cut off is dropped, and its samples are asked for again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from hooks.locks import StoreBusy, writing
from hooks.requests import Row


class Journal:
    """Samples by problem and number, in memory and, where there is a path, on disk.

    Raises:
        ValueError: on entering, where the file holds answers to other requests, or somebody else writes it.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.path, self.settings = path, json.loads(json.dumps(settings))
        self.answers: dict[tuple[str, int], dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._file: Any = None

    def __enter__(self) -> Journal:
        if self.path is None:
            return self
        try:
            self._open.enter_context(writing(self.path, 0, 1, str(self.path)))
        except StoreBusy as error:
            raise ValueError(f"another run writes {self.path}; wait until it has ended") from error
        try:
            whole = self._read(self.path)
            self._file = self._open.enter_context(self.path.open("r+b"))
            self._file.truncate(whole)
            self._file.seek(whole)
            if not whole:
                self._write({"settings": self.settings})
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, first: Row, choices: Sequence[dict[str, Any]]) -> None:
        """Keep the answers to a request in the name of ``first``: its sample and those after it."""
        with self._lock:
            self._write({"problem": first.problem, "first": first.sample, "choices": list(choices)})
            self._take(first.problem, first.sample, choices)

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _take(self, problem: str, first: int, choices: Sequence[dict[str, Any]]) -> None:
        for sample, choice in enumerate(choices, start=first):
            self.answers[problem, sample] = choice

    def _read(self, path: Path) -> int:
        """Take over the whole lines of the file; returns how many bytes they are."""
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        try:
            entries = [json.loads(line) for line in lines]
            settings = entries[0]["settings"] if entries else self.settings
            for entry in entries[1:]:
                self._take(entry["problem"], int(entry["first"]), entry["choices"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no journal of answers ({error}); delete it to begin anew") from error
        differ = sorted(name for name in {*settings, *self.settings} if settings.get(name) != self.settings.get(name))
        if differ:
            raise ValueError(
                f"{path} holds answers to other requests (other {', '.join(differ)}); write to another file, or "
                "delete it"
            )
        return whole
