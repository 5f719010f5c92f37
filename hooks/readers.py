"""Samples made elsewhere: plain JSONL, inspect-ai logs, lm-evaluation-harness sample files.

What such files say of a sample is taken over; what they do not say is missing, never guessed: most have text and no
token ids, so :func:`add_ids` cuts the text into tokens once, and says so, since those need not be the tokens that were
sampled.  A line that cannot be read is an error that names the file, the line and the field.
"""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hooks.rollouts import Rollouts

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

STOP = {
    "eos": "eos", "stop": "eos", "end_turn": "eos", "length": "length", "max_tokens": "length", "string": "string",
    "stop_sequence": "string", "model_length": "length",
}  # fmt: skip
"""Reasons for ending as other programs call them."""

GRADES: dict[Any, bool] = {"C": True, "I": False, "N": False, 1: True, 0: False, "correct": True, "incorrect": False}
"""Marks as inspect-ai writes them; a part mark is no verdict."""


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
        raise FileNotFoundError(f"there are no samples at {path}")
    if path.suffix == ".parquet":
        return Rollouts.load(path)
    if path.suffix == ".eval":
        rows = list(_inspect_zip(path))
    elif path.suffix == ".json":
        rows = list(_inspect_json(path))
    elif path.suffix in (".jsonl", ".ndjson"):
        rows = list(_lines(path))
    else:
        raise ValueError(
            f"{path} ends in none of .parquet, .jsonl, .eval, .json, the kinds of samples that can be read"
        )
    if not rows:
        raise ValueError(f"{path} has no samples in it")
    for row in rows:
        row["model"] = row["model"] or model or "unknown"
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
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            entry = _parsed(line, where)
            if "resps" in entry:
                # With several filters lm-eval repeats every document; the texts are the same.
                if seen.setdefault(str(entry.get("doc_id")), entry.get("filter")) == entry.get("filter"):
                    yield from _lm_eval(entry, where)
            else:
                yield from _plain(entry, where)


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{where} holds a {type(entry).__name__}, not an object with fields")
    return entry


def _row(problem: Any, prompt: str, text: str, **known: Any) -> dict[str, Any]:
    ids, logp = known.get("ids") or [], known.get("logp")
    stop = known.get("stop")
    return {
        "problem": str(problem), "sample": known.get("sample"), "model": known.get("model"), "prompt": prompt,
        "prompt_ids": known.get("prompt_ids") or [], "ids": ids, "text": text,
        "logp": [math.nan] * len(ids) if logp is None else logp, "correct": known.get("correct"),
        "answer": None if known.get("answer") is None else str(known["answer"]),
        "stop": None if stop is None else STOP.get(str(stop).lower()),
    }  # fmt: skip


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
        yield _row(prompt if problem is None else problem, prompt, text, **known)


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
    for sample, text in enumerate(texts):
        yield _row(entry.get("doc_id", first), first, text, sample=sample, correct=correct, answer=answer)


def _inspect_zip(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(
                name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")
            )
            header = "header.json" if "header.json" in archive.namelist() else "_journal/start.json"
            model = _parsed(archive.read(header).decode(), f"{path}, {header}").get("eval", {}).get("model")
            for name in names:
                yield _inspect_sample(_parsed(archive.read(name).decode(), f"{path}, {name}"), model, f"{path}, {name}")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not an inspect-ai log: {error}") from error
    except KeyError as error:
        raise ValueError(f"{path} is not an inspect-ai log: it has no header.json") from error
    except NotImplementedError as error:
        raise ValueError(
            f"{path} is packed in a way Python cannot read ({error}); use inspect log convert --to json"
        ) from error


def _inspect_json(path: Path) -> Iterator[dict[str, Any]]:
    log = _parsed(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(log.get("samples"), list):
        raise ValueError(f"{path} is not an inspect-ai log with samples (no field 'samples')")
    for number, sample in enumerate(log["samples"]):
        yield _inspect_sample(sample, log.get("eval", {}).get("model"), f"{path}, sample {number}")


def _inspect_sample(sample: Mapping[str, Any], model: str | None, where: str) -> dict[str, Any]:
    for name in ("id", "input", "output"):
        if name not in sample:
            raise ValueError(f"{where} has no field {name!r}")
    attached = sample.get("attachments") or {}
    choices = sample["output"].get("choices") or []
    if not choices:
        error = (sample.get("error") or {}).get("message") or sample["output"].get("error") or "no reason given"
        raise ValueError(f"{where}: field 'output' has no choices ({error}); drop samples that failed")
    given = sample["input"]
    turns = [given] if isinstance(given, str) else [_content(turn.get("content"), attached, where) for turn in given]
    score: Mapping[str, Any] = next(iter((sample.get("scores") or {}).values()), {})
    value = score.get("value")
    return _row(
        sample["id"],
        "\n\n".join(_attached(turn, attached, where) for turn in turns),
        _content(choices[0].get("message", {}).get("content"), attached, where),
        sample=int(sample.get("epoch", 1)) - 1,
        model=model or sample["output"].get("model"),
        correct=GRADES.get(value) if isinstance(value, str | int | float) else None,
        answer=score.get("answer"),
        stop=choices[0].get("stop_reason"),
    )


def _content(content: Any, attached: Mapping[str, str], where: str) -> str:
    """The text of a message, its reasoning before it between think marks."""
    if isinstance(content, str):
        return _attached(content, attached, where)
    if not isinstance(content, list):
        raise ValueError(f"{where}: a message has no content that is text")
    parts = []
    for piece in content:
        if piece.get("type") == "reasoning":
            parts.append(f"<think>\n{_attached(piece.get('reasoning', ''), attached, where)}\n</think>\n")
        elif piece.get("type") == "text":
            parts.append(_attached(piece.get("text", ""), attached, where))
    return "".join(parts)


def _attached(text: str, attached: Mapping[str, str], where: str) -> str:
    """inspect-ai keeps long texts once and refers to them."""
    if not text.startswith("attachment://"):
        return text
    key = text.removeprefix("attachment://")
    if key not in attached:
        raise ValueError(f"{where}: the attachment {key} is missing")
    return attached[key]


def _number(rows: Sequence[dict[str, Any]]) -> None:
    """Count the samples of a problem and model where the file does not."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["problem"], row["model"])
        if row["sample"] is None:
            row["sample"] = counts.get(key, 0)
        counts[key] = max(counts.get(key, 0), int(row["sample"]) + 1)
