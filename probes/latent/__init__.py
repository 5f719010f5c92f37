"""Is it already there?  Strategies, linear probes, sweeps, directions and steering from base activations alone.

Names are imported on first use, so that ``from probes import latent`` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.latent.choices import decision_labels as decision_labels
    from probes.latent.choices import decision_mask as decision_mask
    from probes.latent.choices import decision_rows as decision_rows
    from probes.latent.directions import direction as direction
    from probes.latent.dose import dose_response as dose_response
    from probes.latent.grid import steering_grid as steering_grid
    from probes.latent.logistic import logistic_path as logistic_path
    from probes.latent.optimised import optimised as optimised
    from probes.latent.preexistence import preexistence as preexistence
    from probes.latent.probe import LinearProbe as LinearProbe
    from probes.latent.sentences import Sentences as Sentences
    from probes.latent.sentences import sentence_vectors as sentence_vectors
    from probes.latent.spans import Spans as Spans
    from probes.latent.spans import decisions as decisions
    from probes.latent.steering import steering_effect as steering_effect
    from probes.latent.strategies import annotate as annotate
    from probes.latent.sweep import Sweep as Sweep
    from probes.latent.sweep import sweep as sweep
    from probes.latent.taxonomy import Taxonomy as Taxonomy
    from probes.latent.taxonomy import taxonomy as taxonomy
    from probes.latent.transfer import transfer as transfer

_HOMES = {
    "LinearProbe": "probe",
    "Sentences": "sentences",
    "Spans": "spans",
    "Sweep": "sweep",
    "Taxonomy": "taxonomy",
    "annotate": "strategies",
    "decision_labels": "choices",
    "decision_mask": "choices",
    "decision_rows": "choices",
    "decisions": "spans",
    "direction": "directions",
    "dose_response": "dose",
    "steering_grid": "grid",
    "logistic_path": "logistic",
    "optimised": "optimised",
    "preexistence": "preexistence",
    "sentence_vectors": "sentences",
    "steering_effect": "steering",
    "sweep": "sweep",
    "taxonomy": "taxonomy",
    "transfer": "transfer",
}

__all__ = sorted(_HOMES)


class _Package(ModuleType):
    """This package, with functions that keep their name when the module of the same name is imported.

    ``latent.sweep`` is the function; the module is reached by ``from probes.latent.sweep import …``.
    """

    def __getattr__(self, name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'probes.latent' has no attribute {name!r}; it has {', '.join(__all__)}")
        value = getattr(import_module(f"probes.latent.{_HOMES[name]}"), name)
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
