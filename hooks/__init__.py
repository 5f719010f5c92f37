"""The model side of whenlens: load a base→RL pair, read it, write into it, let both halves write one text.

Names are imported on first use, so that ``import hooks`` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hooks.capture import capture as capture
    from hooks.direction import Direction as Direction
    from hooks.gate import Gate as Gate
    from hooks.generate import generate as generate
    from hooks.graft import grafted as grafted
    from hooks.implant import implant as implant
    from hooks.mix import mix as mix
    from hooks.model import Model as Model
    from hooks.pair import Pair as Pair
    from hooks.rollouts import Rollouts as Rollouts
    from hooks.score import score as score
    from hooks.sites import Positions as Positions
    from hooks.sites import Site as Site
    from hooks.steer import Steering as Steering
    from hooks.steer import steering as steering
    from hooks.store import ActivationStore as ActivationStore

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
    "grafted": "hooks.graft",
    "implant": "hooks.implant",
    "mix": "hooks.mix",
    "score": "hooks.score",
    "steering": "hooks.steer",
}

__all__ = sorted(_HOMES)


class _Package(ModuleType):
    """This package, with functions that keep their name when the module of the same name is imported.

    ``hooks.capture`` is the function; the module is reached by ``from hooks.capture import …``.
    """

    def __getattr__(self, name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'hooks' has no attribute {name!r}; it has {', '.join(__all__)}")
        value = getattr(import_module(_HOMES[name]), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # The import system binds every imported submodule to its parent; here the public function goes first.
        if name in _HOMES and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return __all__


sys.modules[__name__].__class__ = _Package
