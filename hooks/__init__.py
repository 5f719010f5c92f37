"""The model side of whenlens: load a base→RL pair, read it, write into it, let both halves write one text.

Names are imported on first use, so that ``import hooks`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "Model": "hooks.model",
    "Pair": "hooks.pair",
    "Site": "hooks.sites",
    "Positions": "hooks.sites",
    "Rollouts": "hooks.rollouts",
    "ActivationStore": "hooks.store",
    "Direction": "hooks.direction",
    "Steering": "hooks.steer",
    "Gate": "hooks.gate",
    "capture": "hooks.capture",
    "generate": "hooks.generate",
    "mix": "hooks.mix",
    "score": "hooks.score",
    "steering": "hooks.steer",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hooks' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    # Importing hooks.capture binds the submodule to this name; the function is what people ask for.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
