"""``whenlens weights``: tables and figures, JSON and nothing else, the numbers of the Python functions, mistakes."""

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from probes.cli import app
from probes.weights import compare, geometry, overlap

run = CliRunner()
BASE, RL, ALSO = "organism:latent:base", "organism:latent:rl", "organism:latent:rl-seed1"


def test_tables_figures_and_json_say_what_the_functions_say(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run.invoke(app, ["weights", BASE, RL, "--also", ALSO, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told == json.loads((out / "weights.json").read_text())
    delta, placed, together = compare(BASE, RL), geometry(BASE, RL), overlap(BASE, [RL, ALSO])
    assert told["weights"]["totals"]["unchanged_exact"] == delta.totals["unchanged_exact"]
    assert told["weights"]["totals"]["stable_rank_null"] == delta.totals["stable_rank_null"]
    assert told["weights"]["reading"] == delta.reading
    assert told["geometry"]["totals"]["angle_left_null"] == placed.totals["angle_left_null"]
    assert told["overlap"]["pairs"][0]["jaccard"] == pytest.approx(together.frame["jaccard"][0])
    assert {path.name for path in out.iterdir()} == {
        "weights.json", "weights.html", "geometry.html", "overlap.html", "weights.parquet", "weights_modules.parquet",
        "geometry.parquet", "overlap.parquet", "overlap_tensors.parquet", "overlap_consensus.parquet",
        "overlap_stripes.parquet", "settings.yaml",
    }  # fmt: skip
    assert pd.read_parquet(out / "weights.parquet")["size"].sum() == delta.totals["size"]


def test_an_organism_needs_one_name_and_the_parts_can_be_left_out() -> None:
    done = run.invoke(app, ["weights", "organism:sham", "--no-ranks", "--no-geometry"])
    assert done.exit_code == 0, done.output
    assert "38 tensors" in done.output
    assert "bit for bit in bfloat16" in done.output
    assert "principal" not in done.output
    assert "numerical rank" not in done.output


def test_one_checkpoint_is_refused_with_the_remedy(tmp_path: Path) -> None:
    done = run.invoke(app, ["weights", BASE, "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "whenlens weights BASE RL" in done.output
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_there_is_found_before_the_work(tmp_path: Path) -> None:
    done = run.invoke(app, ["weights", BASE, RL, "--also", str(tmp_path / "nosuch"), "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, FileNotFoundError)
    assert "nosuch" in str(done.exception)
    assert not (tmp_path / "out").exists()
