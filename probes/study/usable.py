"""The stage that asks whether a vector from the base alone already switches the strategy on."""

from __future__ import annotations

import pandas as pd

from hooks.direction import Direction
from probes.evidence import Evidence
from probes.latent.directions import direction
from probes.latent.steering import steering_effect
from probes.study.materials import Materials
from probes.study.noted import note
from probes.study.readable import decision_activations, decision_rows, label_columns

DEPTHS = (0.25, 0.375, 0.5)
"""Depths at which directions are tried; published steering layers lie at 36 to 38 %."""


def candidates(materials: Materials) -> list[Direction]:
    """A difference of means for every common strategy at a few depths, from base activations on base text alone."""
    _, found = decision_rows(materials)
    labels = label_columns(found)
    if labels.empty:
        return []
    acts = decision_activations(materials)["base"]
    layers = sorted({int(depth * materials.pair.base.n_layers) for depth in DEPTHS})
    out = []
    for name in labels:
        for layer in layers:
            one = direction(acts, labels[name], site=f"resid_post.{layer}", label=str(name), seed=materials.config.seed)
            path = materials.folder.root / "directions" / f"{str(name).replace(' ', '_')}-{layer}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            one.save(path)
            out.append(one)
    return out


def steering(materials: Materials) -> None:
    """Choose direction and dose on half of the problems, measure them on the other half against random vectors."""
    config = materials.config
    effect = steering_effect(
        materials.pair,
        materials.problems,
        candidates(materials),
        base=materials.rollouts("base_greedy"),
        rl=materials.rollouts("rl_greedy"),
        alphas=config.alphas,
        n_random=config.random_vectors,
        annotator=config.annotator,
        n_boot=config.n_boot,
        seed=config.seed,
        settings=materials.settings(),
        progress=materials.tell("steering"),
    )
    materials.folder.table("steering", effect.frame)
    materials.folder.table("steering_calibration", effect.calibration)
    materials.folder.figure("steering", effect.plot())
    found = Evidence(steering=effect.recovery, steering_over_random=effect.over_random)
    note(materials.folder, "steering", found)
    held = pd.Series({"p": effect.p, "alpha": effect.alpha})
    materials.folder.json("steering", {**held.to_dict(), "headline": effect.headline()})
