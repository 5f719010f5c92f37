"""A folder in the cache is whole or as it was: after an error, an interruption, and beside another process."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from hooks import cache
from hooks.cache import whole_folder


def fill(folder: Path, text: str) -> None:
    with whole_folder(folder) as unfinished:
        (unfinished / "part").mkdir()
        (unfinished / "part" / "file").write_text(text)


def held(folder: Path) -> str:
    return (folder / "part" / "file").read_text()


def alone(folder: Path) -> bool:
    return [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    fill(folder, "one")
    fill(folder, "two")
    assert held(folder) == "two"
    assert alone(folder)
    assert (folder / "part" / "file").stat().st_mode & 0o777 == 0o644


def test_after_an_error_the_old_folder_stands(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    fill(folder, "one")

    def half() -> None:
        with whole_folder(folder) as unfinished:
            (unfinished / "file").write_text("half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        half()
    assert held(folder) == "one"
    assert alone(folder)


def test_an_interruption_between_the_two_renames_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace, calls = tmp_path / "there", os.replace, [0]
    fill(folder, "one")

    def interrupted(old: Path, new: Path) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        replace(old, new)

    monkeypatch.setattr(cache.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(folder, "two")
    assert held(folder) == "one"
    assert alone(folder)


def test_writers_of_one_folder_do_not_trip_over_each_other(tmp_path: Path) -> None:
    folder, wrong = tmp_path / "there", []

    def write(name: str) -> None:
        try:
            for _ in range(40):
                fill(folder, name)
        except OSError as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(str(at),)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert held(folder) in "0123"
    assert alone(folder)


def test_what_a_killed_process_left_is_cleared_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    for name, age in (("there.partial.old", 2 * cache.ABANDONED), ("there.partial.new", 0.0)):
        (tmp_path / name).mkdir()
        then = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (then, then))
    fill(folder, "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "there.partial.new"]
