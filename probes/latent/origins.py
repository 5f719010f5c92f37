"""Whose activations on whose text?  The origin of a direction, worked out from what its makers left behind.

Three origins make three different claims: a vector from base activations on base text needed no RL at all, one from
base activations on RL text has seen what RL writes, one from RL activations has seen what RL computes.  What cannot be
known is said to be not stated rather than guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hooks.model import Model
from hooks.rollouts import Rollouts

ROLES = {"base": "base", "rl": "RL"}
"""How the halves of a pair are written in an origin."""


@dataclass(frozen=True)
class Source:
    """The model that activations came from, and who wrote the texts."""

    model: str
    """Name of the model; empty where nobody said."""
    revision: str | None
    """Its revision."""
    weights: str
    """Hash of its weights; empty where nobody said."""
    role: str
    """``base``, ``RL``, or the model's name."""
    author: str
    """``base``, ``RL``, ``mixed``, the author's name, or empty."""

    def origin(self, other: Source | None = None) -> str:
        """For instance "base activations, RL text"; with ``other`` "RL minus base activations, RL text"."""
        who = self.role or "unnamed"
        if other is not None:
            who = f"{who} minus {other.role or 'unnamed'}"
        return f"{who} activations, {self.author + ' text' if self.author else 'text not stated'}"


def source_of(acts: Mapping[str, Any] | None, model: Model | None, texts: Rollouts | None) -> Source:
    """Read off the activations' manifest, the model and the texts where a direction comes from.

    Args:
        acts: activations in memory or one side of a store; None for vectors that are made from no activations.
        model: the model itself, for what the manifest does not record.
        texts: what was read.

    Raises:
        ValueError: when ``model`` has other weights than the activations record.
    """
    found = dict(getattr(acts, "manifest", {}) or {})
    sides = getattr(acts, "sides", ())
    role = str(found.get("role") or "")
    if len(sides) == 1 and "sides" in found:
        side = str(next(iter(sides)))
        found |= dict(found["sides"][side])
        role = role or (side if side in ROLES else "")
    name, weights = str(found.get("model") or ""), str(found.get("weights") or "")
    revision = found.get("revision")
    if model is not None:
        if weights and weights != model.weights_hash:
            raise ValueError(f"the activations are of other weights ({name or weights[:12]}) than {model.name}")
        name, weights, revision = model.name, model.weights_hash, model.revision
        role = role or model.role or ""
    who = ROLES.get(role, role or name)
    author = _author(texts)
    # A text that is known by its model's name was written in the role that this model has.
    return Source(name, revision, weights, who, who if author and author == name else author)


def _author(texts: Rollouts | None) -> str:
    if texts is None:
        return ""
    names = {author for row in texts.frame["author"] for author in row} or set(texts.frame["model"])
    if len(names) != 1:
        return "mixed" if names else ""
    name = str(next(iter(names)))
    return ROLES.get(name, name)
