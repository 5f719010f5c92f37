"""Texts given to a command: samples without ids get them, aloud; those that have ids keep theirs."""

import json
from pathlib import Path
from typing import Any

import pytest

from hooks.generate import generate
from hooks.model import Model
from hooks.rollouts import Rollouts
from probes.commands.terminal import read_texts


@pytest.fixture(scope="module")
def model(llama_pair_dirs: tuple[Path, Path]) -> Model:
    return Model.load(str(llama_pair_dirs[0]), device="cpu")


def test_samples_without_ids_are_noticed(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text(json.dumps({"problem": "p", "prompt": "1+1=", "text": "2", "model": "other"}) + "\n")
    with pytest.warns(UserWarning, match="1 of 1 samples have no token ids"):
        found = read_texts(file, model)
    ids, n_prompt = found.sequences()[0]
    assert list(ids[:n_prompt]) == list(model.encode(["1+1="])[0])
    assert len(ids) > n_prompt


def test_ids_that_are_there_are_kept_also_where_nothing_was_written(model: Model, tmp_path: Path) -> None:
    written = generate(model, ["1+1=", "2+2="], max_new_tokens=3)
    rows: list[dict[str, Any]] = written.frame.to_dict("records")  # type: ignore[assignment]
    rows[0] |= {"ids": [], "text": "", "logp": [], "author": []}
    found = read_texts(Rollouts.of(rows).save(tmp_path / "texts.parquet"), model)
    assert found.frame["ids"].tolist() == [[], written.frame["ids"][1]]
