"""Samples made elsewhere: plain JSONL, inspect-ai logs, lm-evaluation-harness sample files.

What such files say of a sample is taken over; what they do not say is missing, never guessed: most have text and no
token ids, so :func:`add_ids` cuts the text into tokens once, and says so, since those need not be the tokens that were
sampled.  A line that cannot be read is an error that names the file, the line and the field.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hooks.inspect_logs import read_inspect
from hooks.rollouts import Rollouts
from hooks.sample_rows import parsed, row_of

NAMES: dict[str, tuple[str, ...]] = {
    "problem": ("problem", "id", "problem_id", "question_id", "doc_id", "index"),
    "prompt": ("prompt", "question", "input", "query"),
    "text": ("text", "completion", "response", "output", "generation", "responses", "completions", "outputs"),
    "sample": ("sample", "sample_id", "epoch"),
    "model": ("model", "model_name"),
    "correct": ("correct", "is_correct"),
    "answer": ("answer", "predicted", "prediction"),
    "stop": ("stop", "finish_reason", "stop_reason"),
    "ids": ("ids", "token_ids", "output_ids"),
    "prompt_ids": ("prompt_ids", "prompt_token_ids"),
    "logp": ("logp", "logprobs", "token_logprobs"),
}
"""Of each column the fields of a plain JSONL line that are understood, the first present one wins."""


def read(path: str | Path, *, model: str | None = None) -> Rollouts:
    """Read samples of any known kind, told apart by the name's ending and the first line.

    Args:
        path: ``.parquet`` (this package's), ``.eval`` or ``.json`` (inspect-ai), ``.jsonl`` (plain or lm-eval).
        model: name of the author where the file does not say.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: for an unknown kind, an empty file, or a line that lacks what is needed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there are no samples at {path}; `whenlens rollouts` writes some")
    if path.suffix == ".parquet":
        return Rollouts.load(path)
    if path.suffix in (".eval", ".json"):
        rows = read_inspect(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        rows = list(_lines(path))
    else:
        raise ValueError(
            f"{path} ends in none of .parquet, .jsonl, .eval, .json, the kinds of samples that can be read"
        )
    if not rows:
        raise ValueError(f"{path} has no samples in it")
    beside = _named_beside(path)
    for row in rows:
        row["model"] = row["model"] or model or beside or "unknown"
        # Samples of others know no roles, so their author is their model.
        row["author"] = [row["model"]] * len(row["ids"])
    _number(rows)
    return Rollouts.of(rows)


def add_ids(rollouts: Rollouts, model: Any, *, template: str = "auto") -> Rollouts:
    """Cut prompts and texts into ``model``'s tokens where a sample has no ids, with a warning that says how many.

    The end-of-sequence token is added to texts that ended with it.  ``template`` as for ``Model.encode``; files whose
    prompts already went through a chat template (lm-eval's, with ``--apply_chat_template``) want "none".
    """
    rows: list[dict[str, Any]] = rollouts.frame.to_dict("records")  # type: ignore[assignment]
    bare = [row for row in rows if not row["prompt_ids"]]
    if not bare:
        return rollouts
    warnings.warn(
        f"{len(bare)} of {len(rows)} samples have no token ids; their text is cut into tokens by {model.name}'s "
        "tokenizer, which need not give the tokens that were sampled",
        stacklevel=3,
    )
    prompts = model.encode([row["prompt"] for row in bare], template=template)
    cut = model.tokenizer([row["text"] for row in bare], add_special_tokens=False).input_ids
    for row, prompt, ids in zip(bare, prompts, cut, strict=True):
        ids = [*map(int, ids), *([int(model.eos_ids[0])] if row["stop"] == "eos" and model.eos_ids else [])]
        row.update(prompt_ids=list(prompt), ids=ids, logp=[math.nan] * len(ids), author=[row["model"]] * len(ids))
    return Rollouts.of(rows)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    seen: dict[str, Any] = {}
    # Some editors put a byte-order mark before the first line.
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            entry = parsed(line, where)
            if "resps" in entry:
                # With several filters lm-eval repeats every document; the texts are the same.
                if seen.setdefault(str(entry.get("doc_id")), entry.get("filter")) == entry.get("filter"):
                    yield from _lm_eval(entry, where)
            else:
                yield from _plain(entry, where)


def _named_beside(path: Path) -> str | None:
    """The model as lm-eval's results file of the same run names it; the sample file does not."""
    results = path.with_name(f"results_{path.stem.rpartition('_')[2]}.json")
    if not path.name.startswith("samples_") or not results.is_file():
        return None
    name = parsed(results.read_text(encoding="utf-8"), str(results)).get("model_name")
    return str(name) if name else None


def _plain(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    found = {name: next((entry[key] for key in keys if key in entry), None) for name, keys in NAMES.items()}
    for name in ("prompt", "text"):
        if found[name] is None:
            raise ValueError(f"{where} has no field {name!r} (nor {', '.join(NAMES[name][1:])})")
    prompt, texts, prompt_ids = found.pop("prompt"), found.pop("text"), found["prompt_ids"]
    problem = found.pop("problem")
    many = isinstance(texts, list)
    listed: list[Any] = texts if isinstance(texts, list) else [texts]
    if not isinstance(prompt, str):
        raise ValueError(f"{where}: field 'prompt' is a {type(prompt).__name__}, not a text")
    for at, text in enumerate(listed):
        if not isinstance(text, str):
            raise ValueError(f"{where}: field 'text' holds a {type(text).__name__}, not a text")
        known = {
            name: _of_sample(value, at, len(listed), name, where) if many else value for name, value in found.items()
        }
        known["prompt_ids"] = prompt_ids
        known["sample"] = None if many else known["sample"]
        _check_lists(known, where)
        yield row_of(prompt if problem is None else problem, prompt, text, **known)


def _of_sample(value: Any, at: int, count: int, name: str, where: str) -> Any:
    """What a field of a line with several texts says of one of them; a list has one entry each."""
    if not isinstance(value, list) or name == "prompt_ids":
        return value
    if len(value) != count:
        raise ValueError(f"{where}: field {name!r} has {len(value)} entries for {count} texts")
    return value[at]


def _check_lists(known: Mapping[str, Any], where: str) -> None:
    for name in ("ids", "prompt_ids"):
        value = known[name]
        if value is not None and not (isinstance(value, list) and all(type(token) is int for token in value)):
            raise ValueError(f"{where}: field {name!r} is not a list of token ids")
    logp, correct = known["logp"], known["correct"]
    if logp is not None and not (isinstance(logp, list) and len(logp) == len(known["ids"] or [])):
        raise ValueError(f"{where}: field 'logp' is not a list of one number a token id")
    if correct is not None and not isinstance(correct, bool):
        raise ValueError(f"{where}: field 'correct' is {correct!r}, not true or false")
    if known["ids"] and not known["prompt_ids"]:
        raise ValueError(f"{where} has token ids of the text and none of the prompt (field 'prompt_ids')")


def _lm_eval(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    arguments = entry.get("arguments")
    first = arguments.get("gen_args_0", {}).get("arg_0") if isinstance(arguments, dict) else None
    if isinstance(arguments, list) and arguments and isinstance(arguments[0], list):
        first = arguments[0][0]
    if not isinstance(first, str):
        raise ValueError(f"{where} has no prompt in its field 'arguments'; write samples with lm-eval's --log_samples")
    texts = entry["resps"][0] if isinstance(entry["resps"], list) and entry["resps"] else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where}: field 'resps' has no generated text (a task scored by likelihood has none)")
    score = entry.get("exact_match", entry.get("acc"))
    correct = bool(score) if len(texts) == 1 and score in (0, 1) else None
    answers = entry.get("filtered_resps")
    answer = answers[0] if isinstance(answers, list) and len(answers) == 1 and isinstance(answers[0], str) else None
    # What lm-eval's filters write where they find nothing.
    answer = None if answer == "[invalid]" else answer
    for sample, text in enumerate(texts):
        yield row_of(entry.get("doc_id", first), first, text, sample=sample, correct=correct, answer=answer)


def _number(rows: Sequence[dict[str, Any]]) -> None:
    """Count the samples of a problem and model where the file does not."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["problem"], row["model"])
        if row["sample"] is None:
            row["sample"] = counts.get(key, 0)
        counts[key] = max(counts.get(key, 0), int(row["sample"]) + 1)
