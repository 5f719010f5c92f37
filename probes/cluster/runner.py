"""Tasks on a Ray cluster: one a item, results in order, a dead worker costs its task only.

    with on_ray("auto", num_gpus=1) as runner:
        sweep(store["base"], labels, runner=runner)

A task runs in the folder and with the numbers of threads of the call, because the order in which a matrix product adds
up depends on its threads: the result is then that of the call without a cluster, bit for bit on equal processors.  A
task whose worker or node dies is run again, so a function given to a runner must be one that may run twice.  Nodes
share a file system, at the same paths, where stores and shards are written.

What it does not give: equal bits on processors that differ, and safety against a node that is cut off yet goes on.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

AHEAD = 2
"""Tasks sent out for each that can run at once: a worker never waits, and few items are in memory."""
PATIENCE = 10.0
"""Seconds until an address counts as dead."""
MISSING = "Ray is not installed: pip install 'whenlens[cluster]', or leave --ray out and let this machine do the work."


class ClusterError(RuntimeError):
    """No cluster answers, or its workers died more often than a task is run again."""


@dataclass(frozen=True)
class Surroundings:
    """What of a process can change the bits of a result or the meaning of a path."""

    folder: str
    """Working folder."""
    torch_threads: int
    """Threads of torch."""
    blas_threads: int | None
    """Threads of the linear algebra under numpy; None where that cannot be known."""

    @classmethod
    def here(cls) -> Surroundings:
        """Those of this process."""
        import numpy as np  # noqa: F401  (its linear algebra must be loaded to be counted)
        import torch
        from threadpoolctl import threadpool_info

        found = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]
        return cls(os.getcwd(), torch.get_num_threads(), max(found) if found else None)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Work in them."""
        import torch
        from threadpoolctl import threadpool_limits

        before = torch.get_num_threads()
        if os.path.isdir(self.folder):
            os.chdir(self.folder)
        with threadpool_limits(self.blas_threads, user_api="blas"):
            torch.set_num_threads(self.torch_threads)
            try:
                yield
            finally:
                torch.set_num_threads(before)


@dataclass(frozen=True)
class OnRay:
    """A runner on the Ray cluster that this process is connected to; :func:`on_ray` connects and makes one."""

    num_cpus: float | int = 1
    """Processors that a task takes."""
    num_gpus: float | int = 0
    """GPUs, or a share of one, that a task takes."""
    retries: int = 3
    """How often a task is run again when its worker or node dies."""

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Do ``function`` on every item, on any node, and give the results in order.

        The function goes to each node once, an item with its task; few items are taken ahead of the results.

        Raises:
            ClusterError: when a worker died too often or nothing in the cluster can run a task.
            Exception: what ``function`` raised, as it would have done here.
        """
        ray = require_ray()
        self._check(ray)
        task = ray.remote(work).options(
            num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.retries, retry_exceptions=False
        )
        shared, around = ray.put(function), ray.put(Surroundings.here())
        at_once = max(1, int(ray.cluster_resources().get("CPU", 1) / max(self.num_cpus, 0.01)))
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(task.remote(shared, around, item))
                while len(waiting) >= AHEAD * at_once:
                    yield _result(ray, waiting.popleft(), self.retries)
            while waiting:
                yield _result(ray, waiting.popleft(), self.retries)
        finally:
            for left in waiting:
                ray.cancel(left)

    def _check(self, ray: Any) -> None:
        """Ray would wait for ever for a node that can run a task."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= self.num_cpus and node.get("GPU", 0) >= self.num_gpus for node in nodes):
            raise ClusterError(
                f"no node of the cluster has {self.num_cpus:g} processors and {self.num_gpus:g} GPUs for one task; "
                "ask for less, or add a node"
            )


@contextmanager
def on_ray(
    address: str | None = None, *, num_cpus: float | int = 1, num_gpus: float | int = 0, retries: int = 3
) -> Iterator[OnRay]:
    """Connect to a Ray cluster for as long as the context lasts.

    Args:
        address: of a cluster (``auto``, ``host:port``, ``ray://host:port``); None takes the one this machine belongs
            to, or makes one of this machine alone.  A connection that is there already is used and left.
        num_cpus: processors that a task takes.
        num_gpus: GPUs that a task takes.
        retries: how often a task is run again when its worker or node dies.

    Raises:
        ModuleNotFoundError: without Ray.
        ClusterError: when no cluster answers at ``address``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require_ray()
    mine = not ray.is_initialized()
    if mine:
        try:
            _knock(address)
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
        except (OSError, ValueError, RuntimeError) as error:
            raise ClusterError(f"no Ray cluster answers at {address or 'this machine'}: {_line(error)}") from error
    try:
        yield OnRay(num_cpus, num_gpus, retries)
    finally:
        if mine:
            ray.shutdown()


def require_ray() -> Any:
    """The module ``ray``.

    Raises:
        ModuleNotFoundError: in one sentence, where it is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(MISSING) from error
    return ray


def work(function: Callable[[Any], Any], around: Surroundings, item: Any) -> Any:
    """One task, as a worker runs it."""
    with around.taken():
        return function(item)


def _knock(address: str | None) -> None:
    """Ray waits for minutes for an address at which nobody is; OSError at once is kinder."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        with socket.create_connection((host, int(port)), timeout=PATIENCE):
            pass


def _result(ray: Any, reference: Any, retries: int) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        # Ray's own text is the whole trace of another process; what the function said is what matters.
        raise error.cause if isinstance(error.cause, Exception) else ClusterError(_line(error)) from error
    except ray.exceptions.RayError as error:
        tries = "once" if retries == 0 else f"{retries + 1} times"
        raise ClusterError(
            f"a task was lost although it was tried {tries} ({_line(error)}): run the same call again, with fewer "
            "tasks at once if memory ran out"
        ) from error


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
