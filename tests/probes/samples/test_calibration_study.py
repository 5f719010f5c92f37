"""The claim's rule, what the stage writes for texts that state a confidence, and the part of the page."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hooks.rollouts import Rollouts
from probes.evidence import Evidence
from probes.report.blocks import Figure, Fold, Heading, Table, Text
from probes.report.calibration import calibrated
from probes.report.folder import StudyReader
from probes.rules.calibration import calibration as rule
from probes.stats import Estimate
from probes.study.calibrating import calibration
from probes.study.config import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.materials import Materials
from probes.study.noted import noted
from probes.verdicts import combine
from tests.families import tokenizer


def about(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, value - half, value + half, 50, "bootstrap")


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ({"calibration_stated": 0.1}, "supported"), ({"calibration_stated": -0.1}, "contradicted"),
        ({"calibration_stated": 0.01}, "not identified"), ({}, "not measured"),
        ({"calibration_stated": 0.1, "calibration_tokens": -0.1}, "mixed"),
        ({"calibration_tokens": 0.1, "calibration_repair": -0.1, "calibration_cost": -0.1}, "supported"),
        ({"calibration_tokens": 0.1, "calibration_repair": -0.1, "calibration_cost": 0.1}, "mixed"),
    ],
)  # fmt: skip
def test_the_rule(numbers: dict[str, float], verdict: str) -> None:
    found = rule(Evidence(**{name: about(value) for name, value in numbers.items()}))
    assert combine([part.verdict for part in found]) == verdict


def texts(sure: float, right: float, *, stated: bool, seed: int) -> Rollouts:
    """Samples that are right at one rate, state one confidence and give each answer token one probability."""
    words, draw, rows = tokenizer(), np.random.default_rng(seed), []
    for problem in range(30):
        for sample in range(4):
            text = "answer 42." + (f"<confidence>{sure}</confidence>" if stated else "")
            ids = words("answer 42.", add_special_tokens=False)["input_ids"]
            rows.append(
                {
                    "problem": f"p{problem}", "sample": sample, "model": "m", "prompt": "?", "prompt_ids": [1],
                    "ids": ids, "text": text, "logp": [math.log(sure) / 2] * len(ids), "stop": "eos",
                    "author": ["x"] * len(ids),
                    "correct": bool(draw.random() < right), "answer": "42",
                }
            )  # fmt: skip
    return Rollouts.of(rows)


class Held(Materials):
    """Materials with samples in memory and a tokenizer for a pair."""

    pair: Any = SimpleNamespace(base=SimpleNamespace(tokenizer=tokenizer()))

    def __init__(self, held: dict[str, Rollouts], root: Path) -> None:
        settings = StudyConfig(base="a", rl="b", problems="x.jsonl", out=root, n_boot=200)
        super().__init__(settings, StudyFolder(root), lambda title: lambda done, total: None)
        self.held = held

    def rollouts(self, name: str) -> Rollouts:
        return self.held[name]


def materials(root: Path, *, stated: bool) -> Any:
    held = {
        "base_samples": texts(0.5, 0.5, stated=stated, seed=1), "rl_samples": texts(0.98, 0.6, stated=stated, seed=2)
    }  # fmt: skip
    return Held(held, root)


def test_the_stage_scores_both_sources_and_the_page_shows_them(tmp_path: Path) -> None:
    calibration(materials(tmp_path, stated=True))
    evidence = noted(StudyFolder(tmp_path))
    assert evidence.calibration_stated is not None
    assert evidence.calibration_stated.low > 0.2
    assert evidence.calibration_tokens is not None
    # Each answer has two tokens of half the log-probability: together the confidence that the text states.
    assert evidence.calibration_tokens.value == pytest.approx(evidence.calibration_stated.value, abs=1e-9)
    told = json.loads((tmp_path / "results" / "calibration.json").read_text())
    assert told["constant"]["stated"] == {"base": 0.5, "rl": 0.98}
    blocks = calibrated(StudyReader(tmp_path))
    kinds = [type(block) for block in blocks]
    assert kinds[:2] == [Heading, Figure]
    assert kinds.count(Table) == 2
    assert kinds[-1] is Fold
    assert any(isinstance(block, Text) and "nearly always has the confidence 0.98" in block.text for block in blocks)


def test_texts_that_state_nothing_are_scored_by_their_answers_tokens(tmp_path: Path) -> None:
    calibration(materials(tmp_path, stated=False))
    evidence = noted(StudyFolder(tmp_path))
    assert evidence.calibration_stated is None
    assert evidence.calibration_tokens is not None
    tables = [block for block in calibrated(StudyReader(tmp_path)) if isinstance(block, Table)]
    assert [table.caption for table in tables] == ["How well confidence fits: probability of the answer's tokens"]
    assert "–" in str(tables[0])


def test_a_study_without_it_shows_nothing(tmp_path: Path) -> None:
    assert calibrated(StudyReader(tmp_path)) == []
