"""Real texts of published models run through grading, formats, shortcuts and pass@k, and say sensible things."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from hooks.rollouts import Rollouts
from probes.samples import formats, passk, shortcuts
from probes.samples.formats_of_texts import general_format
from probes.samples.shortcuts_signs import bare, signs, worked_values
from probes.tasks import Problem, grade, load
from probes.tasks.loading import reference

DATA = Path(__file__).parents[3].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the published model outputs are not at {DATA}")
FEW = 60
"""Texts of each file; grading mathematics takes a few milliseconds a text."""


def rollouts(model: str, texts: dict[str, str]) -> Rollouts:
    return Rollouts.of(
        {
            "problem": problem, "sample": 0, "model": model, "prompt": problem, "prompt_ids": [], "ids": [],
            "text": text, "logp": [], "stop": None, "author": [],
        }
        for problem, text in texts.items()
    )  # fmt: skip


def published(name: str, most: int | None = FEW) -> tuple[list[Problem], dict[str, Rollouts]]:
    """Problems and texts of one published run; models without texts are left out."""
    tasks = json.loads((DATA / "hybrid" / name).read_text(encoding="utf-8"))["tasks"][:most]
    problems = {
        f"q{at}": Problem(f"q{at}", task["question"], reference(task["correct_answer"], "math"), "math",
                          {"question": task["question"], "solution": task["correct_answer"]})
        for at, task in enumerate(tasks)
    }  # fmt: skip
    models = ("base_model", "thinking_model", "hybrid_model")
    texts = {model: {f"q{at}": str(task["model_answers"][model]) for at, task in enumerate(tasks)} for model in models}
    written = {model: rollouts(model, own) for model, own in texts.items() if any(own.values())}
    return list(problems.values()), {model: grade(own, list(problems.values())) for model, own in written.items()}


@pytest.mark.parametrize(
    "name",
    [
        "benchmark_results_llama-3.1-8b_gsm8k.json",
        "benchmark_results_qwen2.5-32b_gsm8k.json",
        "benchmark_results_qwen2.5-32b_math500.json",
    ],
)
def test_published_pairs_run_through(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    problems, arms = published(name)
    base, rl = arms["base_model"], arms["thinking_model"]
    values = {
        problem.id: worked_values(problem.meta["solution"], question=problem.prompt, answer=problem.answer)
        for problem in problems
    }
    found = shortcuts(base, rl, values=values, n_boot=200)
    shares = formats({0: base, 1: rl}, n_boot=200)
    tries = passk(base, rl, n_boot=200)
    with capsys.disabled():
        print(f"\n{name}\n{found}\n{shares}\n{tries}")
    assert tries.n_problems >= len(problems) - 2
    assert tries.at(1).value > (0.2 if "llama" in name else -0.1)
    assert found.at("accuracy").value == pytest.approx(tries.at(1).value)
    assert found.at("length ratio", "rl / base").value > 0
    assert "need > 8" in found.note
    assert 0 <= found.at("degenerate", "base").value <= 1
    assert shares.collapse is None
    assert set(shares.frame["format"]) <= {"prose", "list", "latex steps", "code", "failed-code", "empty"}
    assert (shares.frame.groupby("step")["share"].sum() - 1).abs().max() < 1e-9


def test_a_run_with_one_arm_runs_through() -> None:
    _, arms = published("benchmark_results_qwen2.5-32b_math500_random-vectors.json")
    assert list(arms) == ["hybrid_model"]
    own = arms["hybrid_model"]
    assert 0.4 < own.frame["correct"].mean() <= 1
    found = shortcuts(own, own, n_boot=50)
    assert found.at("degenerate").value == 0
    assert formats({0: own, 1: own}, n_boot=50).rise.value == 0


def test_confident_models_run_through(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_parquet(DATA / "rlcr_math500.parquet").head(150)
    problems = [
        Problem(f"m{at}", str(row.problem), str(row.answer), "math", {"question": str(row.problem)})
        for at, row in enumerate(frame.itertuples())
    ]
    arms = {}
    for model in ("Base", "RLVR", "RLCR"):
        texts = dict(zip([problem.id for problem in problems], frame[f"{model}-output_0"].map(str), strict=True))
        arms[model] = grade(rollouts(model, texts), problems)
        judged = frame[f"{model}-evals"].map(lambda entry: bool(entry[0])).to_numpy()
        passed = arms[model].frame["correct"].fillna(False).to_numpy(dtype=bool)
        # The published script compares more strictly: what it passes should pass here, and a little more does.
        assert passed[judged].mean() > 0.9, model
        assert passed.mean() >= judged.mean() - 0.02, model
    found = shortcuts(arms["Base"], arms["RLVR"], contrast={"RLCR": arms["RLCR"]}, n_boot=200)
    with capsys.disabled():
        print(f"\nRLCR outputs, Base to RLVR\n{found}\n{found.contrasts}")
    assert found.contrasts is not None
    assert {"accuracy, rl - base", "degenerate, rl - base"} <= set(found.contrasts["quantity"])
    assert len(formats({0: arms["Base"], 1: arms["RLVR"]}, n_boot=50).frame)
    assert passk(arms["Base"], arms["RLVR"], n_boot=50).n_problems == 150


@pytest.mark.parametrize(("name", "share"), [("gsm8k", 0.02), ("math500", 0.05)])
def test_worked_solutions_are_no_shortcuts(name: str, share: float) -> None:
    problems = load(DATA / f"{name}.jsonl", n=200)
    solutions = {problem.id: str(problem.meta["solution"]) for problem in problems if "solution" in problem.meta}
    assert len(solutions) == 200
    graded = grade(rollouts("gold", solutions), problems)
    assert graded.frame["correct"].mean() > 0.97
    values = {
        problem.id: worked_values(solutions[problem.id], question=problem.prompt, answer=problem.answer)
        for problem in problems
    }
    table = signs(graded, values=values)
    assert table["tail loop"].sum() <= 1
    assert table["bare answer"].mean() <= share
    assert table["coverage"].dropna().min() == 1
    assert {general_format(text) for text in solutions.values()} <= {"prose", "list", "latex steps", "code"}


def test_bare_answers_to_word_problems_are_found() -> None:
    problems = load(DATA / "svamp.jsonl", n=100)
    assert all(bare(f"The answer is {problem.answer}.") for problem in problems)
    assert all(general_format(problem.prompt) == "prose" for problem in problems)
    worked = rollouts("m", {problem.id: f"The answer is {problem.answer}." for problem in problems})
    found = shortcuts(grade(worked, problems), grade(worked, problems), n_boot=50)
    assert found.at("bare answer", "base").value == 1
    assert found.at("accuracy", "base").value > 0.97
