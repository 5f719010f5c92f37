"""One shard of one site on disk: written whole or not at all, checked block by block, mapped without copying.

A shard is an ordinary safetensors file with one tensor ``x`` of shape [row, width].  Its header's metadata holds the
request's key, the weights' hash, site, side and number of the shard, and the CRC-32 of every block of data; the header
has a fixed length for its shape, so data can be written first, in any order, and the checksums last.  The file is
filled under a temporary name beside its place, synced, and renamed.  Reading parses JSON and maps bytes; nothing in a
file is ever executed.

CRC-32 finds damage (a flipped bit always, anything else all but once in four thousand million blocks); it does not
prove who wrote a file.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

BLOCK = 1 << 20
"""Bytes under one checksum."""
ALIGN = 4096
"""Data begin at a multiple of this, a page."""
PARTIAL = ".partial"
"""Suffix of a shard that is not finished."""

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
}
"""Formats that activations can have, by their safetensors names."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DamagedShard(ValueError):
    """A shard that is truncated, changed, or not of this store; the message names it and says what to do."""


class DiskFull(OSError):
    """No room was left; what had been finished is kept."""


@dataclass(frozen=True)
class ShardSpec:
    """What a shard must be."""

    path: Path
    """Its place."""
    n_rows: int
    """Rows it holds."""
    width: int
    """Numbers a row."""
    dtype: torch.dtype
    """Their format."""
    marks: Mapping[str, str]
    """Whose it is: key, weights, side, site, shard."""

    @property
    def row_bytes(self) -> int:
        """Bytes a row."""
        return self.width * self.dtype.itemsize

    @property
    def data_bytes(self) -> int:
        """Bytes of data, without the header."""
        return self.n_rows * self.row_bytes

    @property
    def n_blocks(self) -> int:
        """Blocks under a checksum."""
        return -(-self.data_bytes // BLOCK)

    def header(self, sums: list[int]) -> bytes:
        """The file's first bytes, of a length that does not depend on the checksums."""
        metadata = {**self.marks, "block": str(BLOCK), "crc32": "".join(f"{value:08x}" for value in sums)}
        tensor = {"dtype": _NAMES[self.dtype], "shape": [self.n_rows, self.width], "data_offsets": [0, self.data_bytes]}
        text = json.dumps({"__metadata__": metadata, "x": tensor}, sort_keys=True, separators=(",", ":")).encode()
        length = -(-(len(text) + 8) // ALIGN) * ALIGN - 8
        return length.to_bytes(8, "little") + text.ljust(length)

    @property
    def data_start(self) -> int:
        """Where data begin in the file."""
        return len(self.header([0] * self.n_blocks))


@contextmanager
def room_needed(what: str) -> Iterator[None]:
    """Turn the operating system's ways of saying that a disk is full into one sentence.

    Raises:
        DiskFull: naming ``what`` was being written.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(
            error.errno,
            f"no room left on the disk while writing {what}: free some and run the same command again, "
            "finished shards are kept",
        ) from error


class ShardWriter:
    """Fills one shard, rows in any order; leaving the ``with`` block well puts it in place, badly leaves nothing.

    Raises:
        DiskFull: when there is no room.
    """

    def __init__(self, spec: ShardSpec) -> None:
        self.spec = spec
        self.partial = spec.path.with_name(spec.path.name + PARTIAL)
        self._start = spec.data_start
        self._file = -1

    def __enter__(self) -> ShardWriter:
        with room_needed(str(self.spec.path)):
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                os.ftruncate(self._file, self._start + self.spec.data_bytes)
            except OSError:
                self._abandon()
                raise
        return self

    def _abandon(self) -> None:
        os.close(self._file)
        self.partial.unlink(missing_ok=True)

    def write(self, first_row: int, block: Shaped[Tensor, "row width"]) -> None:
        """Write rows from ``first_row`` on.

        Raises:
            ValueError: when they are not of the shard's format or do not fit.
        """
        if block.dtype != self.spec.dtype or block.shape[1] != self.spec.width:
            raise ValueError(
                f"{self.spec.path} takes {self.spec.width} {self.spec.dtype} a row, not {block.shape[1]} {block.dtype}"
            )
        if not 0 <= first_row <= self.spec.n_rows - len(block):
            raise ValueError(f"rows {first_row} to {first_row + len(block)} are outside {self.spec.path}")
        if len(block) and self.spec.width:
            with room_needed(str(self.spec.path)):
                self._put(_bytes_of(block), self._start + first_row * self.spec.row_bytes)

    def _put(self, data: memoryview, at: int) -> None:
        while data:
            done = os.pwrite(self._file, data, at)
            data, at = data[done:], at + done

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with room_needed(str(self.spec.path)):
                    self._put(memoryview(self.spec.header(self._sums())), 0)
                    os.fsync(self._file)
                    os.replace(self.partial, self.spec.path)
                    sync_folder(self.spec.path.parent)
        finally:
            self._abandon()

    def _sums(self) -> list[int]:
        # Read back through one small buffer: a mapping would count as this process's memory.
        buffer = memoryview(bytearray(BLOCK))
        sums = []
        for start in range(0, self.spec.data_bytes, BLOCK):
            block = buffer[: self.spec.data_bytes - start]
            if os.preadv(self._file, [block], self._start + start) != len(block):
                raise OSError(f"{self.partial} was cut while it was written")
            sums.append(zlib.crc32(block))
        return sums


def _bytes_of(block: Tensor) -> memoryview:
    return block.detach().contiguous().view(torch.uint8).numpy().data.cast("B")


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all.

    Raises:
        DiskFull: when there is no room.
    """
    partial = path.with_name(path.name + PARTIAL)
    with room_needed(str(path)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


class MappedShard:
    """A shard opened for reading: header checked at once, data mapped, each block checked when first touched.

    Raises:
        FileNotFoundError: when it has not been written.
        DamagedShard: when size, header or marks are not what the store says.
    """

    def __init__(self, spec: ShardSpec) -> None:
        self.spec = spec
        self._start = spec.data_start
        self._sums = _read_sums(spec)
        self._checked = np.zeros(spec.n_blocks, dtype=bool)
        with spec.path.open("rb") as file:
            # A private mapping is writable for its owner and never reaches the file, so views need no copy.
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def rows(self, start: int, stop: int) -> Shaped[Tensor, "row width"]:
        """Rows ``start`` to ``stop`` as a view of the mapped file.

        Raises:
            DamagedShard: when a block under them is not what was written.
        """
        spec = self.spec
        if start >= stop or not spec.width:
            return torch.empty(max(0, stop - start), spec.width, dtype=spec.dtype)
        self.check(start * spec.row_bytes, stop * spec.row_bytes)
        flat = torch.frombuffer(
            self._map, dtype=spec.dtype, count=(stop - start) * spec.width, offset=self._start + start * spec.row_bytes
        )
        return flat.reshape(stop - start, spec.width)

    def check(self, first_byte: int = 0, last_byte: int | None = None) -> None:
        """Compare the blocks under a range of data with their checksums, each once.

        Raises:
            DamagedShard: naming the first block that differs.
        """
        last = self.spec.data_bytes if last_byte is None else last_byte
        blocks = range(first_byte // BLOCK, -(-last // BLOCK))
        with memoryview(self._map) as view:
            for block in blocks:
                if self._checked[block]:
                    continue
                start = self._start + block * BLOCK
                stop = min(start + BLOCK, self._start + self.spec.data_bytes)
                if zlib.crc32(view[start:stop]) != self._sums[block]:
                    raise DamagedShard(
                        f"{self.spec.path} has changed since it was written (bytes {start} to {stop}): "
                        "delete it and run the same capture again"
                    )
                self._checked[block] = True


def _read_sums(spec: ShardSpec) -> list[int]:
    """The checksums of a shard whose size, shape and marks are right."""
    if not spec.path.exists():
        raise FileNotFoundError(f"{spec.path} has not been written yet: run the same capture again to go on")
    expected = spec.data_start + spec.data_bytes
    size = spec.path.stat().st_size
    if size != expected:
        kind = "truncated" if size < expected else "too long"
        raise _damaged(spec, f"is {kind} ({size} bytes instead of {expected})")
    with spec.path.open("rb") as file:
        head = file.read(spec.data_start)
    try:
        parsed = json.loads(head[8:])
        metadata, tensor = parsed["__metadata__"], parsed["x"]
        sums = [int(metadata["crc32"][at : at + 8], 16) for at in range(0, 8 * spec.n_blocks, 8)]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(spec, f"has an unreadable header ({type(error).__name__})") from error
    for mark, wanted in spec.marks.items():
        if metadata.get(mark) != wanted:
            raise _damaged(spec, f"is foreign: its {mark} is {metadata.get(mark)!r}, not {wanted!r}")
    if head != spec.header(sums):
        raise _damaged(spec, f"holds {tensor.get('shape')} {tensor.get('dtype')} or a changed header")
    return sums


def _damaged(spec: ShardSpec, what: str) -> DamagedShard:
    return DamagedShard(f"{spec.path} {what}: delete it and run the same capture again")
