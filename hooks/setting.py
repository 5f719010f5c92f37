"""Who writes a mixed text, who decides, and with which options: what one call of :func:`hooks.mix.mix` has settled.

Everything in here was checked by the time that :mod:`hooks.duet` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hooks.judge import Judge
from hooks.pace import Pace
from hooks.sites import Site


@dataclass(frozen=True)
class Setting:
    """Who writes, who decides, and the options; checked by :func:`hooks.mix.mix`."""

    primary: Any
    other: Any
    """The intervening model; None when neither gate nor second author asks for one."""
    judge: Judge
    cut: Callable[[Tensor], Tensor]
    """Logits of either model to the ids that both have."""
    max_new_tokens: int
    seed: int
    pace: Pace
    site: Site | None = None
    """Activation of the primary that the gate sees."""
    strings: tuple[str, ...] = ()
    """Stop strings."""
    other_steering: Any = None
    steering: Any = None
    other_site: Site | None = None
    """Activation of the other model that a shift sorts places by."""
    at_place: bool = False
    """Whether ``steering`` acts at the open place alone, over a text that was read without it."""
