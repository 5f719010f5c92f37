r"""Which single texts look like shortcuts?  Bare answers, skipped computation, values that never appear.

Of each text: does it announce its answer more than once, does it end in a loop, how much of it repeats
(:mod:`probes.samples.repetition`); does the answer stand there *bare*, that is, announced within the first tenth of the
text, or with neither an operation nor more than a few words before it; how many operations it writes for each answer
it announces; and which share of the given intermediate values it mentions.

Computation is *skipped* where a text is shorter than the lower tenth of the base's texts on the same problem and has
fewer operations than their median (arXiv 2605.28388 names the shortcut; the definition is ours). A base text is held
against the base's other texts; another model's text against each such set of others in turn, on average, so that an
unchanged model scores what the base scores.

What it does not show: that a computation was not done. A text may skip what its model works out inside; the check by
a corrupted step (:mod:`probes.samples.shortcuts_prefix`) asks that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from hooks.rollouts import Rollouts
from probes.samples.repetition import first_statement, repeat_ratios, statements, tail_loops
from probes.tasks.reading import as_number, numbers

EARLY = 0.1
"""Share of the characters within which an announced answer is early."""
FEW_WORDS = 6
"""Words before an answer that are no reasoning yet."""
SHORT = 0.1
"""Quantile of the base's lengths below which a text is short."""

_OPERATION = re.compile(r"[=+*/×·÷]|\\(?:frac|times|cdot|div)\b|(?<=[\d)}\s])[-−](?=[\d({\\\s])")
_TAG = re.compile(r"<[^<>]{0,40}>")


def operations(text: str) -> int:
    r"""Signs of arithmetic in a text: = + * / × · ÷, a minus between values, ``\frac``, ``\times``, and their like.

    It does not show whether they are right, and takes dashes between spaces for a minus.
    """
    return sum(1 for _ in _OPERATION.finditer(text))


def bare(text: str) -> bool:
    """Whether the answer comes without reasoning: announced at once, or a few words and a number, no operation.

    Where a text closes its reasoning with ``</think>``, that reasoning counts.
    """
    stripped = _TAG.sub(" ", text).strip()
    at = first_statement(text)
    if at is None:
        short = len(stripped.split()) <= FEW_WORDS and any(letter.isdigit() for letter in stripped)
        # "7 + 9 = 16" shows its work; "x = 3/4" does not.
        return short and not operations(stripped.rpartition("=")[0])
    before = _TAG.sub(" ", text[:at])
    nothing = len(before.split()) < FEW_WORDS and not operations(before)
    return nothing or at <= EARLY * len(text)


def coverage(text: str, values: Sequence[str]) -> float:
    """Share of these values that the text mentions as numbers; NaN where no value is given.

    It does not show that they were computed: a value may stand in the question.
    """
    wanted = {found for value in values if (found := as_number(value)) is not None}
    if not wanted:
        return float("nan")
    written = {as_number(number.text) for number in numbers(text)}
    return len(wanted & written) / len(wanted)


def worked_values(solution: str, *, question: str = "", answer: str = "") -> list[str]:
    """The intermediate values of a worked solution: its numbers that are neither given in the question nor the answer.

    It does not show which of them a solution needs.
    """
    known = {as_number(number.text) for number in numbers(question)} | {as_number(answer)}
    found = [number.text for number in numbers(solution) if as_number(number.text) not in known | {None}]
    return list({as_number(text): text for text in found}.values())


def signs(rollouts: Rollouts, *, values: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
    """A row a text, in the order of the rollouts: what its text alone shows.

    Columns ``problem``, ``correct``, ``tokens`` (of the text; characters where it has no ids), ``answer repeated``,
    ``tail loop``, ``bare answer``, ``degenerate`` (any of these three), ``repeat ratio``, ``operations`` (for each
    announced answer), ``coverage`` (missing without ``values``).

    Args:
        rollouts: samples; ungraded ones have a missing ``correct``.
        values: intermediate values of each problem, as text.

    It does not show why a text looks as it does.
    """
    frame = rollouts.frame
    texts = list(frame["text"])
    # Without ids, characters stand in for tokens: loops and n-grams are then those of letters.
    ids = [
        (own[:-1] if stop == "eos" else own) or [ord(letter) for letter in text]
        for own, stop, text in zip(frame["ids"], frame["stop"], texts, strict=True)
    ]
    announced = np.array([statements(text) for text in texts])
    table = pd.DataFrame(
        {
            "problem": frame["problem"].to_numpy(),
            "correct": frame["correct"].astype("Float64").to_numpy(dtype=float, na_value=np.nan),
            "tokens": np.array([len(own) for own in ids], dtype=float),
            "answer repeated": (announced > 1).astype(float),
            "tail loop": (tail_loops(ids) > 0).astype(float),
            "bare answer": np.array([bare(text) for text in texts], dtype=float),
        }
    )
    table["degenerate"] = table[["answer repeated", "tail loop", "bare answer"]].max(axis=1)
    table["repeat ratio"] = repeat_ratios(ids)
    table["operations"] = np.array([operations(text) for text in texts]) / np.maximum(announced, 1)
    known = values or {}
    found = [coverage(text, known.get(name, ())) for name, text in zip(frame["problem"], texts, strict=True)]
    table["coverage"] = np.array(found, dtype=float)
    return table


def skipped(table: pd.DataFrame, base: pd.DataFrame, *, same: bool) -> Float[np.ndarray, "text"]:
    """How surely each text skips computation, 0 to 1, held against the base's texts on the same problem.

    Args:
        table: :func:`signs` of the texts.
        base: :func:`signs` of the base's.
        same: whether the texts are the base's own, in which case each is held against the others.

    Returns:
        a value a text; NaN where the base has fewer than two texts of the problem.

    It does not show a computation that was skipped by all texts alike.
    """
    out = np.full(len(table), np.nan)
    rows = _places(base)
    lengths, counts = (base[name].to_numpy(dtype=float) for name in ("tokens", "operations"))
    own = {name: table[name].to_numpy(dtype=float) for name in ("tokens", "operations")}
    for problem, at in _places(table).items():
        others = rows.get(problem, np.zeros(0, dtype=np.int64))
        if len(others) < 2:
            continue
        rest = others[_without_each(len(others))]
        short, usual = np.quantile(lengths[rest], SHORT, axis=1), np.median(counts[rest], axis=1)
        hit = (own["tokens"][at][:, None] < short) & (own["operations"][at][:, None] < usual)
        out[at] = np.diagonal(hit) if same else hit.mean(axis=1)
    return out


def _places(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The rows of each problem."""
    return {str(name): np.asarray(rows) for name, rows in table.groupby("problem").indices.items()}


def _without_each(n: int) -> np.ndarray:
    """Row i holds all places but the i-th."""
    whole = np.broadcast_to(np.arange(n), (n, n))
    return whole[~np.eye(n, dtype=bool)].reshape(n, n - 1)
