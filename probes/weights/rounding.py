"""Can an update be told from rounding?

Two causes move stored weights without any training: a cast (the same values written in another type) and rounding the
same values twice, which in bfloat16 moves an entry by one step, up or down with no direction. So the changes of a
tensor read

* ``same``: no stored value differs;
* ``stored otherwise``: stored values differ, none does in bfloat16: a cast;
* ``like rounding``: all changes but one in a hundred are single bfloat16 steps, and the largest singular value of the
  update is at most 1.25 times that of the same changes with random signs;
* ``moved``: larger steps, or single steps that add up to a direction;
* None: single steps whose direction was not asked for (no decomposition), or that have none to ask for (a vector).

Random signs keep the place and the size of every change, so rows that change often do not pass for a direction. Both
bounds are the choice of this package. An entry of size ``u 2^e``, ``1 <= u < 2``, rounded to eight bits errs by a
uniform part of ``ulp = 2^(e-7)``, so two such roundings differ by a norm of ``sqrt(sum ulp^2 / 6)``
(:func:`rounding_norm`).

What it does not show: that an update like rounding was rounding. Small steps of training leave the same trace.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.streams import stream
from probes.weights.counts import Counts
from probes.weights.spectrum import singular_values

SINGLE = 0.99
"""Share of the changes that are single steps, at least, for an update that may be rounding."""
DIRECTED = 1.25
"""Largest singular value over that of random signs from which on single steps have a direction."""
READINGS = ("same", "stored otherwise", "like rounding", "moved")
"""What :func:`reading` may say, beside None."""


def rounding_norm(counts: Counts) -> float:
    """Expected norm of the difference of two independent roundings to bfloat16 of the base weights.

    It does not show what rounding there was.
    """
    return 2.0**-7 * math.sqrt(counts.binades / 6)


def with_random_signs(
    delta: Float[Tensor, "row column"], *, seed: int = 0, label: str = ""
) -> Float[Tensor, "row column"]:
    """The same sizes of change at the same places, each up or down at random, from ``(seed, "signs", label)``.

    It does not show what rounding there was.
    """
    signs = torch.from_numpy(stream(seed, "signs", label).integers(0, 2, delta.numel(), dtype="int8"))
    return delta.abs() * (2 * signs - 1).to(delta.device, delta.dtype).reshape(delta.shape)


def reading(counts: Counts, delta: Float[Tensor, "row column"] | None, *, seed: int = 0, label: str = "") -> str | None:
    """One of :data:`READINGS` for the changes of a tensor, by the rule at the head of this file, or None.

    ``delta`` is the update where it is a matrix and its direction may be asked for.  It does not show the cause.
    """
    changed = counts.size - counts.exact
    if counts.stored == counts.size:
        return "same"
    if changed == 0:
        return "stored otherwise"
    if counts.one_ulp < SINGLE * changed:
        return "moved"
    if delta is None:
        return None
    largest = float(singular_values(delta)[0])
    by_chance = float(singular_values(with_random_signs(delta, seed=seed, label=label))[0])
    return "moved" if largest > DIRECTED * by_chance else "like rounding"
