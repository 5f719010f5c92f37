"""The stage that makes the tuned model as uncertain as the base: at which temperature, and how it does there.

The base's entropy is that of its own samples; the tuned model is sampled anew at a few temperatures, on few problems.
"""

from __future__ import annotations

import math
from typing import Any

from hooks.generate import generate
from hooks.rollouts import Rollouts
from probes import tasks
from probes.samples.temperature import matched_temperature, sampled_entropy, token_entropies
from probes.study.materials import Materials, first_samples

PROBLEMS = 16
"""Problems whose texts are written at each temperature."""
TEXTS = 4
"""Texts of each of them, for the entropy."""
TRIES = 8
"""Texts of each of them at the temperature found, for pass@k."""
SPAN = 3.0
"""The search goes from the base's temperature over this to that times this; its middle is the base's temperature."""
STEPS, TOLERANCE = 5, 0.05


def matching(materials: Materials) -> None:
    """The matched temperature, the entropies that were tried, and pass@k of both models there."""
    config, folder, rl = materials.config, materials.folder, materials.pair.rl
    asked = materials.problems[:PROBLEMS]
    base = materials.rollouts("base_samples").subset([problem.id for problem in asked])
    drawn = first_samples(base, TEXTS)
    uncertain = token_entropies(materials.pair.base, drawn, config.temperature, top_p=config.top_p)
    target = float(uncertain.mean()) if len(uncertain) else 0.0
    if not target > 0:
        return
    options: dict[str, Any] = {**materials.settings(), "top_p": config.top_p}
    move = materials.tell("the tuned model at other temperatures")

    def entropy(temperature: float) -> float:
        move(0, 1)
        return sampled_entropy(rl, asked, temperature, n=TEXTS, **options)

    def samples(temperature: float) -> Rollouts:
        return tasks.grade(generate(rl, asked, n=TRIES, temperature=temperature, **options), asked)

    found = matched_temperature(
        target, entropy, low=config.temperature / SPAN, high=config.temperature * SPAN, tolerance=TOLERANCE,
        steps=STEPS, samples=(first_samples(base, TRIES), samples),
        passk_options={"n_boot": config.n_boot, "seed": config.seed},
    )  # fmt: skip
    move(1, 1)
    folder.table("temperature", found.frame)
    folder.figure("temperature", found.plot())
    folder.json(
        "temperature",
        {
            "headline": found.headline(), "note": found.note, "base_temperature": config.temperature,
            "temperature": None if math.isnan(found.temperature) else found.temperature, "target": found.target,
            "reached": None if math.isnan(found.reached) else found.reached, "problems": len(asked),
        },
    )  # fmt: skip
    if found.passk is not None:
        folder.table("temperature_passk", found.passk.frame)
