"""The main job: a base and an RL checkpoint in, a page with the answer out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.study.config import StudyConfig
    from probes.study.job import Study, run
    from probes.study.router import token_view

_HOMES = {"Study": "job", "StudyConfig": "config", "run": "job", "token_view": "router"}

__all__ = ["Study", "StudyConfig", "run", "token_view"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'probes.study' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"probes.study.{_HOMES[name]}"), name)
