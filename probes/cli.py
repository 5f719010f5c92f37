"""The command ``whenlens``: the main job and its stages, from a shell.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import NoReturn

import typer

from probes.commands import (
    activations,
    claims,
    doctor,
    graft,
    hybrid,
    organisms,
    passk,
    rollouts,
    route,
    steer,
    study,
    sweep,
    weights,
)
from probes.commands.terminal import app

COMMANDS = (study, claims, rollouts, route, activations, sweep, weights, graft, hybrid, steer, passk, organisms, doctor)
"""The modules whose import put their commands into the application, in the order of ``--help``."""


RESUMES = ("study", "claims", "rollouts", "capture", "sweep", "route", "graft", "steer", "organisms")
"""Commands that keep what is finished, so that the same call goes on with it; the others begin anew."""
STOPPED = 130
TRACE = "WHENLENS_TRACEBACK"
"""Environment variable: when set, an error shows where it arose."""


def main() -> None:
    """Entry point: every error ends in one sentence and an exit code, and Ctrl-C says how to go on."""
    try:
        app()
    except KeyboardInterrupt:
        _stopped()
    except SystemExit as end:
        if end.code == STOPPED:
            _stopped()
        raise
    except Exception as error:
        if os.environ.get(TRACE):
            raise
        asked = isinstance(error, (ValueError, FileNotFoundError, NotADirectoryError, ModuleNotFoundError))
        # What the call can mend speaks for itself; anything else names its kind and how to see where it arose.
        said = " ".join(str(error).split())
        if not asked:
            said = f"{type(error).__name__}: {said.rstrip('.')}. (Set {TRACE}=1 to see where it arose.)"
        typer.secho(said, err=True, fg=typer.colors.RED)
        raise SystemExit(2 if asked else 1) from None


def _stopped() -> NoReturn:
    words = sys.argv[1:]
    call = shlex.join(["whenlens", *words])
    kept = bool(words) and words[0] in RESUMES
    how = "What is finished is kept; go on with" if kept else "Nothing is half-written; begin anew with"
    typer.secho(f"Stopped. {how}: {call}", err=True)
    raise SystemExit(STOPPED) from None


if __name__ == "__main__":
    main()
