"""Samples out of inspect-ai logs: ``.eval`` archives, packed with deflate or Zstandard, and ``.json``.

The prompt of a sample is what the model read before its last answer: the messages in their order, with the system
message and the letters of a multiple choice, where the log has them, else the sample's input.  A sample that failed has
no answer; it is left out, and a warning says how many were.  Marks are those of the log's first scorer.
"""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hooks.sample_rows import parsed, row_of

GRADES: dict[Any, bool] = {"C": True, "I": False, "N": False, 1: True, 0: False, "correct": True, "incorrect": False}
"""Marks as inspect-ai writes them; a part mark is no verdict."""


ZSTANDARD = 93
"""The packing that inspect-ai uses today and Python's zipfile cannot undo before 3.14."""


class _Failed(ValueError):
    """A sample without an answer."""


def read_inspect(path: Path) -> list[dict[str, Any]]:
    """One row a sample, in the order of problem and epoch of the log.

    Raises:
        ValueError: where the file is no inspect-ai log, a sample lacks what is needed, or every sample failed.
    """
    rows, failed = [], []
    for where, sample, model in _archive(path) if path.suffix == ".eval" else _json(path):
        try:
            rows.append(_sample(sample, model, where))
        except _Failed as error:
            failed.append(error)
    if failed and not rows:
        raise failed[0]
    if failed:
        warnings.warn(
            f"{len(failed)} of {len(rows) + len(failed)} samples failed and are left out: {failed[0]}", stacklevel=4
        )
    return rows


def _archive(path: Path) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            header = "header.json" if "header.json" in names else "_journal/start.json"
            told = parsed(_member(archive, header, path), f"{path}, {header}")
            for name in sorted({one for one in names if one.startswith("samples/") and one.endswith(".json")}):
                where = f"{path}, {name}"
                yield where, parsed(_member(archive, name, path), where), told.get("eval", {}).get("model")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is not an inspect-ai log: {error}") from error
    except KeyError as error:
        raise ValueError(f"{path} is not an inspect-ai log: it has no header.json") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> str:
    info = archive.getinfo(name)
    try:
        return archive.read(info).decode()
    except NotImplementedError as error:
        if info.compress_type != ZSTANDARD:
            raise ValueError(
                f"{path} is packed in a way Python cannot read ({error}); use inspect log convert --to json"
            ) from error
    import pyarrow as pa

    with path.open("rb") as file:
        file.seek(info.header_offset)
        # A member starts with a header of its own: 30 bytes, then its name and extra field, of the lengths said there.
        head = file.read(30)
        file.seek(sum(struct.unpack("<HH", head[26:30])), 1)
        packed = file.read(info.compress_size)
    try:
        content: bytes = pa.Codec("zstd").decompress(packed, decompressed_size=info.file_size, asbytes=True)
    except OSError as error:
        raise ValueError(f"{path}, {name} is damaged: {error}") from error
    if zlib.crc32(content) != info.CRC:
        raise ValueError(f"{path}, {name} is damaged: its checksum is wrong")
    return content.decode()


def _json(path: Path) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    log = parsed(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(log.get("samples"), list):
        raise ValueError(f"{path} is not an inspect-ai log with samples (no field 'samples')")
    for number, sample in enumerate(log["samples"]):
        yield f"{path}, sample {number}", sample, log.get("eval", {}).get("model")


def _sample(sample: Mapping[str, Any], model: str | None, where: str) -> dict[str, Any]:
    for name in ("id", "input", "output"):
        if name not in sample:
            raise ValueError(f"{where} has no field {name!r}")
    attached = sample.get("attachments") or {}
    choices = sample["output"].get("choices") or []
    if not choices:
        error = (sample.get("error") or {}).get("message") or sample["output"].get("error") or "no reason given"
        raise _Failed(f"{where}: field 'output' has no choices ({error}); drop samples that failed")
    text = _content(choices[0].get("message", {}).get("content"), attached, where)
    score: Mapping[str, Any] = next(iter((sample.get("scores") or {}).values()), {})
    value = score.get("value")
    return row_of(
        sample["id"],
        _prompt(sample, text, attached, where),
        text,
        sample=int(sample.get("epoch", 1)) - 1,
        model=model or sample["output"].get("model"),
        correct=GRADES.get(value) if isinstance(value, str | int | float) else None,
        answer=score.get("answer"),
        stop=choices[0].get("stop_reason"),
    )


def _prompt(sample: Mapping[str, Any], text: str, attached: Mapping[str, str], where: str) -> str:
    """What stood before the answer: the messages, where they end with it, else the input."""
    turns = list(sample.get("messages") or [])
    while turns and turns[-1].get("role") != "assistant":
        turns.pop()
    if len(turns) > 1 and _content(turns[-1].get("content"), attached, where) == text:
        turns.pop()
    else:
        given = sample["input"]
        turns = [{"content": given}] if isinstance(given, str) else list(given)
    return "\n\n".join(_content(turn.get("content"), attached, where) for turn in turns)


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
