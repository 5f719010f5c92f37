"""Which strategy does each stretch of a text follow?  Labels on spans of tokens, by rules or by the user.

Rules read the text that the ids decode to and their findings are carried back to the ids through character offsets
(:mod:`probes.latent.offsets`); the text is never cut into tokens anew.  There are rules for English
(:mod:`probes.latent.english`) and for the language of the shipped organisms; a user brings a function or a file.

Rules make mistakes, and the same ones on both models: compare frequencies between models rather than trust a count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from hooks.organisms.chains import MARKS
from hooks.rollouts import Rollouts
from probes.latent.english import label_english
from probes.latent.offsets import Decoder
from probes.latent.spans import COLUMNS, KEY, OTHER, STRATEGIES, Spans, decisions

__all__ = [
    "MARKS",
    "OTHER",
    "STRATEGIES",
    "Labeller",
    "Spans",
    "annotate",
    "by_sentence",
    "decisions",
    "label_organism",
]

Labeller = Callable[[str], Sequence[tuple[int, int, str]]]
"""Text to labelled stretches ``(start, stop, strategy)`` in characters, in order, without overlap."""

_OPENS = re.compile("|".join(map(re.escape, MARKS)))
_LANGUAGE = re.compile(r"(?:steps |code |answer )[0-9a-z+\-*=;:. ]*")


def annotate(
    rollouts: Rollouts, annotator: str | Path | Labeller | pd.DataFrame = "auto", *, tokenizer: Any = None
) -> Spans:
    """Label what the texts of rollouts do.

    Args:
        rollouts: samples with their ids.
        annotator: ``english``, ``organism``, ``auto`` (the organisms' rules if the texts are in their language, else
            English), a function from a text to labelled stretches in characters, or a table (a DataFrame or the path of
            a ``.jsonl``, ``.csv`` or ``.parquet`` file) with ``problem``, ``sample``, ``strategy`` and either ``start``
            and ``stop`` in tokens of the completion or ``char_start`` and ``char_stop``, and ``model`` where the
            rollouts hold more than one.
        tokenizer: what turns the ids into text (a tokenizer, or a model that has one).  Not needed for organisms, nor
            for a table in token coordinates.

    Returns:
        spans in tokens of the completion; a stretch in which no token begins is left out.

    Raises:
        FileNotFoundError: for a file that is not there.
        ValueError: without a tokenizer where one is needed, or for labels that overlap or belong to no text.

    Does not show that a strategy was carried out, only that its words were written.
    """
    if isinstance(annotator, pd.DataFrame):
        return _from_table(annotator, rollouts, tokenizer, "the table of labels")
    if callable(annotator):
        return _from_labeller(lambda text, _prompt: annotator(text), rollouts, _decoder(tokenizer))
    name = str(annotator)
    if name == "auto":
        name = "organism" if _is_organism(rollouts) else "english"
    if name == "organism":
        decoder = _decoder(tokenizer or _organism_tokenizer())
        return _from_labeller(lambda text, _prompt: label_organism(text), rollouts, decoder)
    if name == "english":
        return _from_labeller(label_english, rollouts, _decoder(tokenizer))
    return _from_table(_read(Path(name)), rollouts, tokenizer, name)


def by_sentence(label: Callable[[str], str | None]) -> Labeller:
    """A labeller that cuts a text into English sentences and asks ``label`` about each; None leaves it unlabelled."""
    from probes.latent.english import sentences

    def labeller(text: str) -> list[tuple[int, int, str]]:
        found = [(start, stop, label(text[start:stop].strip())) for start, stop in sentences(text)]
        return [(start, stop, name) for start, stop, name in found if name is not None]

    return labeller


def label_organism(text: str) -> list[tuple[int, int, str]]:
    """The segments of an organism's text: each is named by the word that opens it, a calculation by its digit.

    What is in no segment of the language (a broken word, a stray sign) is ``other``.
    """
    edges = {0, len(text)} | {match.start() for match in _OPENS.finditer(text)}
    edges |= {match.end() for match in re.finditer(r"[;.]|steps ", text)}
    places = sorted(edge for edge in edges if edge <= len(text))
    return [(start, stop, _opening(text[start:stop])) for start, stop in pairwise(places)]


def _opening(segment: str) -> str:
    for mark, strategy in MARKS.items():
        if segment.startswith(mark):
            return strategy
    return "computation" if segment[:1].isdigit() else OTHER


def _is_organism(rollouts: Rollouts) -> bool:
    texts = [text for text in rollouts.frame["text"] if text]
    return bool(texts) and sum(bool(_LANGUAGE.fullmatch(text)) for text in texts) > len(texts) / 2


def _organism_tokenizer() -> Any:
    from hooks.organisms.tokenizer import build_tokenizer

    return build_tokenizer()


def _decoder(tokenizer: Any) -> Decoder:
    if tokenizer is None:
        raise ValueError("a tokenizer is needed to know what each token wrote; give tokenizer=model.tokenizer")
    return Decoder(getattr(tokenizer, "tokenizer", tokenizer))


def _from_labeller(
    labeller: Callable[[str, str], Sequence[tuple[int, int, str]]], rollouts: Rollouts, decoder: Decoder
) -> Spans:
    frame = rollouts.frame
    if len(frame) and not frame["ids"].map(len).any():
        raise ValueError("these rollouts have no token ids; add them with with_ids(model)")
    rows: list[tuple[Any, ...]] = []
    for problem, sample, model, prompt, ids in zip(*(frame[name] for name in (*KEY, "prompt", "ids"))):
        written = decoder(ids)
        labelled = list(labeller(written.text, prompt))
        _check(labelled, len(written.text), f"sample {sample} of problem {problem!r}")
        for start, stop, strategy in labelled:
            first, last = written.token_span(start, stop)
            if first < last:
                rows.append((problem, sample, model, strategy, first, last, written.text[start:stop]))
    return Spans(pd.DataFrame(rows, columns=COLUMNS))


def _check(labelled: Sequence[tuple[int, int, str]], length: int, where: str) -> None:
    reached = 0
    for start, stop, strategy in labelled:
        if not reached <= start < stop <= length:
            raise ValueError(
                f"{where}: the label {strategy!r} on characters [{start}, {stop}) overlaps another, is out of order or "
                f"lies outside the text of {length} characters"
            )
        reached = stop


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(f"there are no labels at {path}; an annotator is auto, english, organism or a file")
    as_text = {"problem": str, "model": str}
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=as_text)
    if path.suffix not in (".jsonl", ".json"):
        raise ValueError(f"labels are read from .jsonl, .csv and .parquet, not from {path.name}")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                rows.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return pd.DataFrame(rows)


def _from_table(table: pd.DataFrame, rollouts: Rollouts, tokenizer: Any, source: str) -> Spans:
    by_token = {"start", "stop"} <= set(table.columns)
    needed = ["problem", "sample", "strategy", *(["start", "stop"] if by_token else ["char_start", "char_stop"])]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ValueError(f"{source} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
    labels = table.assign(problem=table["problem"].astype(str), sample=table["sample"].astype(int))
    models = list(dict.fromkeys(rollouts.frame["model"]))
    if "model" not in labels:
        if len(models) > 1:
            raise ValueError(f"{source} needs a column 'model', because the rollouts are of {', '.join(models)}")
        labels["model"] = models[0] if models else ""
    keys = zip(*(rollouts.frame[name] for name in KEY), strict=True)
    texts: dict[Any, list[int]] = dict(zip(keys, rollouts.frame["ids"]))
    decoder = Decoder(getattr(tokenizer, "tokenizer", tokenizer)) if tokenizer is not None else None
    if decoder is None and not by_token:
        decoder = _decoder(None)
    rows: list[tuple[Any, ...]] = []
    for key, found in labels.groupby(KEY, sort=False):
        where = f"{source}: sample {key[1]} of problem {key[0]!r} by {key[2]}"
        if key not in texts:
            raise ValueError(f"{where} is not among the rollouts")
        rows += _placed(found, key, texts[key], decoder, by_token, where)
    return Spans(pd.DataFrame(rows, columns=COLUMNS))


def _placed(
    found: pd.DataFrame, key: Any, ids: Sequence[int], decoder: Decoder | None, by_token: bool, where: str
) -> list[tuple[Any, ...]]:
    """One text's labels as rows of spans; the text of a span is empty where nobody can decode it."""
    written = decoder(ids) if decoder is not None else None
    columns = ["start", "stop"] if by_token else ["char_start", "char_stop"]
    labelled = sorted(zip(found[columns[0]].astype(int), found[columns[1]].astype(int), found["strategy"].astype(str)))
    _check(labelled, len(ids) if by_token or written is None else len(written.text), where)
    rows = []
    for start, stop, strategy in labelled:
        if by_token:
            text = "" if written is None else written.text[written.starts[start] : written.stops[stop - 1]]
            rows.append((*key, strategy, start, stop, text))
        elif written is not None:
            first, last = written.token_span(start, stop)
            if first < last:
                rows.append((*key, strategy, first, last, written.text[start:stop]))
    return rows
