"""``--ray [ADDRESS]``: the same command with its tasks on a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from probes.commands.settings import WithSettings
from probes.commands.terminal import stop

HERE = "local"
"""What ``--ray`` alone means: the cluster this machine belongs to, or one of this machine alone."""
_ADDRESS = re.compile(r"auto|local|ray://\S+|[\w.\-\[\]:]+:\d+")

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Let a Ray cluster do the tasks: auto, host:port or ray://host:port; without an address this machine's.",
    ),
]
Cpus = Annotated[float, typer.Option(help="With --ray: processors of one task.")]
Gpus = Annotated[float, typer.Option(help="With --ray: GPUs of one task, or a share of one.")]


class WithRay(WithSettings):
    """A command whose ``--ray`` may stand alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a lonely ``--ray`` its value before the options are read."""
        return super().parse_args(ctx, with_address(args))


def with_address(args: list[str]) -> list[str]:
    """The words with an address behind ``--ray``: only what looks like one is taken for one."""
    out: list[str] = []
    for at, word in enumerate(args):
        out.append(word)
        following = args[at + 1] if at + 1 < len(args) else ""
        if word == "--ray" and not _ADDRESS.fullmatch(following):
            out.append(HERE)
    return out


@contextmanager
def runner_of(ray: str | None, num_cpus: float, num_gpus: float) -> Iterator[Any]:
    """Who does the tasks: the builtin ``map`` without ``--ray``; trouble with the cluster ends in one sentence."""
    if ray is None:
        yield map
        return
    from probes.cluster.runner import ClusterError, on_ray

    try:
        with on_ray(None if ray == HERE else ray, num_cpus=num_cpus, num_gpus=num_gpus) as runner:
            yield runner
    except (ClusterError, ModuleNotFoundError) as error:
        stop(str(error))
