"""Where whenlens keeps what can be made again: converted and merged weights."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """``WHENLENS_CACHE``, else ``whenlens`` under ``XDG_CACHE_HOME`` or ``~/.cache``; it may not exist yet."""
    own, shared = os.environ.get("WHENLENS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "whenlens"
