"""Samples as a table: which model wrote which tokens, with what probability, and whether the answer was right.

One row a sample.  Token ids are kept, never re-tokenised text, because cutting a text into tokens again gives other
tokens (and a character split over two tokens cannot be cut again at all); everything that reads these samples, with
either model, reads the ids.  On disk it is one parquet file.  A rollout says what was written, not why.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = (
    "problem", "sample", "model", "prompt", "prompt_ids", "ids", "text", "logp", "correct", "answer", "stop", "author",
)  # fmt: skip
"""Columns every table has; others may stand behind them."""

STOPS = ("eos", "length", "string")
"""Why a text ended: its end-of-sequence token, the token limit, or a stop string."""

VERSION = 1


@dataclass(frozen=True, eq=False)
class Rollouts:
    """A table of samples, checked once.

    The columns: ``problem`` (the problem's id), ``sample`` (0, 1, ... within it), ``model``, ``prompt`` (the text),
    ``prompt_ids`` (its ids as the model read them), ``ids`` (the new tokens, with the end-of-sequence token where
    ``stop`` is "eos"), ``text`` (of ``ids``, special tokens skipped), ``logp`` (of each token under its own author's
    untempered distribution, nats), ``correct`` and ``answer`` (missing until graded), ``stop``, ``author`` (of each
    token).  Samples that came from elsewhere may lack ids (empty lists) and log-probs (NaN): see :meth:`with_ids`.

    Raises:
        ValueError: for a missing column, lists of unequal length in a row, or an unknown ``stop``.
    """

    frame: pd.DataFrame
    """The table itself; extra columns are kept and saved."""

    def __post_init__(self) -> None:
        missing = [name for name in COLUMNS if name not in self.frame.columns]
        if missing:
            raise ValueError(f"rollouts lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        object.__setattr__(self, "frame", _typed(self.frame))
        lengths = {name: self.frame[name].map(len).to_numpy() for name in ("ids", "logp", "author")}
        for name in ("logp", "author"):
            wrong = (lengths[name] != lengths["ids"]).nonzero()[0]
            if len(wrong):
                row = self.frame.iloc[int(wrong[0])]
                raise ValueError(
                    f"sample {row['sample']} of problem {row['problem']!r} has {len(row['ids'])} ids but "
                    f"{len(row[name])} entries of {name!r}; give one entry a token"
                )
        unknown = set(self.frame["stop"].dropna()) - set(STOPS)
        if unknown:
            raise ValueError(f"stop is one of {', '.join(STOPS)}, not {', '.join(sorted(map(repr, unknown)))}")

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]]) -> Rollouts:
        """A table from one dictionary a sample; ``correct`` and ``answer`` may be left out."""
        frame = pd.DataFrame(list(rows))
        for name in ("correct", "answer"):
            if name not in frame.columns:
                frame[name] = None
        return cls(frame if len(frame) else pd.DataFrame({name: [] for name in [*COLUMNS, *frame.columns]}))

    def __len__(self) -> int:
        return len(self.frame)

    def __str__(self) -> str:
        if not len(self):
            return "no rollouts"
        counts = self.frame["ids"].map(len)
        graded = self.frame["correct"].dropna()
        accuracy = f"{graded.mean():.3f} correct of {len(graded)}" if len(graded) else "not graded"
        return (
            f"{len(self)} samples of {self.frame['problem'].nunique()} problems by "
            f"{', '.join(sorted(self.frame['model'].unique()))}: {counts.mean():.1f} tokens a sample, "
            f"{(self.frame['stop'] == 'length').mean():.1%} cut off, {accuracy}"
        )

    def subset(self, problems: Iterable[str]) -> Rollouts:
        """The samples of these problems, in the order of this table."""
        kept = self.frame["problem"].isin({str(problem) for problem in problems})
        return replace(self, frame=self.frame[kept].reset_index(drop=True))

    def with_columns(self, **columns: Sequence[Any]) -> Rollouts:
        """The same samples with these columns added or replaced, one value a sample."""
        frame = self.frame.copy()
        for name, values in columns.items():
            if len(values) != len(frame):
                raise ValueError(f"column {name!r} has {len(values)} values for {len(frame)} samples")
            frame[name] = pd.Series(list(values), index=frame.index, dtype=object)
        return replace(self, frame=frame)

    def sequences(self) -> list[tuple[list[int], int]]:
        """Of each sample the full token ids (prompt and new tokens) and how many of them are the prompt's.

        Raises:
            ValueError: when samples have no ids; see :meth:`with_ids`.
        """
        pairs = zip(self.frame["prompt_ids"], self.frame["ids"], self.frame["problem"], strict=True)
        out = []
        for prompt, new, problem in pairs:
            if not prompt:
                raise ValueError(f"a sample of problem {problem!r} has no token ids; add them with with_ids(model)")
            out.append((prompt + new, len(prompt)))
        return out

    def with_ids(self, model: Any, *, template: str = "auto") -> Rollouts:
        """The same samples with token ids, cutting prompt and text with ``model``'s tokenizer where ids are missing.

        Says so with a warning, because tokens cut anew need not be those that were sampled; ``logp`` becomes NaN.
        """
        from hooks.readers import add_ids

        return add_ids(self, model, template=template)

    @staticmethod
    def concat(parts: Sequence[Rollouts]) -> Rollouts:
        """One table of several, in their order."""
        if not parts:
            raise ValueError("there is nothing to join: give at least one table of rollouts")
        return Rollouts(pd.concat([part.frame for part in parts], ignore_index=True))

    def save(self, path: str | Path) -> Path:
        """Write one parquet file, whole or not at all, and return its path."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: _arrow(self.frame[name], name) for name in self.frame.columns}
        table = pa.table(columns).replace_schema_metadata({"whenlens.rollouts": json.dumps({"version": VERSION})})
        return write_whole(Path(path), lambda temporary: pq.write_table(table, temporary, compression="zstd"))

    @classmethod
    def load(cls, path: str | Path) -> Rollouts:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError: where the file is no parquet table of rollouts.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not Path(path).is_file():
            raise FileNotFoundError(f"there are no rollouts at {path}; generate(...).save(path) writes them")
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{path} is not a parquet file; samples of other kinds are read with Rollouts.read"
            ) from error
        return cls(
            pd.DataFrame({name: pd.Series(table[name].to_pylist(), dtype=object) for name in table.column_names})
        )

    @classmethod
    def read(cls, path: str | Path, *, model: str | None = None) -> Rollouts:
        """Read samples of any known kind: this package's parquet, plain JSONL, inspect-ai logs, lm-eval samples.

        ``model`` names the author where the file does not.  See :mod:`hooks.readers`.
        """
        from hooks.readers import read

        return read(path, model=model)


def write_whole(path: Path, write: Callable[[Path], Any]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, sync it and put it in place; on failure leave nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    # Only the name is wanted: a file that is made anew may be read by whom the user's own files may be read.
    temporary.unlink()
    try:
        write(temporary)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The same table with one type a column: lists as Python lists, missing as missing."""
    out = frame.reset_index(drop=True).copy()
    for name in ("problem", "model", "prompt", "text"):
        out[name] = out[name].map(str).astype(object)
    out["sample"] = out["sample"].astype("int64")
    for name in ("prompt_ids", "ids"):
        out[name] = _lists(out[name], int)
    out["logp"] = _lists(out["logp"], float)
    out["author"] = _lists(out["author"], str)
    out["correct"] = out["correct"].astype("boolean")
    for name in ("answer", "stop"):
        out[name] = out[name].astype(object).where(out[name].notna(), None)
    extra = [name for name in out.columns if name not in COLUMNS]
    out[extra] = out[extra].infer_objects()
    return out[[*COLUMNS, *extra]]


def _lists(column: pd.Series, kind: Callable[[Any], Any]) -> pd.Series:
    values = [value if type(value) is list else [kind(entry) for entry in value] for value in column]
    return pd.Series(values, index=column.index, dtype=object)


def _arrow(column: pd.Series, name: str) -> Any:
    import pyarrow as pa

    types = {
        "problem": pa.string(), "sample": pa.int64(), "model": pa.string(), "prompt": pa.string(),
        "prompt_ids": pa.list_(pa.int64()), "ids": pa.list_(pa.int64()), "text": pa.string(),
        "logp": pa.list_(pa.float64()), "correct": pa.bool_(), "answer": pa.string(), "stop": pa.string(),
        "author": pa.list_(pa.string()),
    }  # fmt: skip
    values = [None if value is pd.NA else value for value in column.tolist()]
    return pa.array(values, type=types.get(name))
