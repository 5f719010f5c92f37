"""From prompts to batches of rows: what every decoding loop needs before its first token.

Prompts become token ids once; samples become rows, each with its own name in the random streams; rows of like length
stand together, so that a batch holds little padding; a batch that does not fit into memory is halved, aloud, and run
again.  Nothing of this changes what is written: a row is a function of its prompt and of its own random numbers (up to
rounding of the matrix products, whose order of summation may differ with the shape of a batch).
"""

from __future__ import annotations

import gc
import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

Done = TypeVar("Done")


@dataclass(frozen=True)
class Row:
    """One sample to be written."""

    index: int
    """Its place in the result: prompts in the order given, samples of a prompt one after another."""
    problem: str
    """The problem's id, or a digest of the prompt where a plain string was given."""
    sample: int
    """0, 1, ... within the problem."""
    prompt: str
    """The text as it was given."""
    ids: tuple[int, ...]
    """The prompt's token ids as the model reads them."""


def rows_of(
    model: Any, prompts: Sequence[Any], *, n: int = 1, template: str = "auto", repeats: bool = False
) -> list[Row]:
    """Tokenise prompts and name their samples.

    Args:
        model: whose ``encode`` cuts the prompts.
        prompts: strings, or anything with ``id`` and ``prompt``.
        n: samples a prompt.
        template: passed to ``model.encode``.
        repeats: allow one problem to stand there more than once (as in a sweep of steering strengths, where the same
            prompt with the same random numbers is the point).

    Raises:
        TypeError: for something that is neither a string nor has ``id`` and ``prompt``.
        ValueError: for ``n`` below 1, an empty prompt, or a problem given twice.
    """
    if isinstance(prompts, str):
        raise TypeError("prompts is a list of prompts, not one string; write [prompt]")
    if n < 1:
        raise ValueError(f"n is the number of samples a prompt and must be at least 1, not {n}")
    named = [_name(prompt) for prompt in prompts]
    if not named:
        return []
    seen: set[str] = set()
    for problem, text in named:
        if problem in seen and not repeats:
            raise ValueError(
                f"problem {problem!r} ({text[:40]!r}) was given twice and would get the same samples twice; "
                "ask for more samples with n"
            )
        seen.add(problem)
    encoded = model.encode([text for _, text in named], template=template)
    for (problem, _), ids in zip(named, encoded, strict=True):
        if not len(ids):
            raise ValueError(f"the prompt of problem {problem!r} has no tokens; a model needs one to go on from")
    return [
        Row(index=place * n + sample, problem=problem, sample=sample, prompt=text, ids=tuple(ids))
        for place, ((problem, text), ids) in enumerate(zip(named, encoded, strict=True))
        for sample in range(n)
    ]


def _name(prompt: Any) -> tuple[str, str]:
    if isinstance(prompt, str):
        # A digest, not a place in the list: the random numbers of a prompt must not depend on its neighbours.
        return hashlib.sha256(prompt.encode()).hexdigest()[:16], prompt
    if not (hasattr(prompt, "id") and isinstance(getattr(prompt, "prompt", None), str)):
        raise TypeError(f"a prompt is a string or has .id and .prompt (a string); {type(prompt).__name__} is neither")
    return str(prompt.id), prompt.prompt


def in_batches(
    rows: Sequence[Row],
    work: Callable[[list[Row]], list[Done]],
    *,
    batch_size: int,
    progress: Callable[[int, int], object] | None = None,
) -> list[Done]:
    """Run ``work`` over batches of rows of like prompt length; results come back in the order of ``rows``.

    A batch that runs out of memory is halved with a warning and run again, and later batches keep the smaller size.

    Args:
        rows: what to write.
        work: from a batch to one result a row, in the batch's order; it may be called twice for the same rows.
        batch_size: rows at a time, at most.
        progress: called with (rows done, rows in all) after every batch.

    Raises:
        ValueError: for a batch size below 1.
        torch.OutOfMemoryError: when even one row does not fit.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order, done = _order(rows), dict[int, Done]()
    while len(done) < len(order):
        taken = order[len(done) : len(done) + batch_size]
        results = _unless_full(work, [rows[at] for at in taken], len(taken))
        if results is None:
            batch_size = _halve(len(taken))
            continue
        done.update(zip(taken, results, strict=True))
        if progress is not None:
            progress(len(done), len(rows))
    return [done[at] for at in range(len(rows))]


def in_seats(
    rows: Sequence[Row],
    work: Callable[[list[Row], int, Callable[[dict[int, Done]], object]], object],
    *,
    batch_size: int,
    progress: Callable[[int, int], object] | None = None,
) -> list[Done]:
    """Let ``work`` write all rows, ``batch_size`` at a time, each seat given on as soon as its row has ended.

    Where memory runs out, rows that were finished stay so and the others begin again in half as many seats, aloud.

    Args:
        rows: what to write.
        work: from rows in the order in which they are to begin, the number of seats, and a function that takes what
            has ended: results by the place of the row in that list.
        batch_size: seats, at most.
        progress: called with (rows done, rows in all) whenever rows have ended.

    Raises:
        ValueError: for a batch size below 1.
        torch.OutOfMemoryError: when even one row does not fit.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order, done = _order(rows), dict[int, Done]()
    while len(done) < len(order):
        left = [at for at in order if at not in done]
        seats = min(batch_size, len(left))

        def hand(ended: dict[int, Done], left: list[int] = left) -> None:
            done.update({left[at]: result for at, result in ended.items()})
            if progress is not None:
                progress(len(done), len(rows))

        def write(batch: list[Row], seats: int = seats, hand: Callable[..., object] = hand) -> list[object]:
            return [work(batch, seats, hand)]

        if _unless_full(write, [rows[at] for at in left], seats) is None:
            batch_size = _halve(seats)
    return [done[at] for at in range(len(rows))]


def _order(rows: Sequence[Row]) -> list[int]:
    # Longest first: what does not fit shows at once and not after an hour.
    return sorted(range(len(rows)), key=lambda at: (-len(rows[at].ids), rows[at].ids, rows[at].index))


def _unless_full(work: Callable[[list[Row]], list[Done]], batch: list[Row], size: int) -> list[Done] | None:
    """The results of ``work``, done for ``size`` rows at a time, or None when memory ran out."""
    try:
        return work(batch)
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        if size == 1:
            raise torch.OutOfMemoryError(
                f"one sample of problem {batch[0].problem!r} ({len(batch[0].ids)} prompt tokens) does not fit into "
                f"memory by itself; allow fewer new tokens or load the model in a smaller format ({error})"
            ) from error
    return None


def _halve(size: int) -> int:
    smaller = max(1, size // 2)
    warnings.warn(f"out of memory with {size} rows at a time; going on with {smaller}", RuntimeWarning, stacklevel=4)
    # Only here, behind the except clause, are the failed batch's frames and their tensors gone.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return smaller


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return any(words in text for words in ("out of memory", "not enough memory", "can't allocate memory"))
