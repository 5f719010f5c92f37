"""The stage that looks for shortcuts in both models' samples: signs, difficulty, the check by a corrupted step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd

from hooks.generate import generate
from hooks.model import Model
from hooks.organisms.chains import Chain
from probes.evidence import Evidence
from probes.samples.shortcuts import Shortcuts, shortcuts
from probes.samples.shortcuts_prefix import PrefixCheck, prefix_check
from probes.samples.shortcuts_signs import worked_values
from probes.stats import Estimate
from probes.study.materials import Materials, first_samples
from probes.study.noted import note
from probes.tasks import Problem

SAMPLES = 32
"""Samples of each problem whose signs are read."""
CHECKED = 96
"""Texts of each model in which one step is corrupted."""


def shortcutting(materials: Materials) -> None:
    """Signs of shortcuts, their change by difficulty, and whether answers rest on the steps that are written."""
    config, folder = materials.config, materials.folder
    options: dict[str, Any] = {"n_boot": config.n_boot, "seed": config.seed}
    texts = {role: first_samples(materials.rollouts(f"{role}_samples"), SAMPLES) for role in ("base", "rl")}
    found = shortcuts(texts["base"], texts["rl"], values=values(materials.problems), **options)
    folder.table("shortcuts", found.frame)
    folder.table("shortcuts_bins", found.bins)
    folder.figure("shortcuts", found.plot())
    checks = _checks(materials, options)
    folder.table("shortcuts_checks", pd.DataFrame(checks, columns=list(_CHECK_COLUMNS)))
    folder.json(
        "shortcuts",
        {"headline": found.headline(), "note": found.note, "samples": SAMPLES,
         **{name: _numbers(getattr(found, name)) for name in ("hard_share", "rare_mass", "rare_degenerate")}},
    )  # fmt: skip
    note(folder, "shortcuts", evidence(found))


_CHECK_COLUMNS = ("model", "quantity", "value", "low", "high", "n", "left_out")


def evidence(found: Shortcuts) -> Evidence:
    """The numbers that the claim is judged by; nothing where the base has too few samples for bins."""
    if found.note:
        return Evidence()
    gone = found.contamination
    lost = replace(gone, value=-gone.value, low=-gone.high, high=-gone.low)
    rise = found.at("degenerate", difficulty="hard")
    return Evidence(hard_share=found.hard_share, hard_shortcuts=rise, solved_before_lost=lost)


def values(problems: Sequence[Problem]) -> dict[str, list[str]]:
    """Intermediate values of each problem: a chain's running values, or the numbers of a worked solution."""
    out = {}
    for problem in problems:
        if problem.kind == "organism":
            out[problem.id] = [str(value) for value in Chain.parse(problem.prompt).values[:-1]]
        elif problem.meta.get("solution"):
            question = str(problem.meta.get("question", problem.prompt))
            out[problem.id] = worked_values(str(problem.meta["solution"]), question=question, answer=problem.answer)
    return out


def _checks(materials: Materials, options: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The corrupted step in both models' greedy texts; left out where a chat template stands between the texts."""
    config, rows = materials.config, []
    kinds = {problem.kind for problem in materials.problems}
    for model in (materials.pair.base, materials.pair.rl):
        templated = config.template == "chat" or (config.template == "auto" and model.tokenizer.chat_template)
        if templated or len(kinds) != 1:
            continue
        texts = materials.rollouts(f"{model.role}_greedy")

        def write_on(begun: Sequence[tuple[str, str]], model: Model = model) -> list[str]:
            asked = [SimpleNamespace(id=str(at), prompt="".join(pair)) for at, pair in enumerate(begun)]
            move = materials.tell(f"{model.role} writes on from a corrupted step")
            return list(generate(model, asked, progress=move, **materials.settings(template="none")).frame["text"])

        found = prefix_check(texts, write_on, kind=kinds.copy().pop(), most=CHECKED, **options)
        rows += _rows(str(model.role), found)
    return rows


def _rows(role: str, found: PrefixCheck) -> list[tuple[Any, ...]]:
    parts = (("answer unchanged", found.unchanged), ("kept when only cut", found.kept))
    return [(role, name, one.value, one.low, one.high, one.n, found.left_out) for name, one in parts]


def _numbers(value: Estimate) -> dict[str, float]:
    return {"value": value.value, "low": value.low, "high": value.high}
