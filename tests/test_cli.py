"""The command: help with examples, one sentence for each mistake, JSON and nothing else."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from probes.cli import app

run = CliRunner()


@pytest.mark.parametrize("words", [["study"], ["report"], ["organisms", "list"], ["organisms", "train"]])
def test_every_command_helps_with_an_example(words: list[str]) -> None:
    shown = run.invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"Example: whenlens {' '.join(words)}" in shown.output


def test_json_is_one_value_and_nothing_else() -> None:
    listed = json.loads(run.invoke(app, ["organisms", "list", "--json"]).stdout)
    assert {entry["name"] for entry in listed} == {"latent", "newskill", "sham"}
    told = json.loads(run.invoke(app, ["organisms", "describe", "sham", "--json"]).stdout)
    assert told["members"]["rl"]["reward"] == "random"


def test_describe_says_how_each_member_was_made() -> None:
    shown = run.invoke(app, ["organisms", "describe", "latent"]).output
    assert "rl: grpo from latent/base, seed 0" in shown
    assert "step-055" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["study"], "give --base and --rl"),
        (["study", "--base", "x", "--problems", "y.jsonl"], "two checkpoints"),
        (["study", "--base", "x", "--rl", "y"], "needs problems"),
        (["organisms", "describe", "nosuch"], "ships latent, newskill, sham"),
        (["report", "nowhere"], "holds no study.json"),
    ],
)
def test_a_mistake_ends_in_one_sentence_with_the_remedy(words: list[str], sentence: str, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")] if words[0] == "study" else []
    done = run.invoke(app, [*words, *out])
    assert done.exit_code == 2
    assert sentence in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()
