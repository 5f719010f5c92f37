"""Where whenlens keeps what can be made again, and how a whole folder is put in its place."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def cache_root() -> Path:
    """``WHENLENS_CACHE``, else ``whenlens`` under ``XDG_CACHE_HOME`` or ``~/.cache``; it may not exist yet."""
    own, shared = os.environ.get("WHENLENS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "whenlens"


ABANDONED = 24 * 3600.0
"""Seconds after which a half-filled folder is taken for one that a killed process left."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``folder`` at the end; after an error the old one stands.

    Several processes may fill the same folder at once: each finds a whole one, and the last stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{folder.name}.partial.*"):
        # Another process may end its own in this moment.
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    partial = _beside(folder)
    try:
        yield partial
        _settle(partial)
        _put(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _beside(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}.partial."))


def _settle(folder: Path) -> None:
    """Let all users of a shared cache read what is there, and let it outlast a power cut."""
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o755 if path.is_dir() else 0o644)
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _put(partial: Path, folder: Path) -> None:
    """Two renames: the old folder aside, the new one in; until the second has worked the old one can come back."""
    aside = _beside(folder)
    try:
        while True:
            if folder.exists():
                with suppress(FileNotFoundError):
                    os.replace(folder, aside)
            try:
                os.replace(partial, folder)
                return
            except OSError as error:
                # Somebody else's came in between; it goes aside in its turn.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(aside)
                aside.mkdir()
    finally:
        if not folder.exists() and any(aside.iterdir()):
            with suppress(OSError):
                os.replace(aside, folder)
        shutil.rmtree(aside, ignore_errors=True)
