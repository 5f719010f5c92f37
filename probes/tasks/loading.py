"""Problems from a name or a file: shipped organisms, JSONL files of mathematics, generators of reasoning-gym.

A smaller ``n`` with the same seed is always a subset of a larger one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from hooks.organisms import ORGANISMS, PREFIX
from hooks.organisms.arithmetic import distinct
from hooks.organisms.problems import PROBLEMS, domain_of
from hooks.streams import stream
from probes.tasks.problems import KINDS, Problem, by_id

PROMPTS = {
    "plain": "{question}",
    "minimal": "Answer the following question:\nQ: {question}\nA:",
    "steps": "{question}\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
}
"""Prompts by name, for problems that are asked in words; ``{question}`` is where the question goes."""

QUESTION_FIELDS = ("question", "problem", "prompt", "query")
ANSWER_FIELDS = ("answer", "final_answer", "target", "solution")
ID_FIELDS = ("id", "unique_id", "problem_id", "idx")
GYM = "reasoning_gym:"
DEFAULT_DRAWN = 200
"""Problems that are drawn from a generator when no number is given."""


def load(
    spec: str | Path | Sequence[Problem],
    *,
    n: int | None = None,
    seed: int = 0,
    prompt: str = "plain",
    kind: str | None = None,
) -> list[Problem]:
    """Load problems.

    Args:
        spec: ``organism:latent`` (chains drawn at random, distinct; ``organism:hard:medium`` draws another of the sets
            that the organism has; ``organism:smollm2`` has held-out arithmetic), ``reasoning_gym:chain_sum`` (a
            generator and its verifier), the path of a JSONL file with a question (``question``, ``problem`` or
            ``prompt``; SVAMP's ``Body`` and ``Question`` are joined) and an ``answer`` (GSM8K's worked answers end
            after ``####``), or a list of problems, which is checked and cut.
        n: how many; None takes a file whole and draws 200 from a generator.  Problems of a file are a random subset in
            the file's order.
        seed: of the draw.
        prompt: name in :data:`PROMPTS` or a text with ``{question}``, for files and reasoning-gym.
        kind: verifier for a file's problems; None reads the row's ``kind`` field, or takes them for mathematics.

    Returns:
        problems with distinct ids.

    Raises:
        FileNotFoundError: if the spec is neither a known name nor a file.
        ValueError: for a malformed line (naming file and line), fewer problems than asked for, or an unknown name.
    """
    if n is not None and n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if not isinstance(spec, (str, Path)):
        problems = list(spec)
        by_id(problems)
        return _some(problems, n, seed, "the list")
    name = str(spec)
    if name.startswith(PREFIX):
        return _chains(name, DEFAULT_DRAWN if n is None else n, seed)
    if name.startswith(GYM):
        return _generated(name, DEFAULT_DRAWN if n is None else n, seed, _template(prompt))
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"there are no problems at {name!r}; give a JSONL file, 'organism:latent' or 'reasoning_gym:<name>'"
        )
    return _some(_rows(path, _template(prompt), kind), n, seed, str(path))


def _template(prompt: str) -> str:
    template = PROMPTS.get(prompt, prompt)
    if "{question}" not in template:
        raise ValueError(f"prompt {prompt!r} is none of {', '.join(PROMPTS)} and has no {{question}} in it")
    return template


def _ask(template: str, question: str) -> str:
    return template.replace("{question}", question).replace("{{", "{").replace("}}", "}")


def _some(problems: list[Problem], n: int | None, seed: int, source: str) -> list[Problem]:
    if n is None:
        return problems
    if n > len(problems):
        raise ValueError(f"{n} problems were asked for, but {source} has only {len(problems)}; ask for fewer")
    order = stream(seed, "problems").permutation(len(problems))
    return [problems[index] for index in sorted(order[:n])]


def _chains(name: str, n: int, seed: int) -> list[Problem]:
    short, _, asked = name.removeprefix(PREFIX).partition(":")
    if short not in ORGANISMS:
        raise ValueError(f"there is no organism {short!r}; the package ships {', '.join(ORGANISMS)}")
    sets = ORGANISMS[short].problems
    if asked and asked not in (*sets, *ORGANISMS[short].members):
        raise ValueError(f"organism {short!r} has no problems {asked!r}; it has {', '.join(sets)}")
    if ORGANISMS[short].fetched:
        return _sums(name, n, seed)
    draw = PROBLEMS[asked if asked in sets else sets[0]]
    rng = Random(int(stream(seed, "organism problems").integers(2**62)))
    seen: dict[str, Problem] = {}
    for _ in range(20 * n):
        chain = draw(rng)
        meta = {"domain": domain_of(chain)} if draw is PROBLEMS["both"] else {}
        problem = Problem(chain.expression, chain.prompt, str(chain.answer), "organism", meta)
        seen.setdefault(problem.id, problem)
        if len(seen) == n:
            return list(seen.values())
    raise ValueError(f"{n} problems were asked for, but {name} seems to have only {len(seen)}; ask for fewer")


def _sums(name: str, n: int, seed: int) -> list[Problem]:
    """Held-out arithmetic for the real language model, distinct."""
    drawn = distinct(seed, "held out", n)
    if len(drawn) < n:
        raise ValueError(f"{n} problems were asked for, but {name} seems to have only {len(drawn)}; ask for fewer")
    return [
        Problem(
            one.expression, one.question, one.answer, "math",
            {"kind": one.kind, "solution": one.worked(), "question": one.question},
        )
        for one in drawn
    ]  # fmt: skip


def _generated(name: str, n: int, seed: int, template: str) -> list[Problem]:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    task = name.removeprefix(GYM)
    if task not in DATASETS:
        raise ValueError(f"reasoning-gym has no task {task!r}; it has {', '.join(sorted(DATASETS))}")
    entries = reasoning_gym.create_dataset(task, size=n, seed=seed)
    return [
        Problem(
            f"{task}-{seed}-{index}", _ask(template, entry["question"]), str(entry["answer"]), name, {"entry": entry}
        )
        for index, entry in enumerate(entries)
    ]


def _rows(path: Path, template: str, kind: str | None) -> list[Problem]:
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                problem = _problem(json.loads(line), path.stem, number, template, kind)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
            if problem.id in lines:
                raise ValueError(
                    f"{path}, line {number}: the id {problem.id!r} stands in line {lines[problem.id]} already"
                )
            lines[problem.id] = number
            problems.append(problem)
    if not problems:
        raise ValueError(f"{path} holds no problem; each line is a JSON object with a question and an answer")
    return problems


def _problem(row: Any, stem: str, number: int, template: str, kind: str | None) -> Problem:
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object is needed, not {type(row).__name__}")
    fields = {key.lower(): value for key, value in row.items()}
    question_field = _first(fields, QUESTION_FIELDS, "question")
    answer_field = _first(fields, ANSWER_FIELDS, "answer")
    question = str(fields[question_field]).strip()
    if fields.get("body"):
        body = str(fields["body"]).strip()
        question = f"{body}{'' if body.endswith(('.', '?', '!')) else '.'} {question}"
    id_field = next((name for name in ID_FIELDS if fields.get(name) is not None), None)
    found = kind or str(fields.get("kind", "math"))
    if found not in KINDS:
        raise ValueError(f"unknown kind {found!r}; it is one of {', '.join(KINDS)}")
    used = {question_field, answer_field, id_field, "body", "kind"}
    meta = {key: value for key, value in row.items() if key.lower() not in used} | {"question": question}
    worked = str(fields[answer_field])
    if "####" in worked:
        meta["solution"] = worked
    identity = f"{stem}-{number}" if id_field is None else str(fields[id_field])
    if id_field == "idx":
        identity = f"{stem}-{identity}"
    return Problem(identity, _ask(template, question), reference(worked, found), found, meta)


def _first(fields: dict[str, Any], names: Sequence[str], what: str) -> str:
    for name in names:
        if fields.get(name) not in (None, ""):
            return name
    raise ValueError(
        f"no {what}: none of the fields {', '.join(names)} is there (found: {', '.join(fields) or 'none'})"
    )


def reference(answer: str, kind: str) -> str:
    """The bare right answer of a file's answer field.

    What follows ``####`` in a worked answer, or the last box of a solution in LaTeX; a whole number written as
    ``145.0`` loses its zero, thousands lose their commas.
    """
    from probes.tasks.reading import as_number, last_boxed

    bare = answer.rpartition("####")[2].strip()
    if kind != "math":
        return bare
    boxed = last_boxed(bare)
    bare = bare if boxed is None else boxed
    number = as_number(bare)
    if number is None or "/" in bare:
        return bare
    return str(number.numerator) if number.denominator == 1 else bare.replace(",", "")
