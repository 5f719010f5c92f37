"""``whenlens passk``: one JSON value, tables and plots in a folder, mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from probes.cli import app

run = CliRunner()


def write(path: Path, rows: list[tuple[str, int, int]]) -> str:
    path.write_text("".join(json.dumps({"id": name, "c": c, "n": n}) + "\n" for name, c, n in rows))
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    base = write(tmp_path / "base.jsonl", [("a", 1, 4), ("b", 0, 4), ("c", 2, 4), ("only", 1, 4)])
    return base, write(tmp_path / "rl.jsonl", [("a", 4, 4), ("b", 0, 4), ("c", 1, 4)])


def test_json_is_one_value_with_everything(files: tuple[str, str], tmp_path: Path) -> None:
    words = ["passk", *files, "--json", "--out", str(tmp_path / "out"), "--contrast", f"none={files[0]}"]
    done = run.invoke(app, words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    first = next(row for row in told["passk"] if row["k"] == 1 and row["model"] == "rl")
    assert first["value"] == pytest.approx((1 + 0 + 0.25) / 3)
    assert told["delta_se"]["value"] == pytest.approx(2 / 3 - 1.25 / 3)
    assert told["unmatched"] == [{"problem": "only", "only_in": "base"}]
    assert {row["contrast"] for row in told["contrasts"]} == {"none"}
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    tables = [f"{name}.parquet" for name in ("accuracy", "contrasts", "passk", "solvable", "unmatched")]
    assert written == sorted([*tables, "accuracy.html", "passk.html", "settings.yaml"])
    assert len(pd.read_parquet(tmp_path / "out" / "passk.parquet")) == len(told["passk"])


def test_text_names_what_was_left_out(files: tuple[str, str]) -> None:
    shown = run.invoke(app, ["passk", *files, "--k", "1,2"])
    assert shown.exit_code == 0
    assert "Only in base, left out: only" in shown.output
    assert "pass@2" in shown.output


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        (["--k", "1,x"], "whole numbers"),
        (["--k", "64"], "between 1 and 4"),
        (["--contrast", "alone"], "NAME=FILE"),
        (["--contrast", "far=nowhere.jsonl"], "no samples at nowhere.jsonl"),
    ],
)
def test_mistakes_end_in_one_sentence(files: tuple[str, str], extra: list[str], sentence: str) -> None:
    done = run.invoke(app, ["passk", *files, *extra])
    assert done.exit_code == 2
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_more_right_than_samples_names_the_problem(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", [("p9", 5, 4)])
    done = run.invoke(app, ["passk", bad, bad])
    assert done.exit_code == 2
    assert "'p9' has c = 5 of n = 4" in done.output


def test_help_has_an_example() -> None:
    shown = run.invoke(app, ["passk", "--help"], env={"COLUMNS": "200"})
    assert "Example: whenlens passk" in shown.output
