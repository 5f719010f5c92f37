"""The main job on a random Qwen2 pair in folders: it ends, it can be killed anywhere, it says what it cannot say."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from probes.study.config import StudyConfig
from probes.study.job import STAGES
from tests.families import tiny

ROOT = Path(__file__).parents[3]
DRIVER = """
import os, sys
from pathlib import Path
import hooks.rollouts, probes.study.folder
from probes.study.config import StudyConfig
from probes.study import job

stage, nth = sys.argv[2], int(sys.argv[3])
state = {"stage": None, "count": 0}
real = os.replace

def replace(source, target):
    if state["stage"] == stage:
        state["count"] += 1
        if state["count"] == nth:
            os._exit(137)  # as kill -9: the temporary file is there, its final name is not
    real(source, target)

os.replace = replace
for name, function in list(job.STAGES.items()):
    def run(materials, name=name, function=function):
        state["stage"] = name
        function(materials)
    job.STAGES[name] = run
job.run(StudyConfig.model_validate_json(sys.argv[1]), quiet=True)
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("qwen2")
    base = tiny("qwen2", path=folder / "base")
    rl = tiny("qwen2", path=folder / "rl", perturb=0.15)
    problems = folder / "problems.jsonl"
    lines = [{"question": f"what is {i} + {i + 1}?", "answer": str(2 * i + 1)} for i in range(10)]
    problems.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return base, rl, problems


def config(pair: tuple[Path, Path, Path], out: Path) -> StudyConfig:
    base, rl, problems = pair
    return StudyConfig(
        base=str(base), rl=str(rl), problems=str(problems), out=out, n_problems=10, samples=4, max_new_tokens=16,
        thresholds=(0.1,), alphas=(1.0,), random_vectors=3, n_boot=100,
    )  # fmt: skip


def run(settings: StudyConfig, stage: str = "none", nth: int = 0) -> int:
    code = [sys.executable, "-c", DRIVER, settings.model_dump_json(), stage, str(nth)]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode in (0, 137), done.stderr
    return done.returncode


ENVIRONMENT = {**__import__("os").environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    found = [*folder.glob("results/*.parquet"), *folder.glob("rollouts/*.parquet")]
    return {path.relative_to(folder).as_posix(): pd.read_parquet(path) for path in found}


def facts(folder: Path) -> dict[str, object]:
    return {path.name: json.loads(path.read_text()) for path in folder.glob("results/*.json")}


@pytest.fixture(scope="module")
def undisturbed(pair: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "whole"
    assert run(config(pair, out)) == 0
    return out


def test_the_study_ends_with_a_report_and_its_tables(undisturbed: Path) -> None:
    assert (undisturbed / "report.html").stat().st_size > 10_000
    assert {"results/accuracy.parquet", "results/routing.parquet", "results/passk.parquet"} <= set(tables(undisturbed))
    assert all((undisturbed / "stages" / stage).exists() for stage in STAGES)
    assert not list(undisturbed.rglob("*.partial"))


def test_random_weights_have_no_gain_to_explain(undisturbed: Path) -> None:
    headline = facts(undisturbed)["headline.json"]
    assert isinstance(headline, dict)
    assert headline["identified"] is False
    assert "no gain to explain" in headline["sentence"]
    routing = tables(undisturbed)["results/routing.parquet"]
    assert routing["recovery"].isna().all()


ALWAYS = ("rollouts", "probes", "steering", "routing", "calibration", "reflection")
"""Stages whose interruption is tried in every run: those that write several files or texts; the others are slow."""


@pytest.mark.parametrize("nth", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "stage", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.slow) for name in STAGES]
)
def test_killed_and_run_again_gives_identical_tables(
    stage: str, nth: int, pair: tuple[Path, Path, Path], undisturbed: Path, tmp_path: Path
) -> None:
    settings = config(pair, tmp_path / "killed")
    killed = run(settings, stage, nth)
    if killed == 137:
        assert not (settings.out / "stages" / stage).exists()
        assert run(settings) == 0
    else:
        assert nth > 1, f"stage {stage} wrote nothing"
    assert facts(settings.out) == facts(undisturbed)
    again, whole = tables(settings.out), tables(undisturbed)
    assert again.keys() == whole.keys()
    for name in whole:
        pd.testing.assert_frame_equal(again[name], whole[name])


def test_a_folder_with_another_study_is_refused(pair: tuple[Path, Path, Path], undisturbed: Path) -> None:
    from probes.study.job import run as run_here

    other = config(pair, undisturbed).model_copy(update={"seed": 5})
    with pytest.raises(ValueError, match=r"other settings \(seed\)"):
        run_here(other, quiet=True)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="two checkpoints"):
        StudyConfig(base="somewhere", problems="x.jsonl", out=Path("out"))
    with pytest.raises(ValueError, match="needs problems"):
        StudyConfig(base="somewhere", rl="elsewhere", out=Path("out"))
    with pytest.raises(ValueError, match="extra"):
        StudyConfig(base="organism:latent", out=Path("out"), tempreature=1)  # type: ignore[call-arg]


def test_an_organism_knows_its_problems_and_the_command_redoes_it() -> None:
    settings = StudyConfig(base="organism:latent", out=Path("runs/x"), samples=8)
    assert settings.problems == "organism:latent"
    assert settings.command == "whenlens study organism:latent --out runs/x --samples 8"


def test_templates_run_the_two_by_two(tmp_path: Path) -> None:
    from probes.study.folder import StudyFolder
    from probes.study.materials import Materials
    from probes.study.written import rollouts
    from tests.families import CHAT

    base = tiny("qwen2", path=tmp_path / "base", chat_template=CHAT)
    rl = tiny("qwen2", path=tmp_path / "rl", perturb=0.15, chat_template=CHAT)
    problems = tmp_path / "problems.jsonl"
    problems.write_text("\n".join(json.dumps({"question": f"{i} + 1?", "answer": str(i + 1)}) for i in range(8)))
    settings = config((base, rl, problems), tmp_path / "out").model_copy(update={"templates": True, "n_problems": 8})
    materials = Materials(settings, StudyFolder(settings.out), lambda title: lambda done, total: None)
    rollouts(materials)
    table = StudyFolder(settings.out).read("templates")
    assert {tuple(row) for row in table[["model", "template"]].to_numpy()} == {
        ("base", "none"), ("base", "chat"), ("rl", "none"), ("rl", "chat"),
    }  # fmt: skip
    plain, chat = (materials.rollouts(f"base_greedy_{name}").frame for name in ("none", "chat"))
    assert all(len(a) < len(b) for a, b in zip(plain["prompt_ids"], chat["prompt_ids"], strict=True))
