"""Verdicts: symmetric cases, verifiers that fail, and agreement with judgements published by others."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pandas as pd
import pytest

from hooks.rollouts import Rollouts
from probes.tasks import Problem, agreement, grade, load, plain_equal, verify
from probes.tasks.loading import reference

DATA = Path(__file__).parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"published outputs are not at {DATA}")


def rollouts(*rows: tuple[str, str]) -> Rollouts:
    empty = {"model": "m", "prompt": "", "prompt_ids": [], "ids": [], "logp": [], "author": [], "stop": "eos"}
    return Rollouts.of(
        {**empty, "problem": name, "sample": index, "text": text} for index, (name, text) in enumerate(rows)
    )


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("0.5", "\\frac{1}{2}", True),
        ("\\frac{1}{2}", "0.5", True),
        ("\\$1,000", "1000", True),
        ("50\\%", "50", True),
        ("(3, π/2)", "\\left( 3, \\frac{\\pi}{2} \\right)", True),
        ("3√13", "3\\sqrt{13}", True),
        ("sqrt(21)/5", "\\frac{\\sqrt{21}}{5}", True),
        ("2k + 2", "2k+2", True),
        ("(a+5)(b+2)", "ab+2a+5b+10", True),
        ("x=5", "5", True),
        ("Evelyn", "\\text{Evelyn}", True),
        ("-1", "1", False),
        ("\\frac{1}{3}", "\\frac{1}{2}", False),
        ("(2, 3)", "(3, 2)", False),
        ("[0, 1]", "(0, 1)", False),
        ("Carla", "\\text{Evelyn}", False),
        ("", "5", False),
    ],
)
def test_mathematics(answer: str, gold: str, right: bool) -> None:
    verdict = verify(answer, Problem("p", "q", gold))
    assert (verdict.correct, verdict.error) == (right, None)


@pytest.mark.parametrize("answer", ["9^{9^{9^9}}", "10^{100000}", "99999!"])
def test_answers_that_could_run_away_are_not_worked_out(answer: str) -> None:
    verdict = verify(answer, Problem("p", "q", "x+1"))
    assert verdict.correct is None
    assert "too large" in str(verdict.error)


def test_an_error_of_the_verifier_is_kept_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import math_verify

    def broken(*_: object, **__: object) -> bool:
        raise RecursionError("too deep")

    monkeypatch.setattr(math_verify, "verify", broken)
    graded = grade(rollouts(("p", "\\boxed{y+1}"), ("p", "no idea at all")), [Problem("p", "q", "x+1")])
    assert graded.frame["correct"].isna().tolist() == [True, True]
    assert "RecursionError" in graded.frame["grade_error"][0]
    found = agreement(graded)
    assert found.errors == 2
    assert not found.disagreement.measured


def test_mathematics_can_be_graded_in_a_thread() -> None:
    out: list[bool | None] = []
    problem = Problem("p", "q", "x^2-1")
    thread = threading.Thread(target=lambda: out.append(verify("(x-1)(x+1)", problem).correct))
    thread.start()
    thread.join()
    assert out == [True]


def test_reasoning_gym_counts_full_marks_of_the_bare_answer_only() -> None:
    problem = load("reasoning_gym:chain_sum", n=1, seed=0)[0]
    wrong = str(int(problem.answer) + 1)
    texts = [
        f"The answer is {problem.answer}.",
        f"Long talk.\nTherefore the total is {problem.answer}.",
        f"answer: {wrong}",
    ]
    graded = grade(rollouts(*((problem.id, text) for text in texts)), [problem]).frame
    assert graded["correct"].tolist() == [True, True, False]
    assert graded["correct_plain"].isna().all()
    bare = Problem("x", "q", "1", "reasoning_gym:chain_sum")
    assert "record" in str(verify("1", bare).error)


def test_organisms_and_exact_answers() -> None:
    problems = [Problem("47+5", "47+5:", "52", "organism"), Problem("c", "Capital?", "New Delhi", "exact")]
    graded = grade(
        rollouts(
            ("47+5", "steps 47+5=52;answer 52."),
            ("47+5", "answer 53."),
            ("47+5", "steps 47+5=52;"),
            ("47+5", "answer 5=2."),
            ("c", "I believe the answer is new  delhi."),
            ("c", "The answer is Delhi."),
        ),
        problems,
    ).frame
    assert graded["correct"].tolist() == [True, False, False, False, True, False]
    assert graded["answer"][2] is None
    assert graded["extraction"][2] == "none"


def test_grading_again_changes_nothing_and_unknown_problems_are_refused() -> None:
    problem = Problem("p", "q", "4")
    once = grade(rollouts(("p", "\\boxed{4}"), ("p", "\\boxed{5}")), [problem])
    pd.testing.assert_frame_equal(grade(once, [problem]).frame, once.frame)
    with pytest.raises(ValueError, match="no problem has the id 'p'"):
        grade(once, [Problem("z", "q", "4")])
    assert len(grade(rollouts(), [problem])) == 0


def test_disagreement_is_reported() -> None:
    problem = Problem("p", "q", "x+1")
    found = agreement(grade(rollouts(("p", "\\boxed{1+x}"), ("p", "\\boxed{x+1}"), ("p", "\\boxed{x}")), [problem]))
    assert found.disagreement.value == pytest.approx(1 / 3)
    assert found.frame["answer"].tolist() == ["1+x"]
    assert "33.3%" in str(found)
    with pytest.raises(ValueError, match="grade them first"):
        agreement(rollouts(("p", "x")))
    assert plain_equal("\\dfrac12", "\\frac{1}{2}")
    assert not plain_equal(None, "1")


PUBLISHED = {
    # file: tolerance in points on the first 100 tasks (base, thinking, hybrid).  The published judge was a large model;
    # it passed texts that were cut off before any answer, which is what the wider tolerances allow for.
    "qwen2.5-32b_gsm8k": (5, 8, 5),
    "llama-3.1-8b_gsm8k": (8, 8, 8),
    "qwen2.5-32b_math500_random-vectors": (None, None, 9),
}


@needs_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_agrees_with_published_judgements(name: str) -> None:
    record = json.loads((DATA / "hybrid" / f"benchmark_results_{name}.json").read_text())
    tasks = record["tasks"][:100]
    for model, tolerance in zip(("base_model", "thinking_model", "hybrid_model"), PUBLISHED[name]):
        if tolerance is None:
            continue
        problems = [
            Problem(str(i), t["question"], reference(t["correct_answer"], "math"), meta={"question": t["question"]})
            for i, t in enumerate(tasks)
        ]
        texts = [(str(index), task["model_answers"][model]) for index, task in enumerate(tasks)]
        graded = grade(rollouts(*texts), problems).frame
        ours, published = 100 * graded["correct"].mean(), record["results"]["accuracy"][model]
        assert abs(ours - published) <= tolerance, f"{model}: {ours:.1f} here, {published:.1f} published"
        assert graded["grade_error"].isna().all()


@needs_data
def test_passes_what_a_published_string_match_passed() -> None:
    # That evaluation rejects "14/3" for \frac{14}{3} and passes "1" for -1, so only its passes are compared.
    table = pd.read_parquet(DATA / "rlcr_math500.parquet").head(120)
    problems = [Problem(row.unique_id, row.problem, row.answer) for row in table.itertuples()]
    graded = grade(rollouts(*zip(table["unique_id"], table["RLVR-output_0"])), problems).frame
    published = table["RLVR-evals"].map(lambda one: bool(one[0])).to_numpy()
    passed = graded["correct"].to_numpy(dtype=bool)
    signs = graded["answer"].str.strip("- ") == [problem.answer.strip("- ") for problem in problems]
    assert not (published & ~passed & ~signs).any()
    assert passed.mean() > published.mean()
