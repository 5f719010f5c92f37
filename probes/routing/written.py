"""Gates that read what was written: open inside, or at the start of, stretches of a given strategy.

A stretch ends with a sentence mark or a line. ``where="inside"`` opens at every place of a stretch whose beginning
matches one of the cues (as soon as the cue is written); ``where="start"`` opens at the first place of every stretch
that follows one with a cue, and with no cue at the first place of every stretch: where the next strategy is chosen. No
model is asked. What it does not show: that words mean what they announce.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.gate import Gate, Sight

REACH = 200
"""Tokens that are looked back over for the beginning of a stretch."""
ENDS = r"[.;!?\n]"
"""What ends a stretch."""


def cues(
    patterns: str | Sequence[str],
    *,
    decode: Callable[[list[int]], str],
    where: Literal["inside", "start"] = "inside",
    ends: str = ENDS,
    name: str = "cues",
) -> Gate:
    """Open where the text so far is in a stretch that begins with a cue.

    Args:
        patterns: regular expressions; a stretch has a cue where one matches at its beginning, blanks aside. None at all
            (an empty list) with ``where="start"`` opens at every stretch's first place.
        decode: from token ids to text, usually ``pair.base.decode``.
        where: every place inside such a stretch, behind its cue; or the first place after it has ended.
        ends: a regular expression for the marks that end a stretch.
        name: what the gate is called in tables.

    Raises:
        ValueError: no pattern for ``inside``, or a pattern that is no regular expression.

    It does not show that words mean what they announce.
    """
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    if where == "inside" and not given:
        raise ValueError("a gate inside stretches needs at least one cue, such as 'wait'")
    try:
        cue = re.compile("|".join(f"(?:{pattern})" for pattern in given) or "", re.IGNORECASE)
        end = re.compile(ends)
    except re.error as error:
        raise ValueError(f"{given} is no list of regular expressions: {error}") from error

    def opens(said: str) -> bool:
        stretches = end.split(said)
        if where == "inside":
            return cue.match(stretches[-1].lstrip()) is not None
        before = stretches[-2].lstrip() if len(stretches) > 1 else ""
        at_start = not stretches[-1].strip()
        return at_start and (not given or (bool(before) and cue.match(before) is not None))

    def score(sight: Sight) -> Float[Tensor, "position"]:
        if sight.context is None:
            raise ValueError("a gate on cues needs the text before each place (Sight.context)")
        found = [opens(decode(sight.context(at)[-REACH:])) for at in range(len(sight.index))]
        return torch.tensor(found, dtype=torch.float32, device=sight.index.device)

    return Gate(name, "none", score, 0.5)
