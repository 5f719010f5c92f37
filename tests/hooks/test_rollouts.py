"""The table of samples: checked, saved whole, and read from the files of others."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hooks.model import Model
from hooks.rollouts import COLUMNS, Rollouts


def rows() -> list[dict[str, Any]]:
    return [
        {
            "problem": "p1", "sample": 0, "model": "base", "prompt": "é?", "prompt_ids": [1, 5], "ids": [7, 200, 2],
            "text": "x�", "logp": [-0.5, -1.25, -0.1], "correct": True, "answer": "7", "stop": "eos",
            "author": ["base", "rl", "base"], "gate_open": [False, True, False], "alpha": 1.5,
        },
        {
            "problem": "p2", "sample": 1, "model": "base", "prompt": "b", "prompt_ids": [1], "ids": [9],
            "text": "y", "logp": [math.nan], "correct": None, "answer": None, "stop": "length",
            "author": ["base"], "gate_open": [True], "alpha": -2.0,
        },
    ]  # fmt: skip


def jsonl(path: Path, entries: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n")
    return path


class TestTable:
    def test_types_and_missing_values(self) -> None:
        frame = Rollouts.of(rows()).frame
        assert list(frame.columns[: len(COLUMNS)]) == list(COLUMNS)
        assert str(frame["correct"].dtype) == "boolean"
        assert frame["correct"].isna().tolist() == [False, True]
        assert frame["answer"].tolist() == ["7", None]
        assert frame["ids"][0] == [7, 200, 2]
        assert frame["alpha"].dtype == float

    def test_a_round_trip_changes_nothing(self, tmp_path: Path) -> None:
        before = Rollouts.of(rows())
        after = Rollouts.load(before.save(tmp_path / "r.parquet"))
        pd.testing.assert_frame_equal(after.frame, before.frame)
        assert math.isnan(after.frame["logp"][1][0])
        assert after.frame["gate_open"][0] == [False, True, False]
        again = Rollouts.load(after.save(tmp_path / "r.parquet"))
        pd.testing.assert_frame_equal(again.frame, before.frame)
        assert [path.name for path in tmp_path.iterdir()] == ["r.parquet"]

    def test_an_empty_table_is_a_table(self, tmp_path: Path) -> None:
        empty = Rollouts.of([])
        assert len(Rollouts.load(empty.save(tmp_path / "e.parquet"))) == 0
        assert str(empty) == "no rollouts"
        assert empty.sequences() == []

    def test_a_failed_save_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = Rollouts.of(rows()).save(tmp_path / "r.parquet")
        before = path.read_bytes()

        def half(_: Any, where: Path, **__: Any) -> None:
            Path(where).write_bytes(b"half")
            raise OSError("disk full")

        monkeypatch.setattr("pyarrow.parquet.write_table", half)
        with pytest.raises(OSError, match="disk full"):
            Rollouts.of(rows()[:1]).save(path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_parts(self) -> None:
        both = Rollouts.of(rows())
        assert both.subset(["p2"]).frame["problem"].tolist() == ["p2"]
        assert len(Rollouts.concat([both, both.subset(["p1"])])) == 3
        assert both.sequences() == [([1, 5, 7, 200, 2], 2), ([1, 9], 1)]
        assert both.with_columns(score=[0.1, 0.2]).frame["score"].tolist() == [0.1, 0.2]
        assert "score" not in both.frame.columns
        assert "2 samples of 2 problems by base" in str(both)
        assert "1.000 correct of 1" in str(both)

    def test_what_is_wrong_is_named(self, tmp_path: Path) -> None:
        short = rows()
        short[1]["logp"] = []
        with pytest.raises(ValueError, match="sample 1 of problem 'p2' has 1 ids but 0 entries of 'logp'"):
            Rollouts.of(short)
        with pytest.raises(ValueError, match="lack the columns prompt_ids, ids"):
            Rollouts(Rollouts.of(rows()).frame.drop(columns=["prompt_ids", "ids"]))
        odd = rows()
        odd[0]["stop"] = "bored"
        with pytest.raises(ValueError, match="'bored'"):
            Rollouts.of(odd)
        with pytest.raises(ValueError, match="3 values for 2 samples"):
            Rollouts.of(rows()).with_columns(score=[1, 2, 3])
        with pytest.raises(ValueError, match="nothing to join"):
            Rollouts.concat([])
        with pytest.raises(FileNotFoundError, match="no rollouts at"):
            Rollouts.load(tmp_path / "absent.parquet")
        (tmp_path / "text.parquet").write_text("hello")
        with pytest.raises(ValueError, match="not a parquet file"):
            Rollouts.load(tmp_path / "text.parquet")


class TestPlain:
    def test_the_usual_names_are_understood(self, tmp_path: Path) -> None:
        path = jsonl(
            tmp_path / "a.jsonl",
            [
                {"id": 3, "question": "1+1=", "response": "2", "finish_reason": "stop", "correct": True, "model": "m"},
                {"id": 3, "question": "1+1=", "response": "3", "finish_reason": "length"},
                {"prompt": "2+2=", "completion": "4"},
            ],
        )
        frame = Rollouts.read(path, model="given").frame
        assert frame["problem"].tolist() == ["3", "3", "2+2="]
        assert frame["model"].tolist() == ["m", "given", "given"]
        assert frame["stop"].tolist() == ["eos", "length", None]
        assert frame["correct"].tolist()[0] is True
        assert frame["correct"].isna().tolist() == [False, True, True]
        assert frame["ids"].tolist() == [[], [], []]
        assert "not graded" not in str(Rollouts.read(path))

    def test_samples_are_counted_where_the_file_does_not(self, tmp_path: Path) -> None:
        entry = {"problem": "p", "prompt": "q", "responses": ["a", "b"], "correct": [True, False], "model": "m"}
        frame = Rollouts.read(
            jsonl(tmp_path / "b.jsonl", [entry, {**entry, "responses": ["c"], "correct": [True]}])
        ).frame
        assert frame["sample"].tolist() == [0, 1, 2]
        assert frame["text"].tolist() == ["a", "b", "c"]
        assert frame["correct"].tolist() == [True, False, True]

    def test_ids_are_taken_when_they_are_there(self, tmp_path: Path) -> None:
        entry = {
            "id": "p",
            "prompt": "q",
            "text": "ab",
            "ids": [4, 5],
            "prompt_token_ids": [1, 2],
            "logprobs": [-1, -2],
        }
        out = Rollouts.read(jsonl(tmp_path / "c.jsonl", [entry]), model="m")
        assert out.sequences() == [([1, 2, 4, 5], 2)]
        assert out.frame["author"][0] == ["m", "m"]

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"prompt": "a"}, r"line 2 has no field 'text' \(nor completion"),
            ({"text": "a"}, "line 2 has no field 'prompt'"),
            ({"prompt": "a", "text": 3}, "line 2: field 'text' holds a int"),
            ({"prompt": ["a"], "text": "b"}, "line 2: field 'prompt' is a list"),
            ({"prompt": "a", "text": "b", "ids": "12"}, "line 2: field 'ids' is not a list of token ids"),
            ({"prompt": "a", "text": "b", "ids": [1]}, "line 2 has token ids of the text and none of the prompt"),
            ({"prompt": "a", "text": "b", "logp": [1.0]}, "line 2: field 'logp'"),
            ({"prompt": "a", "text": "b", "correct": "yes"}, "line 2: field 'correct' is 'yes'"),
            ({"prompt": "a", "text": ["b"], "correct": [True, False]}, "line 2: field 'correct' has 2 entries for 1"),
            ([1], "line 2 holds a list"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, entry: Any, message: str) -> None:
        path = jsonl(tmp_path / "d.jsonl", [{"prompt": "a", "text": "b"}, entry])
        with pytest.raises(ValueError, match=message):
            Rollouts.read(path)

    def test_files_that_are_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "e.jsonl").write_text('{"prompt": "a", "text": "b"}\n{broken\n')
        with pytest.raises(ValueError, match="line 2 is not JSON"):
            Rollouts.read(tmp_path / "e.jsonl")
        (tmp_path / "f.jsonl").write_text("\n")
        with pytest.raises(ValueError, match="no samples"):
            Rollouts.read(tmp_path / "f.jsonl")
        (tmp_path / "g.csv").write_text("a")
        with pytest.raises(ValueError, match="ends in none of"):
            Rollouts.read(tmp_path / "g.csv")
        with pytest.raises(FileNotFoundError, match="no samples at"):
            Rollouts.read(tmp_path / "absent.jsonl")

    def test_our_own_files_are_read_too(self, tmp_path: Path) -> None:
        mine = Rollouts.of(rows())
        pd.testing.assert_frame_equal(Rollouts.read(mine.save(tmp_path / "r.parquet")).frame, mine.frame)


def test_lm_eval_samples(tmp_path: Path) -> None:
    entry = {
        "doc_id": 4, "doc": {"question": "1+1"}, "target": "2",
        "arguments": {"gen_args_0": {"arg_0": "Q: 1+1\nA:", "arg_1": {"until": ["Q:"]}}},
        "resps": [["it is 2"]], "filtered_resps": ["2"], "filter": "strict-match", "exact_match": 1.0,
    }  # fmt: skip
    older = {**entry, "doc_id": 5, "arguments": [["Q: 2+2\nA:", {"until": []}]], "exact_match": 0.0}
    again = {**entry, "filter": "flexible-extract"}
    frame = Rollouts.read(jsonl(tmp_path / "samples_gsm8k.jsonl", [entry, older, again]), model="m").frame
    assert frame["problem"].tolist() == ["4", "5"]
    assert frame["prompt"].tolist() == ["Q: 1+1\nA:", "Q: 2+2\nA:"]
    assert frame["correct"].tolist() == [True, False]
    assert frame["answer"].tolist() == ["2", "2"]
    many = {**entry, "resps": [["a", "b", "c"]], "filtered_resps": [["a", "b", "c"]]}
    frame = Rollouts.read(jsonl(tmp_path / "many.jsonl", [many]), model="m").frame
    assert frame["sample"].tolist() == [0, 1, 2]
    assert frame["correct"].isna().all()
    likelihood = {**entry, "resps": [[["-1.2", "False"]]]}
    with pytest.raises(ValueError, match="line 1: field 'resps' has no generated text"):
        Rollouts.read(jsonl(tmp_path / "l.jsonl", [likelihood]))
    with pytest.raises(ValueError, match="line 1 has no prompt in its field 'arguments'"):
        Rollouts.read(jsonl(tmp_path / "n.jsonl", [{**entry, "arguments": []}]))


def inspect_samples() -> list[dict[str, Any]]:
    choice = {"message": {"role": "assistant", "content": "the answer is 4"}, "stop_reason": "stop"}
    plain = {
        "id": "q1", "epoch": 1, "input": "2+2", "target": "4", "output": {"model": "org/m", "choices": [choice]},
        "scores": {"match": {"value": "C", "answer": "4"}},
    }  # fmt: skip
    content = [{"type": "reasoning", "reasoning": "attachment://abc"}, {"type": "text", "text": "5"}]
    chat = {
        **plain,
        "epoch": 2,
        "input": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2+2"}],
        "output": {"choices": [{"message": {"content": content}, "stop_reason": "max_tokens"}]},
        "scores": {"match": {"value": "I"}},
        "attachments": {"abc": "hm"},
    }
    part = {**plain, "id": 7, "scores": {"judge": {"value": 0.5}}}
    return [plain, chat, part]


def test_inspect_logs(tmp_path: Path) -> None:
    samples = inspect_samples()
    with zipfile.ZipFile(tmp_path / "log.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {"model": "org/m"}, "status": "success"}))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        archive.writestr("summaries.json", "[]")
    (tmp_path / "log.json").write_text(json.dumps({"eval": {"model": "org/m"}, "samples": samples}))
    for name in ("log.eval", "log.json"):
        frame = Rollouts.read(tmp_path / name).frame.sort_values(["problem", "sample"], ascending=False)
        assert frame["problem"].tolist() == ["q1", "q1", "7"]
        assert frame["sample"].tolist() == [1, 0, 0]
        assert frame["prompt"].tolist() == ["be brief\n\n2+2", "2+2", "2+2"]
        assert frame["text"].tolist() == ["<think>\nhm\n</think>\n5", "the answer is 4", "the answer is 4"]
        assert frame["stop"].tolist() == ["length", "eos", "eos"]
        assert frame["correct"].isna().tolist() == [False, False, True]
        assert frame["correct"].tolist()[:2] == [False, True]
        assert set(frame["model"]) == {"org/m"}


def test_broken_inspect_logs_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.eval").write_text("no zip")
    with pytest.raises(ValueError, match="not an inspect-ai log"):
        Rollouts.read(tmp_path / "a.eval")
    with zipfile.ZipFile(tmp_path / "b.eval", "w") as archive:
        archive.writestr("samples/1_epoch_1.json", "{}")
    with pytest.raises(ValueError, match=r"no header\.json"):
        Rollouts.read(tmp_path / "b.eval")
    for change, message in (
        ({"output": {"choices": [], "error": "timeout"}}, r"sample 0: field 'output' has no choices \(timeout\)"),
        ({"input": [{"role": "user", "content": "attachment://zz"}]}, "attachment zz is missing"),
    ):
        sample = inspect_samples()[0] | change
        (tmp_path / "c.json").write_text(json.dumps({"samples": [sample]}))
        with pytest.raises(ValueError, match=message):
            Rollouts.read(tmp_path / "c.json")
    (tmp_path / "d.json").write_text(json.dumps({"samples": [{"id": 1}]}))
    with pytest.raises(ValueError, match="sample 0 has no field 'input'"):
        Rollouts.read(tmp_path / "d.json")
    (tmp_path / "e.json").write_text("{}")
    with pytest.raises(ValueError, match="no field 'samples'"):
        Rollouts.read(tmp_path / "e.json")


def test_texts_without_ids_are_cut_aloud(tmp_path: Path, llama_dir: Path) -> None:
    model = Model.load(llama_dir, device="cpu")
    entries = [{"prompt": "1+1=", "text": "2", "stop": "eos"}, {"prompt": "a", "text": "wait 3", "stop": "length"}]
    texts = Rollouts.read(jsonl(tmp_path / "a.jsonl", entries), model="m")
    with pytest.raises(ValueError, match="no token ids; add them with with_ids"):
        texts.sequences()
    with pytest.warns(UserWarning, match="2 of 2 samples have no token ids"):
        cut = texts.with_ids(model)
    assert cut.frame["prompt_ids"].tolist() == model.encode(["1+1=", "a"])
    assert [model.decode(ids) for ids in cut.frame["ids"]] == ["2", "wait 3"]
    assert cut.frame["ids"][0][-1] == model.eos_ids[0]
    assert cut.frame["ids"][1][-1] != model.eos_ids[0]
    assert cut.with_ids(model) is cut
    assert cut.frame["author"][0] == ["m", "m"]
