"""The command: help with examples, one sentence for each mistake, JSON and nothing else."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from probes.cli import app

run = CliRunner()


COMMANDS = [
    "study",
    "report",
    "rollouts",
    "capture",
    "score",
    "sweep",
    "route",
    "steer",
    "graft",
    "hybrid",
    "store describe",
    "store verify",
    "weights",
    "passk",
    "claims",
    "doctor",
    "organisms list",
    "organisms train",
]


@pytest.mark.parametrize("words", [command.split() for command in COMMANDS])
def test_every_command_helps_with_an_example(words: list[str]) -> None:
    shown = run.invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert f"Example: whenlens {' '.join(words)}" in shown.output


def test_json_is_one_value_and_nothing_else() -> None:
    listed = json.loads(run.invoke(app, ["organisms", "list", "--json"]).stdout)
    assert {entry["name"] for entry in listed} >= {"latent", "newskill", "sham"}
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


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hooks.generate import generate
    from hooks.model import Model

    rollouts = generate(Model.load("organism:latent:base"), ["47+5*3-2:", "8*9-4+2:"], max_new_tokens=12)
    return rollouts.save(tmp_path_factory.mktemp("texts") / "texts.parquet")


def test_capture_writes_a_store_that_is_described_and_verified(texts: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "acts")
    done = run.invoke(app, ["capture", "organism:latent", str(texts), "--store", store, "--sites", "resid_post.1"])
    assert done.exit_code == 0, done.output
    rows = json.loads(run.invoke(app, ["store", "describe", store, "--json"]).stdout)
    assert {(row["side"], row["site"], row["width"]) for row in rows} == {
        ("base", "resid_post.1", 96), ("rl", "resid_post.1", 96),
    }  # fmt: skip
    assert run.invoke(app, ["store", "verify", store]).exit_code == 0
    shard = next(Path(store).rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-7])
    found = run.invoke(app, ["store", "verify", store])
    assert found.exit_code == 1
    assert shard.name in found.output


def test_score_writes_a_token_table(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens.parquet"
    done = run.invoke(app, ["score", "organism:latent", str(texts), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    table = pd.read_parquet(out)
    assert told["tokens"] == len(table) > 4
    assert {"js", "kl", "rank_base", "logp_rl"} <= set(table)


def test_a_shard_that_is_no_part_is_refused(texts: Path, tmp_path: Path) -> None:
    words = ["capture", "organism:latent", str(texts), "--store", str(tmp_path / "s"), "--shard", "one"]
    done = run.invoke(app, words)
    assert done.exit_code == 2
    assert "--shard is i/n" in done.output
