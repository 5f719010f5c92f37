"""The stage that holds the pair against other trainings of the same base: by a random reward, by supervision, others.

Each contrast is sampled on the pair's problems, and the measures of the pair that take a contrast are taken of both,
on the same problems: the table ``contrasts`` has a row a role, measure and quantity with the pair's figure, the
contrast's, and the difference, each with its interval. A study without contrasts leaves this stage out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from hooks.rollouts import Rollouts
from probes.evidence import Evidence
from probes.samples import PassK, passk
from probes.samples.calibration import calibration
from probes.samples.confidence import Confidences
from probes.samples.formats import formats
from probes.samples.shortcuts import Shortcuts, shortcuts
from probes.stats import Estimate
from probes.study.calibrating import ENOUGH, sources
from probes.study.calibrating import evidence as of_calibration
from probes.study.contrast_reading import READ, read_by, weights_of
from probes.study.contrast_rows import COLUMNS, lined_up
from probes.study.formatting import classifier
from probes.study.further import beside_base, sampled, samples_each
from probes.study.materials import Materials, first_samples
from probes.study.noted import note
from probes.study.roles import ROLES
from probes.study.shortcutting import values

STATED, TOKENS = "confidence, as stated", "confidence, of answer tokens"
"""Measures of calibration, by where a confidence is from."""
Sources = dict[str, dict[str, Confidences]]


@dataclass(frozen=True)
class Beside:
    """What stands beside the pair: texts of both its models and of every contrast, as many samples of each problem."""

    base: Rollouts
    rl: Rollouts
    others: Mapping[str, Rollouts]
    """By role."""
    options: dict[str, Any]
    """Of every bootstrap."""


def contrasts(materials: Materials) -> None:
    """Sample every contrast and set the pair's figures against it; nothing where none was given."""
    config, folder = materials.config, materials.folder
    if not config.contrast:
        return
    count = samples_each(config)
    others, parts, weights = {}, [], []
    for role, path in config.contrast.items():
        pair = beside_base(materials, path)
        others[role] = sampled(materials, f"contrast-{role}", path, pair)
        if role in READ:
            parts += read_by(materials, role, pair)
            weights.append(weights_of(materials, role, pair))
        del pair
    own = [first_samples(materials.rollouts(f"{role}_samples"), count) for role in ("base", "rl")]
    texts = Beside(own[0], own[1], others, {"n_boot": config.n_boot, "seed": config.seed})
    known = _known(materials, texts)
    tables = [_tries(texts), *_confidence(known, texts), _shortcuts(materials, texts), _formats(texts)]
    found = pd.concat([*tables, *parts], ignore_index=True)[list(COLUMNS)]
    order = list(config.contrast)
    found = found.sort_values("role", key=lambda roles: roles.map(order.index), kind="stable", ignore_index=True)
    folder.table("contrasts", found)
    if weights:
        folder.table("contrasts_weights", pd.concat(weights, ignore_index=True))
    told = {role: {"checkpoint": path, "training": ROLES[role]} for role, path in config.contrast.items()}
    folder.json("contrasts", {"roles": told, "samples": count, "problems": len(materials.problems)})
    without = binary_alone(known, texts)
    note(
        folder, "contrasts",
        replace(
            evidence(found), calibration_stated=without.calibration_stated,
            calibration_tokens=without.calibration_tokens,
        ),
    )  # fmt: skip


def evidence(table: pd.DataFrame) -> Evidence:
    """What two claims are judged by: the second run of each, and its difference from the pair's own."""
    out = Evidence()
    for role, sign in (("medium", 1), ("hard", -1)):
        more, better = _found(table, role, "degenerate, rl - base"), _found(table, role, "pass@1, rl - base")
        if more is not None and better is not None:
            out = replace(out, hard_over_medium=signed(more, sign), medium_over_hard=signed(better, -sign))
    for role, sign in (("binary", 1), ("brier", -1)):
        repair, better = _found(table, role, "ece", STATED), _found(table, role, "pass@1, rl - base")
        if repair is not None and better is not None:
            out = replace(out, calibration_repair=signed(repair, sign), calibration_cost=signed(better, -sign))
    return out


def signed(one: Estimate, sign: int) -> Estimate:
    """An estimate, or its negative with the ends exchanged."""
    return one if sign > 0 else replace(one, value=-one.value, low=-one.high, high=-one.low)


def _found(table: pd.DataFrame, role: str, quantity: str, measure: str | None = None) -> Estimate | None:
    rows = table[(table["role"] == role) & (table["quantity"] == quantity)]
    rows = rows if measure is None else rows[rows["measure"] == measure]
    if rows.empty:
        return None
    row = rows.iloc[0]
    value, low, high = (float(row[f"difference{end}"]) for end in ("", "_low", "_high"))
    return Estimate(value, low, high, int(row["n"]), "bootstrap over problems, paired")


def _tries(texts: Beside) -> pd.DataFrame:
    """pass@k of the pair and of the contrasts, RL minus base."""
    most = min(len(part.frame) // part.frame["problem"].nunique() for part in (texts.base, *texts.others.values()))
    ks = [2**power for power in range(most.bit_length())]
    found: PassK = passk(texts.base, texts.rl, ks=ks, contrast=texts.others, **texts.options)
    ours = {name: one.estimate(**texts.options) for name, one in found.measured.items()}
    return lined_up("pass@k", found.contrasts, ours, lambda _: "points")


def _known(materials: Materials, texts: Beside) -> Sources:
    """Confidences by source and arm; arms without enough of them are left out."""
    roles = {"base": texts.base, "rl": texts.rl, **texts.others}
    return {
        source: {arm: one for arm, one in arms.items() if one.stated >= ENOUGH}
        for source, arms in sources(materials, roles).items()
    }


def _confidence(known: Sources, texts: Beside) -> list[pd.DataFrame]:
    """How well the tuned model's confidence fits beside the contrast's, by each source that both have."""
    out = []
    for source, arms in known.items():
        others = {role: one for role, one in arms.items() if role in texts.others}
        if "rl" not in arms or not others:
            continue
        found = calibration({"rl": arms["rl"]}, contrast=others, **texts.options)
        ours = {name: one.estimate(**texts.options) for name, one in found.measured["rl"].items()}
        measure = STATED if source == "stated" else TOKENS
        out.append(lined_up(measure, found.contrasts, ours, lambda name: _CONFIDENCE.get(name, "number")))
    return out


def binary_alone(known: Sources, texts: Beside) -> Evidence:
    """What a binary reward alone does to the calibration error, where the contrast is the run that had no other."""
    found = {
        source: calibration({"base": own["base"], "rl": own["binary"]}, **texts.options)
        for source, own in known.items()
        if {"base", "binary"} <= set(own)
    }
    return of_calibration(found)


_CONFIDENCE = {"accuracy": "share", "confidence": "share", "overconfidence": "share"}


def _shortcuts(materials: Materials, texts: Beside) -> pd.DataFrame:
    """Signs of shortcuts, RL minus base, over all problems and by difficulty where there are samples enough."""
    found = shortcuts(texts.base, texts.rl, values=values(materials.problems), contrast=texts.others, **texts.options)
    beside = found.contrasts if found.contrasts is not None else pd.DataFrame(columns=["quantity"])
    ours = {str(name): _sign(found, str(name)) for name in beside["quantity"]}
    plain = ("operations, rl - base", "tokens, rl - base")
    return lined_up("shortcuts", beside, ours, lambda name: "number" if name in plain else "points")


def _sign(found: Shortcuts, named: str) -> Estimate:
    """The pair's figure under the name that contrasts have it by: ``degenerate (hard), rl - base``."""
    name, _, arm = named.rpartition(", ")
    name, _, difficulty = name.partition(" (")
    return found.at(name, arm, difficulty=difficulty.rstrip(")") or None)


def _formats(texts: Beside) -> pd.DataFrame:
    """Share and rise of the format that is largest after RL."""
    ends: dict[str, dict[int | float, Rollouts]] = {
        role: {0: texts.base, 1: other} for role, other in texts.others.items()
    }
    found = formats({0: texts.base, 1: texts.rl}, classifier=classifier(texts.base), contrast=ends, **texts.options)
    ours = {f"share of {found.winner}": found.winner_share, f"rise of {found.winner}": found.rise}
    beside = found.contrasts if found.contrasts is not None else pd.DataFrame()
    return lined_up("formats", beside, ours, lambda name: "share" if name.startswith("share") else "points")
