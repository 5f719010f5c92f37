"""How likely is a reference answer after each chain of thought?  Both models of a pair read it; nothing is sampled.

A chain is a sample cut off before the answer it came to; the reference's own ids follow it. Ids alone pass to the
models, so that neither prompt nor chain is cut into tokens anew. Chains that are equal are read once. The masked
reading puts other ids (none by default) where the chain stood (arXiv 2506.13351).

What it does not show: what the model would have answered. After a chain that breaks off in the middle of something the
reference stands where nothing of its kind would be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hooks.model import Model
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.score import score
from probes.samples.reflection_statistics import Read

Cut = Callable[[Sequence[int]], int]
"""Ids of a sample to how many of them are the chain of thought."""


def before(marks: Sequence[Sequence[int]], *, last: bool = True) -> Cut:
    """A cut before the last (or first) place where one of these id sequences stands; the whole text where none does.

    Args:
        marks: what begins an answer, as ids: a box, a closing tag, an organism's "answer ".
        last: whether the last place counts.

    Raises:
        ValueError: a mark without ids.

    It does not show answers that are announced in other words.
    """
    wanted = [tuple(mark) for mark in marks]
    if not wanted or not all(wanted):
        raise ValueError("A mark needs at least one token id.")

    def cut(ids: Sequence[int]) -> int:
        places = range(len(ids))
        for at in reversed(places) if last else places:
            if any(tuple(ids[at : at + len(mark)]) == mark for mark in wanted):
                return at
        return len(ids)

    return cut


def read_references(
    models: Pair | Model,
    rollouts: Rollouts,
    references: Mapping[str, Sequence[int]],
    *,
    cut: Cut,
    masked: Sequence[int] = (),
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, list[Read]]:
    """Read each problem's reference after each of its chains, and after a masked chain.

    Args:
        models: a pair, both of whose models read the same; or one model.
        rollouts: samples with ids; ``correct`` is taken from them.
        references: ids of each problem's reference answer; problems without one are left out.
        cut: how much of a sample is its chain, see :func:`before`.
        masked: ids in place of the chain in the masked reading.
        progress: called with tokens done and tokens in all.

    Returns:
        A read a problem, in the order of the rollouts, by ``base`` and ``rl``; by ``model`` where one model was given.

    Raises:
        ValueError: samples without ids, an empty reference, or no problem with a reference.

    It does not show what either model would have answered.
    """
    frame = rollouts.frame[rollouts.frame["problem"].isin(set(references))]
    if frame.empty:
        raise ValueError("None of the samples' problems has a reference; name references by the ids of the problems.")
    empty = next((name for name in frame["problem"] if not len(references[name])), None)
    if empty is not None:
        raise ValueError(f"The reference of problem {empty!r} has no token.")
    samples = Rollouts(frame.reset_index(drop=True))
    contexts, place, rows = _contexts(samples, references, cut, masked)
    table = score(_pair(models), contexts, progress=progress).frame
    stops = np.cumsum([len(ids) - n for ids, n in contexts])
    starts = np.concatenate([[0], stops[:-1]])
    sides = ("base", "rl") if isinstance(models, Pair) else ("base",)
    out: dict[str, list[Read]] = {side: [] for side in sides}
    for problem, own in rows.items():
        spans = [slice(starts[place[key]], stops[place[key]]) for key in own]
        correct = samples.frame["correct"][samples.frame["problem"] == problem].astype("Float64")
        for side in sides:
            columns = {name: table[f"{name}_{side}"].to_numpy() for name in ("logp", "rank", "entropy")}
            if isinstance(models, Pair):
                columns["js"] = table["js"].to_numpy()
            out[side].append(_read(problem, columns, spans, correct.to_numpy(dtype=float, na_value=np.nan)))
    return out if isinstance(models, Pair) else {"model": out["base"]}


def _read(problem: str, columns: Mapping[str, np.ndarray], spans: list[slice], correct: np.ndarray) -> Read:
    """One problem: the last span is the masked reading."""
    blocks = {name: np.stack([values[span] for span in spans]) for name, values in columns.items()}
    return Read(
        problem=problem,
        logp=blocks["logp"][:-1].astype(float),
        masked=blocks["logp"][-1].astype(float),
        ranks=blocks["rank"][:-1].astype(np.int64),
        entropy=blocks["entropy"][:-1].astype(float),
        js=blocks["js"][:-1].astype(float) if "js" in blocks else None,
        correct=correct,
    )


def _contexts(
    samples: Rollouts, references: Mapping[str, Sequence[int]], cut: Cut, masked: Sequence[int]
) -> tuple[list[tuple[list[int], int]], dict[tuple[str, tuple[int, ...]], int], dict[str, list[Any]]]:
    """Distinct readings, where each stands, and the keys of each problem's readings, the masked one last."""
    contexts: list[tuple[list[int], int]] = []
    place: dict[tuple[str, tuple[int, ...]], int] = {}
    rows: dict[str, list[Any]] = {}
    prompts: dict[str, list[int]] = {}

    def add(problem: str, given: list[int]) -> tuple[str, tuple[int, ...]]:
        key = (problem, tuple(given))
        if key not in place:
            place[key] = len(contexts)
            contexts.append((given + list(references[problem]), len(given)))
        return key

    for problem, (ids, n_prompt) in zip(samples.frame["problem"], samples.sequences(), strict=True):
        chain = ids[n_prompt:]
        prompts[problem] = ids[:n_prompt]
        rows.setdefault(problem, []).append(add(problem, ids[:n_prompt] + chain[: cut(chain)]))
    for problem, prompt in prompts.items():
        rows[problem].append(add(problem, prompt + list(masked)))
    return contexts, place, rows


def _pair(models: Pair | Model) -> Pair:
    """A pair as it is; one model as both halves, which reads everything twice."""
    if isinstance(models, Pair):
        return models
    nothing = pd.DataFrame(columns=["item", "base", "rl", "meaning"])
    return Pair(models, models, nothing, models.d_vocab, True, float("nan"), (0, 0))
