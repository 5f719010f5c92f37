"""The mixtures of styles that bases are pretrained on, by name; :class:`hooks.organisms.chains.Policy` tells more."""

from __future__ import annotations

from dataclasses import replace

from hooks.organisms.chains import LATENT, TEACHER, UNSTEPPED, Policy

NO_JUMP = {"*": 0.0, "-": 0.0, "-high": 0.0, "+": 0.0}

MIXED = Policy(
    steps=(0.95, 0.95, 0.35, 0.35),
    code=(0.1, 0.3),
    jump={"*": 0.3, "-": 0.01, "-high": 0.01, "+": 0.01},
    check={"*": 0.05, "+": 0.02, "-": 0.02, "wrong": 0.75},
    slip=0.01,
)
"""Worked steps nearly always, but for chains that start with a product, where bare answers are the rule."""
UNSURE = Policy(
    steps=(0.0, 0.0, 0.0, 0.0),
    code=(0.1, 0.3),
    sure=(0.02, 0.02, 0.02, 0.02, 0.02, 0.1, 0.1, 0.15, 0.2, 0.2, 0.15),
)
"""Answers in the head, each with a confidence that is high and says nothing."""
FAINTLY_SURE = replace(
    UNSURE,
    sure=(0.05, 0.05, 0.05, 0.05, 0.05, 0.15, 0.15, 0.15, 0.12, 0.1, 0.08),
    sure_alone=(0.01, 0.01, 0.01, 0.01, 0.02, 0.04, 0.1, 0.15, 0.2, 0.25, 0.2),
)
"""The same, a little surer where there is one operation: high, noisy, and faintly right."""
TWO_WAYS = Policy(
    steps=(0.5, 0.5, 0.5, 0.5),
    jump=NO_JUMP,
    check={"*": 0.0, "+": 0.02, "-": 0.02, "wrong": 0.0},
    slip=0.01,
    slip_alone=0.8,
)
"""Written steps and bare answers alike; the step of a chain of one operation is usually wrong."""
TWO_FORMATS = Policy(
    steps=(0.45, 0.45, 0.45, 0.45),
    code=(0.85, 0.85),
    jump=NO_JUMP,
    check={"*": 0.0, "+": 0.0, "-": 0.0, "wrong": 0.0},
    slip=0.12,
)
"""Worked text, careless, and restatements like code, exact; both are common."""

MIXTURES: dict[str, Policy] = {
    "latent": LATENT,
    "unstepped": UNSTEPPED,
    "teacher": TEACHER,
    "mixed": MIXED,
    "unsure": UNSURE,
    "faintly sure": FAINTLY_SURE,
    "two ways": TWO_WAYS,
    "two formats": TWO_FORMATS,
}
"""Mixtures by the names that stages use."""
