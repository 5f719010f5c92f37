"""The question side of whenlens: one folder for each question that a researcher asks about a base→RL pair.

``tasks`` holds problems and verifiers; ``latent`` asks whether a strategy is already there, ``routing`` whether RL only
taught when, ``weights`` what moved, ``samples`` what the model says, ``training`` how it got there.
Rooms are imported on first use, so that ``import probes`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

__all__ = ["claims", "latent", "report", "routing", "samples", "study", "tasks", "training", "weights"]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module 'probes' has no attribute {name!r}; it has {', '.join(__all__)}")
    return import_module(f"probes.{name}")


def __dir__() -> list[str]:
    return __all__
