"""``--settings FILE``: names, flags that win, mistakes in one sentence, and files that runs leave behind."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from probes.cli import app
from probes.commands.settings import read_settings
from probes.study import StudyConfig
from probes.study.folder import StudyFolder
from probes.study.job import _record

run = CliRunner()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[StudyConfig]:
    """What a study would have been told."""
    seen: list[StudyConfig] = []

    class Done:
        report, headline = Path("report.html"), "done"

    def listen(config: StudyConfig, *, quiet: bool) -> type[Done]:
        seen.append(config)
        return Done

    monkeypatch.setattr("probes.study.job.run", listen)
    monkeypatch.setattr("probes.study.run", listen)
    return seen


def study(*words: str) -> Any:
    return run.invoke(app, ["study", *words], env={"COLUMNS": "300"})


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_as_good_as_flags(told: list[StudyConfig], tmp_path: Path) -> None:
    text = """
    base: models/base
    rl: models/rl
    problems: gsm8k.jsonl
    n-problems: 50
    temperature: 7e-1
    templates: yes
    template: none
    series: [a, b]
    compute: [1, 2.5, 4]
    alphas: [0.5]
    contrast: {random: x, sft: y}
    out: runs/café
    """
    done = study("--settings", written(tmp_path / "s.yaml", text))
    assert done.exit_code == 0, done.output
    words = ["--base", "models/base", "--rl", "models/rl", "--problems", "gsm8k.jsonl", "--n-problems", "50"]
    words += ["--temperature", "0.7", "--templates", "--template", "none", "--series", "a", "--series", "b"]
    words += ["--compute", "1", "--compute", "2.5", "--compute", "4", "--alphas", "0.5", "--contrast", "random=x"]
    words += ["--contrast", "sft=y"]
    assert study(*words, "--out", "runs/café").exit_code == 0
    assert told[0] == told[1]
    assert (told[0].temperature, told[0].template, told[0].alphas) == (0.7, "none", (0.5,))


def test_flags_win_over_the_file_and_the_file_over_defaults(told: list[StudyConfig], tmp_path: Path) -> None:
    file = written(tmp_path / "s.yaml", "pair: organism:latent\nseed: 3\nn_problems: 40\nsamples: null\nalphas: []\n")
    assert study("--settings", file, "--seed", "0").exit_code == 0
    assert (told[0].base, told[0].seed, told[0].n_problems) == ("organism:latent", 0, 40)
    assert (told[0].samples, told[0].alphas) == (128, (0.25, 0.5, 1.0, 2.0))


def test_a_pair_on_the_line_replaces_that_of_the_file(told: list[StudyConfig], tmp_path: Path) -> None:
    file = written(tmp_path / "s.yaml", "base: models/base\nrl: models/rl\nproblems: organism:latent\nseed: 5\n")
    assert study("organism:sham", "--settings", file).exit_code == 0
    assert (told[0].base, told[0].rl, told[0].seed) == ("organism:sham", None, 5)


@pytest.mark.parametrize("name", ["organism:latent", "organism:sham"])
def test_study_json_is_a_source_of_settings(name: str, told: list[StudyConfig], tmp_path: Path) -> None:
    first = StudyConfig(
        base=name, out=tmp_path / "one", seed=4, top_p=0.9, thresholds=(0.05,), n_boot=300, contrast={}, order={}
    )
    StudyFolder(first.out).open(first.key, _record(first))
    file = str(first.out / "study.json")
    assert study("--settings", file).exit_code == 0
    assert told[0] == first
    assert study("--settings", file, "--out", str(tmp_path / "two"), "--seed", "9").exit_code == 0
    assert told[1] == first.model_copy(update={"out": tmp_path / "two", "seed": 9})


def test_the_redo_command_does_the_same_study(told: list[StudyConfig], tmp_path: Path) -> None:
    import shlex

    first = StudyConfig(
        base="a", rl="b", problems="c.jsonl", out=tmp_path, alphas=(0.5, 1.5), thresholds=(0.3,), top_p=0.95,
        random_vectors=3, probe_samples=2, n_boot=100, series=("m",),
    )  # fmt: skip
    assert study(*shlex.split(first.command)[2:]).exit_code == 0
    assert told[0] == first


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("n_problem: 5", "`whenlens study` has no setting 'n_problem'; the nearest is 'n_problems'."),
        ("tempreature: 5", "no setting 'tempreature'; the nearest is 'temperature'"),
        ("json: true", "no setting 'json'"),
        ("seed: {a: 1}", "the setting 'seed' is one value or a list of values, not a mapping"),
        ("- seed", "holds a list; settings are lines such as `seed: 1`"),
        ("seed: [1", "cannot be read as YAML"),
        ("seed: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
        ("seed: soon", "(from the settings file)"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    done = study("organism:latent", "--out", str(tmp_path / "out"), "--settings", written(tmp_path / "s.yaml", text))
    assert done.exit_code == 2
    assert sentence in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = study("organism:latent", "--settings", str(tmp_path / "gone.yaml"))
    assert done.exit_code == 2
    assert "There are no settings at" in done.output


def test_values_stay_the_words_they_were_written_as(tmp_path: Path) -> None:
    text = "alpha: -8:8:9\ntemplate: none\nday: 2024-01-01\nanswer: on\nfewer: ~\nC: [1e-3, 010]\nsign: é😀\n"
    assert read_settings(Path(written(tmp_path / "s.yaml", text))) == {
        "alpha": "-8:8:9", "template": "none", "day": "2024-01-01", "answer": "on", "fewer": None,
        "C": ["1e-3", "010"], "sign": "é😀",
    }  # fmt: skip
    plain = written(tmp_path / "s.json", json.dumps({"seed": 1, "p": 0.1, "twin": False, "sign": "😀"}))
    assert read_settings(Path(plain)) == {"seed": "1", "p": "0.1", "twin": False, "sign": "😀"}


@pytest.mark.parametrize("command", ["study", "sweep", "steer", "route", "capture", "rollouts", "graft"])
def test_commands_with_many_options_take_a_file(command: str, tmp_path: Path) -> None:
    done = run.invoke(app, [command, "--settings", written(tmp_path / "s.yaml", "sede: 1")])
    assert done.exit_code == 2
    assert f"`whenlens {command}` has no setting 'sede'; the nearest is '" in " ".join(done.output.split())


def test_a_command_leaves_its_settings_and_takes_them_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Made:
        selected: Any = None

        def headline(self) -> str:
            return "done"

    def listen(job: Any, **_: Any) -> Made:
        job.out.mkdir(parents=True, exist_ok=True)
        seen.append(job)
        return Made()

    monkeypatch.setattr("probes.cluster.sweeping.run_sweep", listen)
    monkeypatch.setattr("probes.commands.sweep._say", lambda *_: None)
    text = "source: organism:latent\nproblems: organism:latent\nC: [0.01, 1]\ntwin: false\nlabel: [a, b]\n"
    out = tmp_path / "out"
    words = ["sweep", "--settings", written(tmp_path / "s.yaml", text), "--out", str(out), "--folds", "3"]
    assert run.invoke(app, words).exit_code == 0
    kept = yaml.safe_load((out / "settings.yaml").read_text())
    assert kept["out"] == str(out)
    assert (kept["C"], kept["twin"], kept["label"], kept["folds"]) == ("0.01,1", False, ["a", "b"], 3)
    assert "json" not in kept
    assert run.invoke(app, ["sweep", "--settings", str(out / "settings.yaml")]).exit_code == 0
    assert seen[0] == seen[1]
    assert seen[0].twin is False


def test_a_call_that_was_stopped_leaves_its_settings_and_a_refused_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends_with(error: BaseException) -> Any:
        def act(*_: Any, **__: Any) -> Any:
            raise error

        return act

    words = ["sweep", "organism:latent", "--problems", "organism:latent", "--out", str(tmp_path)]
    monkeypatch.setattr("probes.cluster.sweeping.run_sweep", ends_with(ValueError("another sweep is here")))
    assert run.invoke(app, words).exit_code == 1
    assert not (tmp_path / "settings.yaml").exists()
    monkeypatch.setattr("probes.cluster.sweeping.run_sweep", ends_with(KeyboardInterrupt()))
    assert run.invoke(app, words).exit_code == 130
    assert yaml.safe_load((tmp_path / "settings.yaml").read_text())["source"] == "organism:latent"
