"""The README's commands, run in the order in which a newcomer meets them, on fewer problems."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hooks.organisms import resolve
from probes import tasks

ROOT = Path(__file__).parent.parent
FEW = {"--n-problems": "10"}
SMALLER: dict[str, dict[str, str]] = {
    "study": FEW
    | {"--samples": "4", "--max-new-tokens": "48", "--thresholds": "0.1", "--alphas": "1.0", "--random-vectors": "3",
       "--n-boot": "100", "--contrast": "none"},
    "sweep": {"--n-problems": "24", "--n-boot": "100"},
    "steer": FEW | {"--n-boot": "100"},
    "route": FEW | {"--n-training": "12"},
    "graft": FEW,
    "passk": {"--n-boot": "100"},
}  # fmt: skip
"""Flags that are added, so that each command does little; everything else is as the README has it."""
ORDER = (
    "demo",
    "study",
    "capture",
    "sweep",
    "steer",
    "route",
    "graft",
    "weights",
    "passk",
    "claims",
    "report",
    "doctor",
)


def commands() -> dict[str, list[str]]:
    """The README's commands by name, as words; ``demo`` is what ``make demo`` runs."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").split("\n")
    found = {shlex.split(line)[1]: shlex.split(line)[1:] for line in lines if line.startswith("whenlens ")}
    (demo,) = re.findall(r"whenlens (study .*)", (ROOT / "Makefile").read_text())
    return {"demo": shlex.split(demo.replace("$(OUT)", "runs/demo")), **found}


def whenlens(words: list[str], folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    call = [sys.executable, "-m", "probes.cli", *words]
    done = subprocess.run(call, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"whenlens {shlex.join(words)}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def smaller(words: list[str], name: str) -> list[str]:
    return words + [word for flag in SMALLER.get(name, {}).items() for word in flag]


def test_this_test_knows_every_command_of_the_readme() -> None:
    assert set(commands()) == set(ORDER)


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    said = commands()
    # Two folders of one's own and a file of problems stand for the hub ids, which no test can download.
    for role in ("base", "rl"):
        shutil.copytree(resolve(f"organism:latent:{role}"), tmp_path / "own" / role)
    rows = [
        {"question": one.prompt, "answer": one.answer, "kind": one.kind} for one in tasks.load("organism:latent", n=12)
    ]
    (tmp_path / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = {"Qwen/Qwen2.5-1.5B": "own/base", "Open-Reasoner-Zero/Open-Reasoner-Zero-1.5B": "own/rl"}
    for name in ORDER:
        command = "study" if name == "demo" else name
        words = [named.get(word, word) for word in smaller(said[name], command)]
        if name == "report":
            for other in ("latent", "newskill", "sham"):
                shutil.copytree(tmp_path / "runs" / "demo", tmp_path / "runs" / other)
        out = whenlens(words, tmp_path)
        if "--json" in words:
            json.loads(out)
    assert (tmp_path / "runs" / "demo" / "report.html").stat().st_size > 1e5
    assert "own/base" in (tmp_path / "runs" / "orz" / "study.json").read_text()
    assert (tmp_path / "runs" / "beside.html").is_file()
    assert any((tmp_path / "acts").iterdir())
