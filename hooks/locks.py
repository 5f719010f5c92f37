"""Who may write: a lock on a range of shards that ends with its process, however that ends.

The operating system keeps the lock, so a killed writer leaves none behind and there is nothing to clean up.  Ranges of
one file are locked separately: several processes may write different shards of one store, two may not write the same.
Where ranges that belong to an open file are unknown (anything but Linux), the whole file is locked instead.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreBusy(RuntimeError):
    """Somebody else is writing the same shards."""


@contextmanager
def writing(path: Path, start: int, stop: int, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the numbers ``start`` to ``stop`` of the lock file ``path``; refuse at once, or wait when told to.

    Raises:
        StoreBusy: naming ``what`` is being written by somebody else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _lock(handle, start, stop, wait):
            raise StoreBusy(
                f"another writer is at work on {what}: wait until it has ended, or give each its own part with shard="
            )
        yield
    finally:
        os.close(handle)


def _lock(handle: int, start: int, stop: int, wait: bool) -> bool:
    import fcntl

    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            # struct flock: type, whence, start, length, pid; open-file locks want pid 0 and hold within a process too.
            wish = struct.pack("hhqqiI", fcntl.F_WRLCK, os.SEEK_SET, start, max(1, stop - start), 0, 0)
            fcntl.fcntl(handle, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, wish)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True
