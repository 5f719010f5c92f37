"""The stage of contrasts: what it fills from a second run, killed anywhere, and what the page says with and without."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from probes.claims import judge
from probes.evidence import Evidence
from probes.report.blocks import Absent, Figure, Fold, Table, Text
from probes.report.contrasts import contrasted
from probes.report.folder import StudyReader
from probes.stats import Estimate
from probes.study.config import StudyConfig
from probes.study.contrast_rows import COLUMNS, lined_up
from probes.study.contrasting import STATED, contrasts, evidence, signed
from probes.study.materials import Materials
from probes.study.moved import weights
from probes.study.suppressing import suppression
from probes.study.written import rollouts
from tests.families import tiny
from tests.probes.study.stages import check_killed_and_run_again, materials


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    folder = tmp_path_factory.mktemp("contrasts")
    base = tiny("qwen2", path=folder / "base")
    rl = tiny("qwen2", path=folder / "rl", perturb=0.15)
    other = tiny("qwen2", path=folder / "random", perturb=0.05)
    lines = [{"question": f"what is {i} + {i + 1}?", "answer": str(2 * i + 1)} for i in range(8)]
    problems = folder / "problems.jsonl"
    problems.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return StudyConfig(
        base=str(base), rl=str(rl), problems=str(problems), out=folder / "whole", n_problems=8, samples=4,
        max_new_tokens=10, n_boot=100, contrast={"random": str(other), "medium": str(rl)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(config: StudyConfig) -> Materials:
    made = materials(config)
    for before in (rollouts, suppression, weights):
        before(made)
    shutil.copytree(config.out, config.out.parent / "before")
    contrasts(made)
    return made


def test_every_role_stands_beside_the_pair(whole: Materials) -> None:
    frame = whole.folder.read("contrasts")
    assert tuple(frame) == COLUMNS
    assert list(dict.fromkeys(frame["role"])) == ["random", "medium"]
    assert {"pass@k", "shortcuts", "formats"} <= set(frame.loc[frame["role"] == "medium", "measure"])
    # Only a role that is more than a second run reads texts and weights.
    assert "reflection" in set(frame.loc[frame["role"] == "random", "measure"])
    assert "reflection" not in set(frame.loc[frame["role"] == "medium", "measure"])
    assert set(whole.folder.read("contrasts_weights")["role"]) == {"random"}
    # A contrast that is the tuned model itself differs from it in nothing.
    same = frame[(frame["role"] == "medium") & frame["difference"].notna()]
    assert (same["difference"] == 0).all()
    assert (same["ours"] == same["contrast"]).all()
    assert not whole.path("contrast-medium").exists()


def test_weights_are_those_of_the_contrast(whole: Materials) -> None:
    rows = whole.folder.read("contrasts_weights").set_index("quantity")
    assert 0 <= rows.loc["unchanged_exact", "contrast"] < 1
    own = whole.folder.read_json("weights")
    assert rows.loc["unchanged_exact", "ours"] == own["unchanged_bf16"]


@pytest.mark.parametrize("nth", [1, pytest.param(3, marks=pytest.mark.slow), 5])
def test_killed_and_run_again_gives_identical_tables(nth: int, whole: Materials, tmp_path: Path) -> None:
    before = whole.folder.root.parent / "before"
    check_killed_and_run_again(contrasts, nth, whole, before, tmp_path / "killed")


def test_the_page_shows_each_contrast_and_says_what_none_needs(whole: Materials, tmp_path: Path) -> None:
    blocks = contrasted(StudyReader(whole.folder.root))
    assert {Text, Figure, Table, Fold} <= {type(block) for block in blocks}
    said = " ".join(block.text for block in blocks if isinstance(block, Text))
    assert "4 samples on each of the pair's 8 problems" in said
    assert "a random reward by" in said
    (absent,) = (block for block in contrasted(StudyReader(tmp_path)) if isinstance(block, Absent))
    assert "--contrast random=CHECKPOINT" in absent.needs


def test_without_contrasts_nothing_is_written(config: StudyConfig, tmp_path: Path) -> None:
    contrasts(materials(config.model_copy(update={"out": tmp_path / "none", "contrast": {}})))
    assert not (tmp_path / "none").exists()


def row(role: str, measure: str, quantity: str, difference: float) -> dict[str, Any]:
    numbers = dict.fromkeys(COLUMNS, math.nan) | {
        "role": role,
        "measure": measure,
        "quantity": quantity,
        "unit": "points",
    }
    ends = {"difference": difference, "difference_low": difference - 0.1, "difference_high": difference + 0.2, "n": 9}
    return numbers | ends


@pytest.mark.parametrize(("role", "sign"), [("medium", 1), ("hard", -1)])
def test_hard_minus_medium_whichever_of_them_the_pair_is(role: str, sign: int) -> None:
    table = pd.DataFrame(
        [row(role, "shortcuts", "degenerate, rl - base", 0.5), row(role, "pass@k", "pass@1, rl - base", -0.4)]
    )
    found = evidence(table)
    assert found.hard_over_medium is not None
    assert found.medium_over_hard is not None
    assert found.hard_over_medium.value == pytest.approx(0.5 * sign)
    assert found.medium_over_hard.value == pytest.approx(0.4 * sign)
    assert found.hard_over_medium.low < found.hard_over_medium.value < found.hard_over_medium.high
    assert found.medium_over_hard.high - found.medium_over_hard.value == pytest.approx(0.1 if sign > 0 else 0.2)
    assert found.calibration_repair is None


@pytest.mark.parametrize(("role", "sign"), [("binary", 1), ("brier", -1)])
def test_brier_minus_binary_whichever_of_them_the_pair_is(role: str, sign: int) -> None:
    rows = [
        row(role, "confidence, of answer tokens", "ece", 7.0), row(role, STATED, "ece", -0.3),
        row(role, "pass@k", "pass@1, rl - base", 0.05),
    ]  # fmt: skip
    found = evidence(pd.DataFrame(rows))
    assert found.calibration_repair is not None
    assert found.calibration_cost is not None
    assert found.calibration_repair.value == pytest.approx(-0.3 * sign)
    assert found.calibration_cost.value == pytest.approx(-0.05 * sign)
    # Only a stated confidence can be trained by a Brier term.
    assert evidence(pd.DataFrame([rows[0], rows[2]])).calibration_repair is None


def test_beside_two_runs_a_question_that_cannot_be_asked_is_left_aside() -> None:
    def at(value: float) -> Estimate:
        return Estimate(value, value - 0.05, value + 0.05, 100, "made")

    alone = Evidence(hard_shortcuts=at(0.3), solved_before_lost=at(0.2), hard_share=at(0.1))
    two = replace(alone, hard_over_medium=at(0.5), medium_over_hard=at(0.4))
    told = {key: {claim.key: claim for claim in judge(one)}["difficulty"] for key, one in (("1", alone), ("2", two))}
    assert told["1"].verdict == "not identified"
    assert told["2"].verdict == "supported"
    assert [part.verdict for part in told["2"].findings[2:]] == ["not measured"] * 2
    asked = replace(two, hard_share=at(0.6), hard_shortcuts=at(-0.3))
    assert {claim.key: claim.verdict for claim in judge(asked)}["difficulty"] == "mixed"


def test_a_sign_turns_the_ends_round() -> None:
    one = Estimate(0.2, 0.1, 0.5, 9, "made")
    assert signed(one, 1) is one
    turned = signed(one, -1)
    assert (turned.value, turned.low, turned.high) == (-0.2, -0.5, -0.1)


def test_rows_line_up_by_quantity() -> None:
    beside = pd.DataFrame(
        [("random", "x", 1.0, 0.5, 1.5, 2.0, 1.0, 3.0, 7)],
        columns=[
            "contrast",
            "quantity",
            "value",
            "low",
            "high",
            "difference",
            "difference_low",
            "difference_high",
            "n",
        ],
    )
    found = lined_up("m", beside, {"x": Estimate(3.0, 2.0, 4.0, 7, "made")}, lambda _: "points").iloc[0]
    assert (found["role"], found["ours"], found["contrast"], found["difference"]) == ("random", 3.0, 1.0, 2.0)
