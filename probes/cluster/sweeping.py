"""A sweep as a job: rollouts, capture, labels and probes, each step on disk, each cut into tasks.

Every step finds what it wrote before, so a killed job goes on with the same call: rollouts by parts, the store by
shards, the sweep by sites.  What the tables show and do not show: see :mod:`probes.latent.sweep`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from hooks.positions import Positions
from hooks.rollouts import Rollouts, write_whole
from hooks.store import ActivationStore
from probes import tasks
from probes.cluster.capturing import Request, capture_shards
from probes.cluster.kept import Kept
from probes.cluster.labelled import decided, read_labels, same_texts, strategy_labels
from probes.cluster.pairs import PairName
from probes.cluster.writing import Sampling, write_rollouts
from probes.latent.choices import decision_mask
from probes.latent.sweep import Runner, Sweep, sweep
from probes.results import manifest

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], object]]]
"""Opens a progress bar with a title, and gives what moves it: (done, total)."""


MANY = Sampling(n=8, temperature=1.0)
"""How the texts of a sweep are drawn unless told otherwise: several of each problem."""


@dataclass(frozen=True)
class SweepJob:
    """What a sweep over a pair or a store is told."""

    out: Path
    """Folder of the tables, and of texts and activations that are made here."""
    pair: PairName | None = None
    """Whose activations are captured first; or give ``store``."""
    store: Path | None = None
    """A store that is there."""
    texts: Path | None = None
    """Rollouts to capture, or those the store was captured from."""
    problems: str | None = None
    """Problems that both models write texts to, where there are none."""
    n_problems: int | None = None
    """How many of them."""
    sampling: Sampling = MANY
    """How the texts are drawn."""
    written_by: Literal["base", "rl"] = "base"
    """Whose texts are read, of those written here."""
    labels: Path | None = None
    """Labels of rows; without them the strategies that the texts chose."""
    columns: tuple[str, ...] = ()
    """Which columns of ``labels``; all when empty."""
    annotator: str = "auto"
    """How strategies are found."""
    positions: str = "generated"
    """What is captured when ``labels`` are given; with strategies it is the decisions."""
    side: str | None = None
    """Whose activations are probed; the base's where the store has it."""
    sites: str = "resid_post.*"
    """Patterns, split by commas."""
    twin: bool = True
    """Also capture a randomly initialised twin of the base."""
    twin_store: Path | None = None
    """The store of a twin, beside ``store``."""
    shard_tokens: int | None = None
    """Tokens of a capture task; the store's default when None."""
    options: tuple[tuple[str, Any], ...] = ()
    """Keyword arguments of :func:`probes.latent.sweep.sweep`, beside those that this job knows."""


@dataclass(frozen=True)
class Material:
    """What a sweep reads."""

    acts: ActivationStore
    """One side of a store."""
    labels: pd.DataFrame
    """A line a row, a column a label."""
    texts: Rollouts | None
    """The texts, where they are known."""
    twin: ActivationStore | None
    """The same rows of a twin."""


def run_sweep(job: SweepJob, *, bar: Bar, runner: Runner = map) -> Sweep:
    """Do a job and write ``sweep.parquet``, ``selected.parquet``, ``sweep.html`` and ``manifest.json`` into its folder.

    Args:
        job: what to do.
        bar: shows how far each step is.
        runner: who does the tasks of every step; the tables do not depend on it.

    Raises:
        ValueError: for settings, labels, texts and stores that do not fit each other, in one sentence.
        FileNotFoundError: for files and stores that are not there.
    """
    found = _from_store(job) if job.store is not None else _from_pair(job, bar, runner)
    chosen = matching(found.acts, job.sites if job.store is not None else "*")
    if found.twin is not None:
        lacking = [name for name in chosen if name not in found.twin]
        if lacking or len(found.twin.rows) != len(found.acts.rows):
            raise ValueError(f"the twin's store has other rows or no {', '.join(lacking)}; capture the same request")
    fits = job.out / "fits" / _key(job, found, chosen)
    with bar("sites probed") as move:
        made = sweep(
            found.acts, found.labels, sites=chosen, tokens=found.texts, twin=found.twin,
            runner=Kept(fits, runner), progress=move, **dict(job.options),
        )  # fmt: skip
    _write(job.out, made)
    shutil.rmtree(job.out / "fits")
    return made


def matching(acts: ActivationStore, sites: str) -> list[str]:
    """The sites of a store that patterns name, in the store's order.

    Raises:
        ValueError: for a pattern that names none.
    """
    patterns = [pattern.strip() for pattern in sites.split(",")]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in acts):
            raise ValueError(f"{acts.path} has no site {pattern!r}; it has {', '.join(acts)}")
    return [name for name in acts if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _from_store(job: SweepJob) -> Material:
    assert job.store is not None
    acts = _side(ActivationStore.open(job.store.resolve()), job.side)
    texts = None if job.texts is None else Rollouts.read(job.texts)
    if texts is not None:
        same_texts(acts.rows, texts)
    twin = None if job.twin_store is None else _side(ActivationStore.open(job.twin_store.resolve()), None)
    if job.labels is not None:
        return Material(acts, read_labels(job.labels, acts.rows, columns=job.columns), texts, twin)
    if texts is None:
        raise ValueError("there is nothing to probe for: give --labels FILE, or --texts FILE for their strategies")
    name = acts.ledger.sides[acts.sides[0]].model
    found = decided(texts, annotator=job.annotator, tokenizer=_tokenizer(name))
    return Material(acts, strategy_labels(acts.rows, found), texts, twin)


def _from_pair(job: SweepJob, bar: Bar, runner: Runner) -> Material:
    if job.pair is None:
        raise ValueError("name a pair or a store to sweep")
    texts = _texts(job, job.pair, bar, runner)
    found, positions = None, Positions.parse(job.positions)
    if job.labels is None:
        found = decided(texts, annotator=job.annotator, tokenizer=_tokenizer(job.pair.base_name))
        positions = decision_mask(texts, found)
    request = Request(job.pair, texts, job.out / "acts", sites=job.sites, positions=positions)
    if job.shard_tokens is not None:
        request = replace(request, shard_tokens=job.shard_tokens)
    with bar("shards of both models") as move:
        store = capture_shards(request, runner=runner, progress=move)
    twin = None
    if job.twin:
        seed = int(dict(job.options).get("seed", 0))
        with bar("shards of a random twin") as move:
            twin = capture_shards(
                replace(request, store=job.out / "twin", twin_seed=seed), runner=runner, progress=move
            ).side("model")
    acts = _side(store, job.side)
    if found is not None:
        return Material(acts, strategy_labels(acts.rows, found), texts, twin)
    assert job.labels is not None
    return Material(acts, read_labels(job.labels, acts.rows, columns=job.columns), texts, twin)


def _texts(job: SweepJob, pair: PairName, bar: Bar, runner: Runner) -> Rollouts:
    if job.texts is not None:
        return pair.read(job.texts)
    if job.problems is None:
        raise ValueError("a pair needs texts to read: give --texts FILE, or --problems to write some")
    asked = tasks.load(job.problems, n=job.n_problems, seed=job.sampling.seed)
    with bar("texts written") as move:
        written = write_rollouts(
            pair, asked, out=job.out / "rollouts", sampling=job.sampling, runner=runner, progress=move
        )
    return written[job.written_by]


def _side(store: ActivationStore, side: str | None) -> ActivationStore:
    acts = store.side(side or ("base" if "base" in store.sides else store.sides[0]))
    if not acts.complete:
        raise ValueError(f"{store.path} is unfinished; run the same capture again, then sweep it")
    return acts


def _tokenizer(name: str) -> Any:
    from hooks.checkpoint import find_source, load_tokenizer

    try:
        return load_tokenizer(find_source(name))
    except FileNotFoundError:
        # A store outlives its checkpoint; labels in token coordinates and organisms' texts need no tokenizer.
        return None


def _key(job: SweepJob, found: Material, sites: list[str]) -> str:
    """Hash of everything that a fit depends on."""
    digest = hashlib.sha256()
    stores = [store for store in (found.acts, found.twin) if store is not None]
    asked = [
        sites, [[store.manifest["key"], store.ledger.sides[store.sides[0]].weights] for store in stores],
        list(found.labels), job.options, found.texts is not None, manifest()["versions"],
    ]  # fmt: skip
    digest.update(json.dumps(asked, default=str).encode())
    digest.update(found.labels.to_numpy(dtype=float).tobytes())
    return digest.hexdigest()[:16]


def _write(out: Path, made: Sweep) -> None:
    write_whole(out / "sweep.parquet", lambda path: made.frame.to_parquet(path, index=False))
    write_whole(out / "selected.parquet", lambda path: made.selected.to_parquet(path, index=False))
    write_whole(out / "sweep.html", lambda path: made.plot().write_html(path))
    text = json.dumps(dict(made.manifest), indent=1, ensure_ascii=False, default=str)
    write_whole(out / "manifest.json", lambda path: path.write_text(text + "\n"))
