"""Which rows a request for activations asks for: one a chosen position, or one a span when it is reduced.

Rows come in the order of the data: by sequence, then by position (or by span).  The table of rows depends on ids and
positions alone, so it is known before any network runs, is the same for both models of a pair, and can be joined with
labels.  ``pos`` is the absolute position of the activation; the token *chosen from* it stands at ``pos + 1``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from hooks.foreign import Tokenizer
from hooks.positions import Positions
from hooks.sequences import Sequences
from hooks.streams import stream

Reduce = Literal["mean", "last"]
Array = Int[np.ndarray, " _"]
KEYS = ("sequence", "problem", "sample", "pos", "index", "span")
"""Columns by which rows and labels are joined."""


@dataclass(frozen=True)
class Selection:
    """For every sequence the positions to read and how they fall into rows."""

    at: tuple[Array, ...]
    """Positions to gather from each sequence, in the order of its rows."""
    counts: tuple[Array, ...]
    """For each row of each sequence how many of these positions it averages (always 1 without a mean)."""
    offsets: Int[np.ndarray, " sequence_and_one"]
    """Row at which each sequence's rows begin; the last entry is the number of rows."""
    frame: pd.DataFrame
    """A row a stored activation: sequence, problem, sample, pos, index (pos − n_prompt), id; with a reduction also
    span (its number within the sequence) and n (positions in it), while pos, index and id are those of its last."""
    reduce: Reduce | None
    """How the positions of a row were made one."""

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return int(self.offsets[-1])

    @property
    def row_hash(self) -> str:
        """SHA-256 over which positions go into which row."""
        digest = hashlib.sha256()
        for part in (self.offsets, *self.at, *self.counts):
            digest.update(len(part).to_bytes(8, "big") + part.astype("<i8").tobytes())
        return digest.hexdigest()


def select_rows(
    sequences: Sequences,
    positions: Positions,
    *,
    reduce: Reduce | None = None,
    tokenizer: Tokenizer | None = None,
) -> Selection:
    """Work out the rows of a request.

    Args:
        sequences: what is read.
        positions: a causal rule; with a reduction each of ``Positions.spans`` becomes a row (spans may touch or
            overlap), any other rule gives one row a sequence.
        reduce: ``"mean"`` over, or ``"last"`` of, the chosen positions of a span.  A span without a position inside
            its sequence gives no row; the column ``span`` says which were kept.
        tokenizer: for rules that read text.

    Raises:
        ValueError: as :meth:`Positions.select`.
    """
    at: list[Array] = []
    counts: list[Array] = []
    spans: list[Array] = []
    longest = int(sequences.lengths.max(initial=0))
    # Every sequence shares these; a corpus of short texts would spend more on making them than on a small network.
    places, ones = np.arange(longest), np.ones(longest, dtype=np.int64)
    for row, (ids, n_prompt) in enumerate(zip(sequences.ids, sequences.n_prompt)):
        if reduce is None:
            chosen = places[: len(ids)]
            if positions.rule != "all":
                chosen = np.flatnonzero(positions.select(ids, n_prompt, tokenizer=tokenizer, row=row))
            pieces, own, sizes = [chosen], places[: len(chosen)], ones[: len(chosen)]
        else:
            pieces, own = _spans_of(positions, ids, n_prompt, tokenizer, row)
            pieces = [piece[-1:] for piece in pieces] if reduce == "last" else pieces
            sizes = np.array([len(piece) for piece in pieces], dtype=np.int64)
        at.append(pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.empty(0, dtype=np.int64)]))
        counts.append(sizes)
        spans.append(own)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in counts], dtype=np.int64)]).astype(np.int64)
    frame = _frame(sequences, at, counts)
    if reduce is not None:
        frame["span"] = np.concatenate([*spans, np.empty(0, dtype=np.int64)])
        frame["n"] = np.concatenate([*counts, np.empty(0, dtype=np.int64)])
    return Selection(tuple(at), tuple(counts), offsets, frame, reduce)


def _spans_of(
    positions: Positions, ids: Array, n_prompt: int, tokenizer: Tokenizer | None, row: int
) -> tuple[list[Array], Array]:
    """The pieces of one sequence that become rows, and the number of each among those asked for."""
    if positions.rule == "spans":
        asked = [
            np.arange(max(0, n_prompt + start), min(len(ids), n_prompt + stop))
            for start, stop in _row_of(positions.arguments[0], row)
        ]
    else:
        asked = [np.flatnonzero(positions.select(ids, n_prompt, tokenizer=tokenizer, row=row))]
    kept = [number for number, piece in enumerate(asked) if len(piece)]
    return [asked[number] for number in kept], np.array(kept, dtype=np.int64)


def _row_of(rows: Sequence[Sequence[tuple[int, int]]], row: int) -> Sequence[tuple[int, int]]:
    if row >= len(rows):
        raise ValueError(f"Positions.spans was given {len(rows)} rows and has none for row {row}")
    return rows[row]


def _frame(sequences: Sequences, at: Sequence[Array], counts: Sequence[Array]) -> pd.DataFrame:
    per_row = np.array([len(own) for own in counts], dtype=np.int64)
    sequence = np.repeat(np.arange(len(sequences)), per_row)
    # A row stands where its last position stands.
    ends = np.cumsum(np.concatenate([*counts, np.empty(0, dtype=np.int64)])) - 1
    pos = np.concatenate([*at, np.empty(0, dtype=np.int64)])[ends]
    return pd.DataFrame(
        {
            "sequence": sequence.astype(np.int64),
            "problem": np.asarray(sequences.problem, dtype=object)[sequence],
            "sample": np.asarray(sequences.sample, dtype=np.int64)[sequence],
            "pos": pos,
            "index": pos - np.asarray(sequences.n_prompt, dtype=np.int64)[sequence],
            "id": sequences.flat_ids[sequences.starts[sequence] + pos],
        }
    )


def join_labels(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Rows with the columns of ``labels`` beside them, in the rows' order; a row without a label gets missing values.

    Args:
        rows: of a store or of activations.
        labels: has some of problem, sample, pos, index, sequence, span, by which it is joined, and label columns.

    Raises:
        ValueError: when no column is shared, when a label column has a row column's name, or when two labels claim
            the same rows.
    """
    keys = [name for name in KEYS if name in labels and name in rows]
    if not keys:
        raise ValueError(f"labels need columns to join by, such as problem, sample and pos; they have {list(labels)}")
    clash = [name for name in labels if name in rows and name not in keys]
    if clash:
        raise ValueError(f"labels and rows both have {', '.join(map(repr, clash))}: rename or drop it in the labels")
    twice = labels.duplicated(keys)
    if twice.any():
        first = labels.loc[twice, keys].iloc[0].to_dict()
        raise ValueError(f"{int(twice.sum())} labels repeat their keys, first {first}: one label for each {keys}")
    joined = rows.merge(
        labels.assign(problem=labels["problem"].astype(str)) if "problem" in keys else labels,
        on=keys,
        how="left",
        validate="many_to_one",
    )
    joined.index = rows.index
    return joined


def grouped_folds(rows: pd.DataFrame, *, by: str = "problem", n: int = 5, seed: int = 0) -> list[tuple[Array, Array]]:
    """Split row numbers into ``n`` folds such that no group is on both sides.

    Groups are dealt out in an order that belongs to ``(seed, their names)``, so adding rows moves no group's name.

    Returns:
        a list of ``(train, test)`` row numbers.

    Raises:
        ValueError: when there are fewer groups than folds or no such column.
    """
    if by not in rows:
        raise ValueError(f"rows have no column {by!r}; they have {', '.join(map(str, rows.columns))}")
    names = sorted(rows[by].unique(), key=str)
    if not 2 <= n <= len(names):
        raise ValueError(f"{len(names)} different {by!r} cannot be split into {n} folds")
    order = stream(seed, "folds", by).permutation(len(names))
    fold_of = {names[index]: place % n for place, index in enumerate(order)}
    fold = rows[by].map(fold_of).to_numpy()
    return [(np.flatnonzero(fold != own), np.flatnonzero(fold == own)) for own in range(n)]
