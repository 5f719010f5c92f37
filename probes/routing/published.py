"""Do our graders and our recovery agree with runs that others published?

Files of "Base models know how to reason, thinking models learn when" (arXiv 2510.07364, state of October 2025) hold the
questions, the reference answers, the texts of a base, a thinking and a hybrid model, and the accuracies that a large
model gave as a judge. Each text is graded here by the careful reader and by the plain one (:mod:`probes.tasks`), and
the recovery is measured with its interval beside the published one.

The judgements are published as totals, so that no text can be compared with its own. Where the totals differ,
:mod:`probes.routing.discord` counts by rules which texts can make the difference and how many the judge must have
passed without cause. What it does not show: which of two graders is right on a single text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from hooks.rollouts import Rollouts
from probes.results import Result, manifest
from probes.routing.discord import LIMIT, leniently, why
from probes.routing.recovery import recovered
from probes.stats import Estimate, ratio, wilson
from probes.tasks import Problem, agreement, grade
from probes.tasks.loading import reference

ARMS = ("base", "thinking", "hybrid")
"""Whose texts a file holds."""


@dataclass(frozen=True)
class PublishedRun:
    """One file: problems, texts and published accuracies."""

    name: str
    """Name of the file, without what all share."""
    problems: tuple[Problem, ...]
    """Questions with their reference answers."""
    texts: dict[str, tuple[str, ...]]
    """Of each arm that has any text."""
    models: dict[str, str]
    """Names of the models."""
    accuracy: dict[str, float]
    """As published, as shares; only of arms with texts."""


@dataclass(frozen=True, repr=False, eq=False)
class PublishedCheck(Result):
    """Accuracies and recoveries of published runs, here and as published."""

    frame: pd.DataFrame
    """A row a file and model: file, arm, model, n, accuracy with interval, the same by the plain grader (``plain``),
    how often the two disagree (``disagreement``), ``published``, ``points`` (here minus published, in points), counts
    of texts by rule (see :class:`probes.routing.discord.Discord`), ``explained`` (whether those texts are enough) and
    ``why``."""
    recovery: pd.DataFrame
    """A row a file with texts of all three: recovery with Fieller's and a bootstrap interval, the same with texts that
    break off passed leniently, by the plain grader, and as published. NaN where there is no gap to be recovered."""

    def headline(self) -> str:
        """How many accuracies agree, and how many of the others have a cause."""
        apart = self.frame["points"].abs() > LIMIT
        known = int((apart & self.frame["explained"]).sum())
        return (
            f"{int((~apart).sum())} of {len(apart)} accuracies lie within {LIMIT:g} points of the published ones; "
            f"{known} of the other {int(apart.sum())} have a measured cause"
        )

    def __str__(self) -> str:
        return f"{super().__str__()}\n\nRecovery\n{self.recovery.to_string(index=False, float_format='{:.3f}'.format)}"

    def plot(self) -> go.Figure:
        """Accuracies of both graders beside the published ones; recoveries below."""
        figure = make_subplots(rows=2, cols=1, subplot_titles=("accuracy", "recovery"), vertical_spacing=0.25)
        x = [list(self.frame["file"]), list(self.frame["arm"])]
        for name, colour in (("accuracy", "#2471a3"), ("plain", "#95a5a6")):
            title = "careful grader" if name == "accuracy" else "plain grader"
            bars = _bars(self.frame, name, f"{name}_low", f"{name}_high")
            figure.add_trace(
                go.Bar(x=x, y=list(self.frame[name]), error_y=bars, name=title, marker_color=colour), row=1, col=1
            )
        mark = {"symbol": "diamond", "size": 10, "color": "#c0392b"}
        figure.add_trace(
            go.Scatter(
                x=x, y=list(self.frame["published"]), mode="markers", name="published", marker=mark,
                text=list(self.frame["why"]), hovertemplate="%{y:.1%}<br>%{text}<extra></extra>",
            ),
            row=1, col=1,
        )  # fmt: skip
        shown = self.recovery
        figure.add_trace(
            go.Scatter(
                x=list(shown["file"]), y=list(shown["recovery"]), mode="markers", name="recovery here",
                error_y=_bars(shown, "recovery", "low", "high"), marker={"size": 10, "color": "#2471a3"},
            ),
            row=2, col=1,
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=list(shown["file"]), y=list(shown["published"]), mode="markers", marker=mark, showlegend=False,
                name="published",
            ),
            row=2, col=1,
        )  # fmt: skip
        return figure.update_layout(template="plotly_white", title=self.headline(), height=800)


def _bars(frame: pd.DataFrame, value: str, low: str, high: str) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False,
        "array": list(frame[high] - frame[value]), "arrayminus": list(frame[value] - frame[low]),
    }  # fmt: skip


def published_files(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files named, and the JSON files of the folders named.

    Raises:
        FileNotFoundError: for a path that is not there, or a folder without a JSON file.
    """
    found: list[Path] = []
    for path in map(Path, [paths] if isinstance(paths, str | Path) else paths):
        inside = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise FileNotFoundError(f"there are no published runs at {path}; give JSON files or their folder")
        found += inside
    return found


def read_published(path: str | Path) -> PublishedRun:
    """Read one file; an arm whose texts are all empty was not run and is left out.

    Raises:
        ValueError: for a file of another make.
    """
    path = Path(path)
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or not {"metadata", "results", "tasks"} <= record.keys() or not record["tasks"]:
        raise ValueError(f"{path.name} is no published run: it needs metadata, results and tasks with texts")
    tasks = record["tasks"]
    problems = tuple(
        Problem(
            str(at), task["question"], reference(task["correct_answer"], "math"), meta={"question": task["question"]}
        )
        for at, task in enumerate(tasks)
    )
    texts = {arm: tuple(task["model_answers"][f"{arm}_model"] or "" for task in tasks) for arm in ARMS}
    texts = {arm: said for arm, said in texts.items() if any(text.strip() for text in said)}
    told = record["results"]["accuracy"]
    return PublishedRun(
        name=path.stem.removeprefix("benchmark_results_"),
        problems=problems,
        texts=texts,
        models={arm: record["metadata"].get(f"{arm}_model", arm) for arm in texts},
        accuracy={arm: told[f"{arm}_model"] / 100 for arm in texts},
    )


def check_published(
    paths: str | Path | Sequence[str | Path],
    *,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> PublishedCheck:
    """Grade published texts and compare accuracies and recoveries with the published ones.

    Args:
        paths: files, or folders of them.
        n_boot: draws of the bootstrap interval of recoveries.
        level: of all intervals.
        seed: of the draws.
        progress: called with (files done, files in all).

    Raises:
        FileNotFoundError, ValueError: for paths without published runs.

    It does not show which grader is right on a text: the judgements are published as totals.
    """
    files = published_files(paths)
    rows: list[dict[str, Any]] = []
    recoveries: list[dict[str, Any]] = []
    for done, path in enumerate(files):
        run = read_published(path)
        graded = {arm: grade(_rollouts(run, arm), run.problems) for arm in run.texts}
        rows += [_row(run, arm, graded[arm], level) for arm in graded]
        if len(graded) == len(ARMS):
            recoveries.append({"file": run.name, **_recovery(run, graded, n_boot, level, seed)})
        if progress is not None:
            progress(done + 1, len(files))
    made = manifest(measure="routing.published", files=[path.name for path in files], n_boot=n_boot, level=level)
    columns = ["file", "n", "recovery", "low", "high", "boot_low", "boot_high"]
    columns += [f"{name}{end}" for name in ("lenient", "plain") for end in ("", "_low", "_high")] + ["published"]
    return PublishedCheck(pd.DataFrame(rows), pd.DataFrame(recoveries, columns=columns), manifest=made)


def _rollouts(run: PublishedRun, arm: str) -> Rollouts:
    blank = {"sample": 0, "prompt_ids": [], "ids": [], "logp": [], "author": [], "stop": None}
    return Rollouts.of(
        {**blank, "problem": problem.id, "model": run.models[arm], "prompt": problem.prompt, "text": text}
        for problem, text in zip(run.problems, run.texts[arm], strict=True)
    )


def _row(run: PublishedRun, arm: str, graded: Rollouts, level: float) -> dict[str, Any]:
    correct, plain = _marks(graded, "correct"), _marks(graded, "correct_plain")
    apart = agreement(graded).disagreement
    published = run.accuracy[arm]
    row: dict[str, Any] = {"file": run.name, "arm": arm, "model": run.models[arm], "n": len(correct)}
    for name, marks in (("accuracy", correct), ("plain", plain)):
        row |= _spread(name, wilson(int(np.nansum(marks)), int(np.isfinite(marks).sum()), level=level))
    row |= _spread("disagreement", apart)
    row |= {"published": published, "points": 100 * (row["accuracy"] - published)}
    return row | why(graded, run.problems, published=published)


def _spread(name: str, value: Estimate) -> dict[str, float]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


def _marks(graded: Rollouts, column: str) -> Float[np.ndarray, "text"]:
    return graded.frame[column].astype("Float64").to_numpy(dtype=float, na_value=np.nan)


def _recovery(
    run: PublishedRun, graded: dict[str, Rollouts], n_boot: int, level: float, seed: int
) -> dict[str, float | int]:
    out: dict[str, float | int] = {"n": len(run.problems)}
    graders = {
        "": lambda texts: _marks(texts, "correct"),
        "plain": lambda texts: _marks(texts, "correct_plain"),
        "lenient": lambda texts: leniently(texts, run.problems).astype(float),
    }
    for name, marks in graders.items():
        base, thinking, hybrid = (marks(graded[arm]) for arm in ARMS)
        judged = np.isfinite(base + thinking + hybrid)
        base, thinking, hybrid = base[judged], thinking[judged], hybrid[judged]
        share = recovered(base, thinking, hybrid, level=level)
        ends = f"{name}_" if name else ""
        out |= {name or "recovery": share.value, f"{ends}low": share.low, f"{ends}high": share.high}
        if not name:
            drawn = ratio(hybrid - base, thinking - base, method="bootstrap", n_boot=n_boot, level=level, seed=seed)
            out |= {"boot_low": drawn.low, "boot_high": drawn.high}
    gap = run.accuracy["thinking"] - run.accuracy["base"]
    return out | {"published": (run.accuracy["hybrid"] - run.accuracy["base"]) / gap if gap else float("nan")}
