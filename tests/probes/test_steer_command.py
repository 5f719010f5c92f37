"""``whenlens steer``: ranges, one JSON value, files, going on, and the same numbers as the function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from hooks.direction import Direction
from hooks.pair import Pair
from probes import tasks
from probes.cli import app
from probes.commands.steer import doses, layers_of
from probes.latent.grid import steering_grid

SMALL = ["--n-problems", "4", "--max-new-tokens", "8", "--n-boot", "100"]


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["steer", "organism:latent", *arguments, *SMALL])


def test_ranges_hold_both_ends() -> None:
    assert doses("-8:8:9") == [-8, -6, -4, -2, 0, 2, 4, 6, 8]
    assert doses("0.5:1.5:3") == [0.5, 1.0, 1.5]
    assert doses("2") == [2.0]
    assert layers_of("4:20:4") == [4, 8, 12, 16, 20]
    assert layers_of("0:3:2") == [0, 2]
    assert layers_of("7") == [7]


@pytest.mark.parametrize("text", ["", "a:b:c", "1:2", "1:2:1", "1:2:0", "1:2:2.5", "inf:1:3", "nan", "1:2:3:4"])
def test_a_bad_range_of_doses_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="--alpha is start:stop:count"):
        doses(text)


@pytest.mark.parametrize("text", ["", "4:20", "4:2:1", "1:4:0", "-1", "1:x:2", "1.5"])
def test_a_bad_range_of_layers_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="--layers"):
        layers_of(text)


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    for arguments, words in (
        (["--label", "verification", "--alpha", "8"], "--alpha is"),
        (["--label", "verification", "--layers", "3:1:1"], "names no layer"),
        ([], "one of the two"),
    ):
        if "8" in arguments:
            arguments[-1] = "8:x"
        found = run(*arguments, "--out", str(tmp_path))
        assert found.exit_code == 2
        assert words in found.stderr
        assert len(found.stderr.strip().splitlines()) == 1
    told = CliRunner().invoke(app, ["steer", "--help"]).stdout
    assert "start:stop:count" in " ".join(told.split())


def test_a_strategy_is_swept_and_the_same_call_goes_on(tmp_path: Path) -> None:
    arguments = ["--label", "computation", "--alpha", "-2:2:3", "--layers", "1:2:1", "--samples", "40",
                 "--positions", "generated", "--out", str(tmp_path), "--json"]  # fmt: skip
    found = CliRunner().invoke(
        app, ["steer", "organism:latent", *arguments, "--n-problems", "8", "--max-new-tokens", "40", "--n-boot", "100"]
    )
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    frame = pd.read_parquet(told["table"])
    assert list(frame["alpha"]) == [-2.0, 0.0, 2.0] * 2
    assert [row["kl"] for row in told["rows"]] == pytest.approx(list(frame["kl"]))
    assert all(Path(path).stat().st_size > 1000 for path in told["plots"])
    # The function, on the vectors that the command saved, gives the same table.
    pair = Pair.load("organism:latent")
    asked = tasks.load("organism:latent", n=16, seed=0)[::2]
    vectors = [Direction.load(tmp_path / "directions" / f"resid_post.{layer}.safetensors") for layer in (1, 2)]
    grid = steering_grid(
        pair, asked, vectors, alphas=[-2.0, 0.0, 2.0], positions="generated", n_boot=100,
        settings={"max_new_tokens": 40, "batch_size": 512, "seed": 0},
    )  # fmt: skip
    pd.testing.assert_frame_equal(frame, grid.frame)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "layers").iterdir()}
    again = CliRunner().invoke(
        app, ["steer", "organism:latent", *arguments, "--n-problems", "8", "--max-new-tokens", "40", "--n-boot", "100"]
    )
    assert json.loads(again.stdout) == told
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "layers").iterdir()} == before


def test_a_saved_direction_at_several_layers(tmp_path: Path) -> None:
    import torch

    from hooks.sites import Site

    width = Pair.load("organism:latent").base.d_model
    vector = torch.randn(width, generator=torch.Generator().manual_seed(0))
    Direction(vector, Site("resid_post", 1), label="verification", typical_norm=9.0).save(tmp_path / "d.safetensors")
    saved = ["--direction", str(tmp_path / "d.safetensors")]
    found = run(*saved, "--alpha", "1", "--layers", "0:2:2", "--out", str(tmp_path / "a"), "--json")
    assert found.exit_code == 0, found.output
    assert [row["layer"] for row in json.loads(found.stdout)["rows"]] == [0, 0, 2, 2]
    own = run(*saved, "--alpha", "1", "--relative", "--out", str(tmp_path / "b"), "--json")
    assert [row["layer"] for row in json.loads(own.stdout)["rows"]] == [1, 1]
    beyond = run(*saved, "--layers", "99", "--out", str(tmp_path / "c"))
    assert beyond.exit_code == 2
    assert "has layers 0 to" in beyond.stderr
