"""The stage that asks whether a vector from the base alone already switches the strategy on."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hooks.direction import Direction
from probes.evidence import Evidence
from probes.latent.choices import decision_labels
from probes.latent.directions import direction
from probes.latent.dose import dose_response
from probes.latent.placebos import Placebo, shuffled_pairs
from probes.latent.steering import SteeringEffect, steering_effect
from probes.study.materials import Materials
from probes.study.noted import note
from probes.study.readable import decision_activations, decision_rows

DEPTHS = (0.25, 0.375, 0.5)
"""Depths at which directions are tried; published steering layers lie at 36 to 38 %."""


def candidates(materials: Materials) -> list[Direction]:
    """A difference of means for every common strategy at a few depths, from base activations on base text alone."""
    texts, found = decision_rows(materials)
    labels = decision_labels(found)
    if labels.empty:
        return []
    acts = decision_activations(materials)["base"]
    layers = sorted({int(depth * materials.pair.base.n_layers) for depth in DEPTHS})
    out = []
    for name in labels:
        for layer in layers:
            one = direction(
                acts, labels[name], site=f"resid_post.{layer}", label=str(name), texts=texts, seed=materials.config.seed
            )
            path = materials.folder.root / "directions" / f"{str(name).replace(' ', '_')}-{layer}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            one.save(path)
            out.append(one)
    return out


def placebos(materials: Materials) -> Placebo | None:
    """Vectors by the same recipe from shuffled labels; None where no label is common enough for a vector."""
    _, found = decision_rows(materials)
    labels = decision_labels(found)
    if labels.empty:
        return None
    acts = decision_activations(materials)["base"]
    # Over all rows: the first decisions of one problem share the prompt's last activation.
    return shuffled_pairs(acts, {str(name): labels[name] for name in labels}, seed=materials.config.seed)


def signed(alphas: Sequence[float]) -> list[float]:
    """The doses, their negatives, and none."""
    return sorted({0.0, *alphas, *(-alpha for alpha in alphas)})


def steering(materials: Materials) -> None:
    """Choose direction and dose on half of the problems, measure them on the other half against placebos."""
    config = materials.config
    effect = steering_effect(
        materials.pair,
        materials.problems,
        candidates(materials),
        base=materials.rollouts("base_greedy"),
        rl=materials.rollouts("rl_greedy"),
        alphas=config.alphas,
        n_random=config.random_vectors,
        shuffled=placebos(materials),
        annotator=config.annotator,
        n_boot=config.n_boot,
        seed=config.seed,
        settings=materials.settings(),
        progress=materials.tell("steering"),
    )
    materials.folder.table("steering", effect.frame)
    materials.folder.table("steering_calibration", effect.calibration)
    materials.folder.figure("steering", effect.plot())
    _curve(materials, effect)
    found = Evidence(steering=effect.recovery, steering_over_random=effect.over_random)
    note(materials.folder, "steering", found)
    held = pd.Series({"p": effect.p, "alpha": effect.alpha})
    materials.folder.json("steering", {**held.to_dict(), "headline": effect.headline()})


def _curve(materials: Materials, effect: SteeringEffect) -> None:
    """Effect and damage of the chosen vector at every dose, on the problems it was not chosen on."""
    if effect.chosen is None:
        return
    config, held = materials.config, set(effect.held)
    curve = dose_response(
        materials.pair,
        [problem for problem in materials.problems if problem.id in held],
        effect.chosen,
        alphas=signed(config.alphas),
        annotator=config.annotator,
        n_boot=config.n_boot,
        seed=config.seed,
        settings=materials.settings(),
    )
    against = curve.anti_steered
    frame = curve.frame.assign(
        anti_steered_overall=against.value,
        anti_steered_overall_low=against.low,
        anti_steered_overall_high=against.high,
        slope=curve.slope.value,
        slope_low=curve.slope.low,
        slope_high=curve.slope.high,
    )
    materials.folder.table("steering_dose", frame)
    materials.folder.figure("steering_dose", curve.plot())
