"""Every published text, none left out: grading, formats, shortcuts, pass@k and votes, beside the published figures.

The published judge is a large model that passes many texts which break off before any answer; the grader does not.
"""

from __future__ import annotations

import json

import pandas as pd
import pytest

from hooks.rollouts import Rollouts
from probes.samples import calibration, formats, majority, passk, shortcuts, verbalised, writing
from probes.samples.formats_of_texts import echo_format
from probes.samples.repetition import statements
from probes.tasks import Problem, grade, load
from tests.probes.samples.test_real_texts import DATA, published, rollouts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the published model outputs are not at {DATA}"),
]
FORMATS = {"prose", "list", "latex steps", "code", "failed-code", "empty"}
RUNS = sorted(path.name for path in (DATA / "hybrid").glob("*.json")) if DATA.is_dir() else []


def accuracy(graded: Rollouts) -> float:
    return float(graded.frame["correct"].astype(float).mean())


def measured(base: Rollouts, rl: Rollouts, contrast: dict[str, Rollouts]) -> dict[str, float]:
    """Every measure of the room that takes texts alone, with what must hold of any texts."""
    tries = passk(base, rl, contrast=contrast, n_boot=200)
    votes = majority(base, rl, contrast=contrast, n_boot=200)
    signs = shortcuts(base, rl, contrast=contrast, n_boot=200)
    shares = formats({0: base, 1: rl}, contrast={name: {0: base, 1: one} for name, one in contrast.items()}, n_boot=200)
    written = writing({"base": base, "rl": rl}, contrast=contrast, n_boot=200)
    assert tries.at(1).value == pytest.approx(votes.at(1).value) == pytest.approx(signs.at("accuracy").value)
    assert tries.n_problems == base.frame["problem"].nunique()
    assert set(shares.frame["format"]) <= FORMATS
    assert (shares.frame.groupby("step")["share"].sum() - 1).abs().max() < 1e-9
    ends = signs.frame[signs.frame["arm"].isin(("base", "rl"))]
    assert (ends["low"] <= ends["value"] + 1e-12).all()
    assert (ends["value"] <= ends["high"] + 1e-12).all()
    for result in (tries, votes, signs, shares, written):
        assert str(result)
        assert result.plot().data
    if contrast:
        assert all(
            one is not None and set(one["contrast"]) == set(contrast)
            for one in (tries.contrasts, votes.contrasts, signs.contrasts, shares.contrasts)
        )
    return {
        "base": tries.at(1, "base").value, "rl": tries.at(1, "rl").value,
        "degenerate, base": signs.at("degenerate", "base").value, "degenerate, rl": signs.at("degenerate", "rl").value,
        "bare, base": signs.at("bare answer", "base").value, "looped, base": signs.at("tail loop", "base").value,
    }  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_whole_published_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    problems, arms = published(name, None)
    told = json.loads((DATA / "hybrid" / name).read_text(encoding="utf-8"))["results"]["accuracy"]
    for model, graded in arms.items():
        assert graded.frame["correct"].notna().mean() > 0.99
        # What the grader passes less than the judge are texts that break off before they announce an answer.
        texts = graded.frame
        silent = texts["text"].map(statements).eq(0) & ~texts["correct"].fillna(False).astype(bool)
        judged = told[model] / 100
        assert accuracy(graded) <= judged + 0.03, model
        assert accuracy(graded) + silent.mean() >= judged - 0.03, (model, accuracy(graded), silent.mean(), judged)
        assert {echo_format(text) for text in graded.frame["text"]} <= {"text", "tinygsm-code", "failed-code"}
    base, rl = arms.get("base_model", arms["hybrid_model"]), arms.get("thinking_model", arms["hybrid_model"])
    found = measured(base, rl, {"hybrid": arms["hybrid_model"]})
    with capsys.disabled():
        said = {key: round(one, 3) for key, one in found.items()}
        print(f"\n{name}: {len(problems)} problems, {said}, judged {told}")
    if "llama" in name:
        assert found["rl"] > found["base"] + 0.3
    assert found["bare, base"] < 0.2


def test_all_confident_models(capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.read_parquet(DATA / "rlcr_math500.parquet")
    problems = [
        Problem(str(row.unique_id), str(row.problem), str(row.answer), "math", {"question": str(row.problem)})
        for row in table.itertuples()
    ]
    names = ("Base", "RLVR", "RLVR-Classifier", "Answer-Prob", "RLCR")
    ids = [problem.id for problem in problems]
    arms = {name: grade(rollouts(name, dict(zip(ids, table[f"{name}-output_0"].map(str)))), problems) for name in names}
    judged = {name: float(table[f"{name}-evals"].map(lambda one: bool(one[0])).mean()) for name in names}
    found = measured(arms["Base"], arms["RLVR"], {name: arms[name] for name in names[2:]})
    sure = {name: verbalised(one, percent=True) for name, one in arms.items()}
    fits = calibration({"base": sure["Base"], "rl": sure["RLVR"]}, contrast={"RLCR": sure["RLCR"]}, n_boot=200)
    with capsys.disabled():
        ours = {name: (round(accuracy(one), 3), round(judged[name], 3)) for name, one in arms.items()}
        print(f"\nRLCR outputs, ours and the published judgement: {ours}; {found}; {fits.headline()}")
    for name, one in arms.items():
        # That evaluation compares more strictly: what it passes passes here, and up to a fifth more does.
        assert judged[name] - 0.02 <= accuracy(one) <= judged[name] + 0.25, name
    assert fits.contrasts.set_index("quantity").loc["ece", "difference_low"] > 0


@pytest.mark.parametrize("name", ["gsm8k", "math500", "svamp"])
def test_whole_sets_of_problems_grade_their_own_solutions(name: str) -> None:
    problems = load(DATA / f"{name}.jsonl")
    said = {problem.id: str(problem.meta.get("solution") or f"The answer is {problem.answer}.") for problem in problems}
    graded = grade(rollouts("gold", said), problems)
    assert len(problems) == {"gsm8k": 1319, "math500": 500, "svamp": len(problems)}[name]
    assert accuracy(graded) > 0.97
    found = measured(graded, graded, {})
    assert found["looped, base"] < 0.01
    assert found["bare, base"] == (1 if name == "svamp" else pytest.approx(0, abs=0.06))
