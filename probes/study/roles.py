"""Further checkpoints that a study is held against: which role each has, and how settings name them.

A contrast is another training of the same base.  A random reward shows what the training does by itself (arXiv
2506.10947), supervised tuning what any tuning does; the other roles are the second run that a claim needs.  What this
does not show: that a checkpoint was trained as its role says; nobody checks that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hooks.organisms import ORGANISMS, PREFIX

ROLES: Mapping[str, str] = {
    "random": "the same training with a random reward",
    "sft": "supervised tuning of the same base",
    "medium": "RL on problems of medium difficulty, where the tuned model had too-hard ones",
    "hard": "RL on too-hard problems, where the tuned model had medium ones",
    "binary": "the same training on right or wrong alone, where the tuned model had a Brier term",
    "brier": "the same training with a Brier term, where the tuned model had none",
}
"""Roles of a contrast, and what each says of its training."""
EITHER = (("medium", "hard"), ("binary", "brier"))
"""Roles that cannot both be true of one tuned model."""
NOTHING = "none"
"""Instead of any NAME=CHECKPOINT: none at all, not even what an organism brings."""

_CONTRASTS = {
    "latent": {"random": f"{PREFIX}sham:rl"},
    "calibrated": {"binary": f"{PREFIX}calibrated:rlvr"},
}
_ORDERS = {
    "domains": {
        "sums": f"{PREFIX}domains:a",
        "single": f"{PREFIX}domains:b",
        "sums,single": f"{PREFIX}domains:ab",
        "single,sums": f"{PREFIX}domains:ba",
        "sums+single": f"{PREFIX}domains:joint",
    }
}


def named(given: Any, flag: str) -> dict[str, str]:
    """Checkpoints by name, from a mapping or from texts ``NAME=CHECKPOINT``.

    Raises:
        ValueError: a text that is neither, or a name that was given twice.
    """
    if given is None or given == NOTHING:
        return {}
    if isinstance(given, Mapping):
        return {str(name): str(path) for name, path in given.items()}
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Iterable):
        raise ValueError(f"{flag} is NAME=CHECKPOINT, not {given!r}.")
    out: dict[str, str] = {}
    for text in texts:
        if text == NOTHING:
            continue
        name, equals, path = str(text).partition("=")
        name, path = name.strip(), path.strip()
        if not (name and equals and path):
            raise ValueError(f"{flag} is NAME=CHECKPOINT, not {text!r}.")
        if name in out:
            raise ValueError(f"{flag} {name} was given twice; a name stands for one checkpoint.")
        out[name] = path
    return out


def check_roles(contrast: Mapping[str, str]) -> None:
    """Refuse a role that is unknown, and two that exclude each other."""
    for name in contrast:
        if name not in ROLES:
            known = "; ".join(f"{role}: {said}" for role, said in ROLES.items())
            raise ValueError(f"There is no contrast {name!r}; a contrast is one of {known}.")
    for one, other in EITHER:
        if one in contrast and other in contrast:
            raise ValueError(
                f"The contrasts {one!r} and {other!r} say opposite things of the tuned model; give the one that its "
                "own training is held against."
            )


def contrasts_of(organism: str) -> dict[str, str]:
    """The contrasts that an organism ships: members that are called as a role, and those of its fellows."""
    members = ORGANISMS[organism].members
    own = {role: f"{PREFIX}{organism}:{role}" for role in ROLES if role in members}
    return own | _CONTRASTS.get(organism, {})


def orders_of(organism: str) -> dict[str, str]:
    """The runs on domains that an organism ships, by the order of their training."""
    return dict(_ORDERS.get(organism, {}))
