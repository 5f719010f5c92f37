"""``whenlens sweep``: from a store or from a pair, the same twice, one sentence for each mistake."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from probes.cli import app
from probes.cluster.labelled import decided, read_labels, strategy_labels
from probes.commands.elsewhere import with_address

run = CliRunner()
QUICK = ["--C", "0.01,1", "--folds", "3", "--n-boot", "100"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of an organism's base: enough decisions for a probe."""
    from hooks.generate import generate
    from hooks.model import Model
    from probes import tasks

    problems = tasks.load("organism:latent", n=16)
    made = generate(Model.load("organism:latent:base"), problems, n=8, temperature=1.0, max_new_tokens=64)
    return made.save(tmp_path_factory.mktemp("texts") / "texts.parquet")


@pytest.fixture(scope="module")
def store(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models' activations over these texts at two sites."""
    folder = tmp_path_factory.mktemp("store") / "acts"
    words = ["capture", "organism:latent", str(texts), "--store", str(folder), "--positions", "generated"]
    done = run.invoke(app, [*words, "--sites", "resid_post.0,resid_post.2", "--shard-tokens", "4000"])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def labels(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table by problem, sample and position: a truth value and a column of names."""
    rows = pd.read_parquet(store / "rows.parquet")
    table = rows[["problem", "sample", "pos"]].assign(odd=rows["id"] % 2, kind=np.where(rows["pos"] % 3 == 0, "a", "b"))
    path = tmp_path_factory.mktemp("labels") / "labels.parquet"
    table.sample(frac=0.3, random_state=0).to_parquet(path)
    return path


def ok(words: list[str]) -> Any:
    done = run.invoke(app, ["sweep", *words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done


def test_a_store_and_labels_give_tables_a_picture_and_a_manifest(store: Path, labels: Path, tmp_path: Path) -> None:
    words = [str(store), "--labels", str(labels), "--label", "odd", "--out", str(tmp_path / "a"), *QUICK]
    shown = ok(words).stdout
    assert "Sweep: 2 sites x 1 labels" in shown
    assert "By nested choice of site" in shown
    frame = pd.read_parquet(tmp_path / "a" / "sweep.parquet")
    assert frame["site"].tolist() == ["resid_post.0", "resid_post.2"]
    # The token just read says whether its id is odd.
    assert frame["auroc"][0] > 0.95
    assert len(pd.read_parquet(tmp_path / "a" / "selected.parquet")) == 1
    assert "plotly" in (tmp_path / "a" / "sweep.html").read_text()
    kept = json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert kept["C"] == [0.01, 1.0]
    assert kept["activations"]["positions"] == "generated"
    told = json.loads(ok([*words[:-6], "--out", str(tmp_path / "b"), *QUICK, "--json"]).stdout)
    assert told["selected"][0]["label"] == "odd"
    for name in ("sweep.parquet", "selected.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "sweep.parquet", "selected.parquet", "sweep.html", "manifest.json", "settings.yaml",
    }  # fmt: skip


def test_a_pair_writes_captures_and_sweeps_and_goes_on(tmp_path: Path) -> None:
    words = ["organism:latent", "--problems", "organism:latent", "--n-problems", "16", "--samples", "8"]
    words += ["--max-new-tokens", "64", "--sites", "resid_post.2", "--out", str(tmp_path), *QUICK, "--json"]
    told = json.loads(ok(words).stdout)
    frame = pd.read_parquet(tmp_path / "sweep.parquet")
    assert {"twin", "shuffled", "control", "over_baseline"} <= set(frame)
    assert set(frame["label"]) == {entry["label"] for entry in told["selected"]}
    assert "concluding (inner)" in set(frame["label"])
    made = [*(tmp_path / "rollouts").glob("*.parquet"), *(tmp_path / "acts").rglob("*.safetensors")]
    before = {path: path.stat().st_mtime_ns for path in made}
    assert len(made) == 4
    tables = (tmp_path / "sweep.parquet").read_bytes()
    ok(words)
    assert {path: path.stat().st_mtime_ns for path in made} == before
    assert (tmp_path / "sweep.parquet").read_bytes() == tables


@pytest.mark.parametrize("probe", ["ridge", "mass_mean"])
def test_another_probe_is_swept_in_the_same_way(probe: str, store: Path, labels: Path, tmp_path: Path) -> None:
    words = [str(store), "--labels", str(labels), "--label", "odd", "--sites", "*.0", "--out", str(tmp_path)]
    assert "Sweep: 1 sites" in ok([*words, "--probe", probe, "--folds", "3", "--n-boot", "100"]).stdout
    assert json.loads((tmp_path / "manifest.json").read_text())["probe"] == probe
    assert pd.read_parquet(tmp_path / "sweep.parquet")["auroc"][0] > 0.7


def test_strategies_of_a_store_are_labels_of_its_decisions(store: Path, texts: Path, tmp_path: Path) -> None:
    from hooks.rollouts import Rollouts

    rows, rollouts = pd.read_parquet(store / "rows.parquet"), Rollouts.load(texts)
    found = decided(rollouts)
    made = strategy_labels(rows, found)
    assert len(made) == len(rows)
    # The slow way: look up each row by its text and place.
    at = {(row.row, row.position): row for row in found.itertuples()}
    for name in made:
        strategy, place = name.removesuffix(")").split(" (")
        hit = [at.get(key) for key in zip(rows["sequence"], rows["pos"])]
        slow = [np.nan if one is None or one.place != place else float(one.strategy == strategy) for one in hit]
        np.testing.assert_array_equal(made[name].to_numpy(float), slow)
    shown = ok([str(store), "--rollouts", str(texts), "--sites", "*.2", "--out", str(tmp_path), *QUICK]).stdout
    assert "1 sites" in shown


def test_labels_line_by_line_and_labels_by_name(labels: Path, store: Path, tmp_path: Path) -> None:
    rows = pd.read_parquet(store / "rows.parquet")
    table = pd.read_parquet(labels)
    by_key = read_labels(labels, rows)
    assert list(by_key) == ["odd", "kind=a", "kind=b"]
    known = by_key["odd"].notna()
    assert known.sum() == len(table)
    assert (by_key["odd"][known] == rows["id"][known] % 2).all()
    assert (by_key["kind=a"][known] == (rows["pos"][known] % 3 == 0)).all()
    plain = tmp_path / "plain.csv"
    pd.DataFrame({"kind": np.where(rows["pos"] % 3 == 0, "a", "b")}).to_csv(plain, index=False)
    assert list(read_labels(plain, rows)) == ["a", "b"]


def mistakes(tmp_path: Path, store: Path, labels: Path, texts: Path) -> list[tuple[list[str], str]]:
    rows = pd.read_parquet(store / "rows.parquet")
    short, constant, elsewhere = (tmp_path / f"{name}.csv" for name in ("short", "constant", "elsewhere"))
    pd.DataFrame({"odd": [0, 1, 1]}).to_csv(short, index=False)
    pd.DataFrame({"odd": np.ones(len(rows), int)}).to_csv(constant, index=False)
    pd.DataFrame({"problem": ["x", "y"], "odd": [0, 1]}).to_csv(elsewhere, index=False)
    bare = tmp_path / "bare.csv"
    pd.DataFrame({"problem": ["x"]}).to_csv(bare, index=False)
    other = tmp_path / "other.parquet"
    frame = pd.read_parquet(texts)
    frame.iloc[::-1].to_parquet(other)
    here = str(store)
    return [
        (["nowhere"], "nowhere is no activation store; for a pair, give --texts"),
        ([here], "there is nothing to probe for: give --labels FILE"),
        ([here, "--labels", "gone.csv"], "there are no labels at gone.csv"),
        ([here, "--labels", str(store / "manifest.json")], "labels are read from .parquet and .csv"),
        ([here, "--labels", str(short)], f"has 3 lines and the store has {len(rows)} rows"),
        ([here, "--labels", str(constant)], "the label 'odd' is the same wherever it is known"),
        ([here, "--labels", str(elsewhere)], "is about a row of the store, by problem"),
        ([here, "--labels", str(bare)], "has no column of labels, only problem"),
        ([here, "--labels", str(labels), "--label", "even"], "has no column 'even'; it has"),
        ([here, "--labels", str(labels), "--sites", "attn_out.*"], "has no site 'attn_out.*'; it has resid_post.0"),
        ([here, "--labels", str(labels), "--side", "tuned"], "has no side 'tuned'; it has base, rl"),
        ([here, "--texts", str(other)], "captured from other texts than these rollouts"),
        ([here, "--labels", str(labels), "--C", "1,two"], "--C is a list of numbers"),
        ([here, "--labels", str(labels), "--C", "1,-2"], "--C holds numbers above 0"),
        ([here, "--labels", str(labels), "--folds", "99"], "groups cannot be split into 99 folds"),
        ([here, "--labels", str(labels), "--probe", "lasso"], "lasso"),
        ([here, "--labels", str(labels), "--written-by", "me"], "--written-by is base or rl"),
    ]


def test_a_mistake_ends_in_one_sentence(store: Path, labels: Path, texts: Path, tmp_path: Path) -> None:
    for words, sentence in mistakes(tmp_path, store, labels, texts):
        done = run.invoke(app, ["sweep", *words, "--out", str(tmp_path / "out")])
        assert done.exit_code != 0, words
        # Known errors become their own sentence in probes.cli.main; others would be a bug.
        assert done.exception is None or isinstance(done.exception, (SystemExit, ValueError, FileNotFoundError))
        assert sentence in f"{done.output}{done.exception}", (words, done.output, done.exception)
        assert not (tmp_path / "out" / "sweep.parquet").exists()


def test_an_unfinished_store_is_refused(store: Path, labels: Path, tmp_path: Path) -> None:
    import shutil

    half = tmp_path / "half"
    shutil.copytree(store, half)
    next((half / "base").rglob("*.safetensors")).unlink()
    done = run.invoke(app, ["sweep", str(half), "--labels", str(labels), "--out", str(tmp_path / "out")])
    assert "is unfinished; run the same capture again" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "--ray"], ["a", "--ray", "local"]),
        (["--ray", "a", "--out", "b"], ["--ray", "local", "a", "--out", "b"]),
        (["--ray", "--out", "b"], ["--ray", "local", "--out", "b"]),
        (["--ray", "10.0.0.1:6379", "a"], ["--ray", "10.0.0.1:6379", "a"]),
        (["--ray", "ray://head:10001"], ["--ray", "ray://head:10001"]),
        (["--ray", "auto"], ["--ray", "auto"]),
        (["a", "--out", "b"], ["a", "--out", "b"]),
    ],
)
def test_ray_may_stand_alone(words: list[str], told: list[str]) -> None:
    assert with_address(words) == told


def test_without_ray_the_command_says_what_to_install(
    store: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["sweep", str(store), "--labels", str(labels), "--out", str(tmp_path / "out"), "--ray"]
    done = run.invoke(app, words)
    assert done.exit_code == 2
    assert "Ray is not installed: pip install 'whenlens[cluster]'" in done.output
