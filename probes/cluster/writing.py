"""Rollouts as tasks: some problems of one model a task, graded, each part a file that is whole or absent.

A text belongs to its prompt and to its own random numbers, so which node writes it changes nothing; the log-probs
belong to the last digit to the batch, and a batch never reaches across a part.  The parts belong to the call, not to
the number of workers: the tables are the same whoever wrote them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hooks.generate import generate
from hooks.rollouts import Rollouts, write_whole
from probes.cluster.pairs import PairName
from probes.latent.sweep import Runner
from probes.tasks import Problem, grade

ROLES = ("base", "rl")
PART = 64
"""Problems of one task."""


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn; see :func:`hooks.generate.generate`."""

    n: int = 1
    """Samples a problem."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus."""
    max_new_tokens: int = 256
    """Longest text."""
    seed: int = 0
    """Names the random streams."""
    template: str = "auto"
    """Prompt template."""
    batch_size: int = 64
    """Rows at a time."""


@dataclass(frozen=True)
class _Job:
    pair: PairName
    problems: tuple[Problem, ...]
    sampling: Sampling
    out: Path
    part: int

    @property
    def key(self) -> str:
        """Hash of everything that can change a text; the device and the folder cannot."""
        asked = [
            self.pair.base, self.pair.rl, self.pair.dtype, self.part, asdict(self.sampling),
            [[problem.id, problem.prompt, problem.answer, problem.kind] for problem in self.problems],
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]

    def file(self, role: str, start: int) -> Path:
        return self.out / "parts" / f"{role}-{start:06d}.parquet"

    def write(self, task: tuple[str, int]) -> int:
        """Write one part where it is missing, and return how many samples it has."""
        role, start = task
        some = self.problems[start : start + self.part]
        path = self.file(role, start)
        if not path.exists():
            made = generate(getattr(self.pair.load(), role), some, **asdict(self.sampling))
            grade(made, some).save(path)
        return len(some) * self.sampling.n


def write_rollouts(
    pair: PairName,
    problems: Sequence[Problem],
    *,
    out: str | Path,
    sampling: Sampling | None = None,
    part: int = PART,
    runner: Runner = map,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Rollouts]:
    """Let both models write to every problem, and grade what they wrote.

    Args:
        pair: whose texts.
        problems: what is asked.
        out: folder for ``base.parquet`` and ``rl.parquet``, at the same path on every node; the same call goes on with
            it where a killed one stopped.
        sampling: how; greedy, one text a problem, when None.
        part: problems of one task; it belongs to the request.
        runner: who does the tasks.
        progress: called with samples done and samples in all.

    Returns:
        the rollouts of ``"base"`` and ``"rl"``, problems in the order given.

    Raises:
        ValueError: when ``out`` holds texts of another call, or for prompts or sampling that mean nothing.
        FileNotFoundError: when the workers wrote somewhere else.
    """
    if part < 1:
        raise ValueError(f"a part has at least 1 problem, not {part}")
    job = _Job(pair, tuple(problems), sampling or Sampling(), Path(out).resolve(), part)
    _claim(job)
    starts = range(0, len(job.problems), part)
    if not all((job.out / f"{role}.parquet").exists() for role in ROLES):
        done, total = 0, len(ROLES) * len(job.problems) * job.sampling.n
        for count in runner(job.write, [(role, start) for role in ROLES for start in starts]):
            done += count
            if progress is not None:
                progress(done, total)
        _join(job, starts)
    return {role: Rollouts.load(job.out / f"{role}.parquet") for role in ROLES}


def _claim(job: _Job) -> None:
    """Write down whose texts the folder holds, or refuse another's."""
    path = job.out / "rollouts.json"
    record: dict[str, Any] = {"key": job.key, "pair": asdict(job.pair), "part": job.part} | asdict(job.sampling)
    if path.exists():
        held = json.loads(path.read_text())
        if held["key"] != job.key:
            changed = [name for name, value in record.items() if name != "key" and held.get(name) != value]
            raise ValueError(
                f"{job.out} holds rollouts of another call (other {', '.join(changed) or 'problems'}): choose another "
                "folder, or delete it"
            )
        return
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))


def _join(job: _Job, starts: range) -> None:
    files = {role: [job.file(role, start) for start in starts] for role in ROLES}
    missing = [path for paths in files.values() for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"the workers left no {missing[0]}: give a folder on a file system that all nodes share"
        )
    for role, paths in files.items():
        Rollouts.concat([Rollouts.load(path) for path in paths]).save(job.out / f"{role}.parquet")
    # The whole folder, for a killed writer leaves its temporary file there.
    shutil.rmtree(job.out / "parts")
