"""Where whenlens keeps what can be made again, and how a whole folder is put in its place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_root() -> Path:
    """``WHENLENS_CACHE``, else ``whenlens`` under ``XDG_CACHE_HOME`` or ``~/.cache``; it may not exist yet."""
    own, shared = os.environ.get("WHENLENS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "whenlens"


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``folder`` at the end; after an error nothing has changed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}.partial."))
    try:
        yield partial
        partial.chmod(0o755)
        # Two processes may make the same folder at once; the later one wins.
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
