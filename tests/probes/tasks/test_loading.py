"""Problems from names and files: what is read, what is refused, and that draws are nested and repeatable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hooks.organisms.chains import Chain
from probes.tasks import Problem, load
from probes.tasks.loading import reference

DATA = Path(__file__).parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real problems are not at {DATA}")


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_organism_problems_are_distinct_chains_and_draws_are_nested() -> None:
    problems = load("organism:latent", n=300, seed=1)
    assert len({problem.id for problem in problems}) == 300
    assert all(str(Chain.parse(p.prompt).answer) == p.answer and p.kind == "organism" for p in problems)
    assert load("organism:latent", n=50, seed=1) == problems[:50]
    assert load("organism:latent", n=50, seed=2) != problems[:50]
    assert load("organism:sham", n=20) == load("organism:newskill", n=20)
    with pytest.raises(ValueError, match="no organism 'latnet'"):
        load("organism:latnet")


def test_reads_the_usual_fields(tmp_path: Path) -> None:
    gsm = {"question": "How many?", "answer": "2+2=<<2+2=4>>4\n#### 1,004", "idx": 7}
    latex = {
        "problem": "Find x.",
        "solution": "So \\boxed{3}",
        "answer": "\\frac{1}{2}",
        "unique_id": "t/7",
        "level": 2,
    }
    svamp = {"Body": "Ann has 3 pens", "Question": "How many pens?", "Answer": 145.0, "ID": "chal-1"}
    exact = {"prompt": "Capital?", "answer": "Paris", "kind": "exact"}
    solved = {"problem": "Find y.", "solution": "Hence $y=\\boxed{\\frac{2}{3}}$."}
    first, second, third, fourth, fifth = load(write(tmp_path / "mine.jsonl", gsm, latex, "", svamp, exact, solved))
    assert (first.id, first.answer, first.kind) == ("mine-7", "1004", "math")
    assert first.meta["solution"].startswith("2+2")
    assert (second.id, second.answer, second.meta["level"]) == ("t/7", "\\frac{1}{2}", 2)
    assert (third.id, third.answer, third.prompt) == ("chal-1", "145", "Ann has 3 pens. How many pens?")
    assert (fourth.id, fourth.answer, fourth.kind) == ("mine-5", "Paris", "exact")
    assert fifth.answer == "\\frac{2}{3}"


def test_prompts_by_name_or_by_template(tmp_path: Path) -> None:
    path = write(tmp_path / "one.jsonl", {"question": "Is {x} in S?", "answer": "4"})
    assert load(path)[0].prompt == "Is {x} in S?"
    assert load(path, prompt="minimal")[0].prompt == "Answer the following question:\nQ: Is {x} in S?\nA:"
    assert load(path, prompt="steps")[0].prompt.endswith("within \\boxed{}.")
    assert load(path, prompt="Q {question} !")[0].prompt == "Q Is {x} in S? !"
    with pytest.raises(ValueError, match=r"no \{question\}"):
        load(path, prompt="boxd")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2: Expecting property name"),
        ("[1, 2]", "line 2: a JSON object is needed, not list"),
        ('{"answer": "4"}', "line 2: no question"),
        ('{"question": "q"}', "line 2: no answer"),
        ('{"question": "q", "answer": "4", "kind": "poem"}', "line 2: unknown kind 'poem'"),
        ('{"question": "q", "answer": "4", "id": "a"}', "line 2: the id 'a' stands in line 1 already"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", {"question": "q", "answer": "1", "id": "a"}, line)
    with pytest.raises(ValueError) as caught:
        load(path)
    assert message in str(caught.value)
    assert "bad.jsonl" in str(caught.value)


def test_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="organism:latent"):
        load("gsm9k")
    with pytest.raises(ValueError, match="holds no problem"):
        load(write(tmp_path / "empty.jsonl"))
    path = write(tmp_path / "two.jsonl", {"question": "q", "answer": "1"}, {"question": "r", "answer": "2"})
    with pytest.raises(ValueError, match="only 2"):
        load(path, n=3)
    with pytest.raises(ValueError, match="at least 1"):
        load(path, n=0)


def test_a_list_of_problems_is_checked_and_cut() -> None:
    problems = [Problem(str(index), "q", "1") for index in range(20)]
    some = load(problems, n=5)
    assert len(some) == 5
    assert [int(p.id) for p in some] == sorted(int(p.id) for p in some)
    assert {p.id for p in some} <= {p.id for p in load(problems, n=9)}
    with pytest.raises(ValueError, match="distinct"):
        load([problems[0], problems[0]])
    with pytest.raises(ValueError, match="unknown kind"):
        Problem("a", "q", "1", "poem")
    with pytest.raises(ValueError, match="not empty"):
        Problem("", "q", "1")


def test_reasoning_gym_generates_with_its_record() -> None:
    problems = load("reasoning_gym:chain_sum", n=4, seed=3)
    assert [p.id for p in problems] == [f"chain_sum-3-{index}" for index in range(4)]
    assert problems[0].meta["entry"]["answer"] == problems[0].answer
    with pytest.raises(ValueError, match="no task 'chain_some'"):
        load("reasoning_gym:chain_some")


@pytest.mark.parametrize(
    ("answer", "bare"),
    [("so 4\n#### 1,234", "1234"), ("145.0", "145"), ("1/2", "1/2"), ("$18", "18"), ("2.50", "2.50"), ("x+1", "x+1")],
)
def test_reference_answers_are_bare(answer: str, bare: str) -> None:
    assert reference(answer, "math") == bare


@needs_data
@pytest.mark.parametrize(("name", "n"), [("gsm8k", 1319), ("math500", 500), ("svamp", 1000)])
def test_real_files_load_whole(name: str, n: int) -> None:
    problems = load(DATA / f"{name}.jsonl")
    assert len(problems) == n
    assert all(problem.answer and problem.prompt for problem in problems)
