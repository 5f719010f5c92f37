"""Does the answer rest on the steps that are written?  One step is corrupted and the text written on from there.

Of each text one intermediate result (a number behind an equals sign, before the answer is announced) is chosen by a
named random stream and replaced by another number of as many digits; the text is cut behind it and the model writes on.
If the answer stays what it was, the step was not used: the computation stood there for show, was done inside, or was
mended. The same text cut at the same place without the corruption is written on beside it, and only texts whose answer
survives that count. (arXiv 2605.28388 names the test; this form is ours.)

It assumes that the continuation is greedy or that its randomness is the same in both arms. What it does not show:
whether an unchanged answer was remembered or the error seen and mended; "back" or "wait" in the text tells these apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from numpy.random import Generator

from hooks.rollouts import Rollouts
from hooks.streams import stream
from probes.results import Result, manifest
from probes.samples.repetition import first_statement
from probes.stats import Estimate, bootstrap_problems
from probes.tasks import extract

WriteOn = Callable[[Sequence[tuple[str, str]]], Sequence[str]]
"""(Prompt, beginning of the answer) pairs to the texts that follow each beginning."""

_COLUMNS = (
    "problem", "sample", "step", "corrupted", "answer", "clean_answer", "corrupted_answer", "kept", "unchanged",
)  # fmt: skip
_RESULT = re.compile(r"=[ \t]{0,2}\$?(-?\d{1,9})(?![\d.,]\d)")


@dataclass(frozen=True, repr=False, eq=False)
class PrefixCheck(Result):
    """What became of the answers when a step was corrupted."""

    frame: pd.DataFrame
    """A row a text: ``problem``, ``sample``, ``step`` (as it was), ``corrupted``, ``answer``, ``clean_answer``,
    ``corrupted_answer``, ``kept`` (the clean continuation gives the same answer), ``unchanged`` (so does the corrupted
    one; missing where not kept)."""
    unchanged: Estimate
    """Share of kept texts whose answer survives the corruption: written steps that were not used."""
    kept: Estimate
    """Share of texts whose answer survives being cut and written on."""
    left_out: int
    """Texts without an intermediate result or without an answer."""

    def headline(self) -> str:
        """The share in a sentence."""
        return f"answer unchanged by a corrupted step: {self.unchanged:.1%} ({self.left_out} texts without such a step)"

    def plot(self) -> go.Figure:
        """Share of texts that keep their answer when cut, and of those that keep it with the step corrupted."""
        figure = go.Figure()
        for name, found in (("merely cut", self.kept), ("step corrupted", self.unchanged)):
            if found.measured:
                bars = {"type": "data", "symmetric": False, "array": [found.high - found.value],
                        "arrayminus": [found.value - found.low]}  # fmt: skip
                figure.add_bar(x=[name], y=[found.value], error_y=bars, showlegend=False)
        return figure.update_layout(
            template="plotly_white", yaxis={"title": "share of texts with the same answer", "range": [0, 1.02]},
            title=self.headline(),
        )  # fmt: skip


def corrupt(text: str, draw: Generator) -> tuple[str, str, str, str] | None:
    """The text up to an intermediate result, clean and corrupted, and the two numbers; None where there is none.

    It does not show that the chosen step matters for the answer.
    """
    end = first_statement(text)
    found = [match for match in _RESULT.finditer(text) if match.end(1) <= (len(text) if end is None else end)]
    if not found:
        return None
    match = found[int(draw.integers(len(found)))]
    old = match[1]
    digits = len(old.lstrip("-"))
    lowest = 10 ** (digits - 1) if digits > 1 else 0
    new = old
    while new == old:
        new = f"{'-' if old.startswith('-') else ''}{int(draw.integers(lowest, 10**digits))}"
    return text[: match.end(1)], text[: match.start(1)] + new, old, new


def prefix_check(
    rollouts: Rollouts,
    write_on: WriteOn,
    *,
    kind: str = "math",
    most: int | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> PrefixCheck:
    """Corrupt one step of each text, let the model write on, and see whether the answer changes.

    Args:
        rollouts: the texts to test, by the model that writes on.
        write_on: called once, with the clean and then the corrupted beginnings of all texts.
        kind: of the problems, see :func:`probes.tasks.extract`.
        most: texts to test at most, the first ones; all where None.
        n_boot: bootstrap draws.
        level: of the intervals.
        seed: of the choice of steps and of the draws.

    Raises:
        ValueError: ``write_on`` gives another number of texts than it was given.

    It does not show how an answer survived.
    """
    chosen: list[tuple[str, int, str, str, str, str, str, str]] = []
    left_out = 0
    for row in rollouts.frame.itertuples():
        if most is not None and len(chosen) >= most:
            break
        found = corrupt(str(row.text), stream(seed, "corrupt", str(row.problem), str(row.sample)))
        answer = extract(str(row.text), kind=kind).answer
        if found is None or answer is None:
            left_out += 1
        else:
            chosen.append((str(row.problem), int(str(row.sample)), str(row.prompt), *found, answer))
    begun = [(one[2], one[3]) for one in chosen] + [(one[2], one[4]) for one in chosen]
    written = list(write_on(begun)) if begun else []
    if len(written) != len(begun):
        raise ValueError(f"write_on was given {len(begun)} beginnings and gave {len(written)} texts; give one each.")
    answers = [extract(start + text, kind=kind).answer for (_, start), text in zip(begun, written, strict=True)]
    rows = []
    for at, (problem, sample, _, _, _, old, new, answer) in enumerate(chosen):
        clean, corrupted = answers[at], answers[at + len(chosen)]
        kept = clean == answer
        rows.append((problem, sample, old, new, answer, clean, corrupted, kept, corrupted == answer if kept else None))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    shares = {
        name: bootstrap_problems(frame[name], frame["problem"], n_boot=n_boot, level=level, seed=seed)
        for name in ("unchanged", "kept")
    }
    record = manifest(measure="samples.prefix_check", kind=kind, most=most, n_boot=n_boot, level=level, seed=seed)
    return PrefixCheck(frame, shares["unchanged"], shares["kept"], left_out, manifest=record)
