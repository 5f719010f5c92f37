"""Readers on files that other programs wrote themselves (see ``elsewhere/README.md`` for which, in which version)."""

from __future__ import annotations

import json
import math
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from hooks.control_vectors import from_gguf, from_repeng, from_steering_vectors, to_gguf, to_repeng, to_steering_vectors
from hooks.direction import Direction
from hooks.rollouts import Rollouts
from hooks.sites import Site

HERE = Path(__file__).parent / "elsewhere"
SAID = "bell \x07, escape \x1b[31mred\x1b[0m, null-ish \x01, tab\t, \u2028 line, \U0001f600 ANSWER: 5"


class TestInspect:
    @pytest.mark.parametrize("name", ["sums.eval", "sums.json"])
    def test_epochs_targets_and_ids_that_inspect_made_up(self, name: str) -> None:
        frame = Rollouts.read(HERE / name).frame.sort_values(["problem", "sample"]).reset_index(drop=True)
        assert list(zip(frame["problem"], frame["sample"])) == [
            ("2", 0), ("2", 1), ("3", 0), ("3", 1), ("sum", 0), ("sum", 1),
        ]  # fmt: skip
        assert set(frame["model"]) == {"mockllm/model"}
        # The system message is part of what the model read.
        assert frame["prompt"].tolist()[::2] == ["Be brief.\n\n3+4=", "Be brief.\n\n5+6=", "Be brief.\n\n2+2="]
        assert frame["text"].tolist() == [
            SAID, "ANSWER: 9", "<think>\ntwo and two\n</think>\nANSWER: 4", "é ANSWER: 11", "ANSWER: 4",
            "x" * 150 + " ANSWER: 7",
        ]  # fmt: skip
        assert frame["correct"].tolist() == [False, False, False, True, True, False]
        assert frame["stop"].tolist() == ["length", "eos", "eos", "eos", "eos", "eos"]

    def test_archive_and_json_say_the_same(self, tmp_path: Path) -> None:
        first, second = (Rollouts.read(HERE / f"sums.{kind}").frame for kind in ("eval", "json"))
        keys = ["problem", "sample"]
        kept = ["problem", "sample", "prompt", "text", "correct", "answer", "stop"]
        first, second = (one.sort_values(keys).reset_index(drop=True)[kept] for one in (first, second))
        assert first.equals(second)
        saved = Rollouts.read(HERE / "sums.eval").save(tmp_path / "r.parquet")
        assert SAID in Rollouts.load(saved).frame["text"].tolist()

    def test_a_multiple_choice_shows_its_letters(self) -> None:
        frame = Rollouts.read(HERE / "choose.eval").frame.set_index("problem")
        assert frame.loc["7", "prompt"].endswith("Which is prime?\n\nA) 4\nB) 5\nC) 6")
        assert (frame.loc["7", "answer"], frame.loc["7", "correct"]) == ("B", True)
        assert (frame.loc["2", "answer"], frame.loc["2", "correct"]) == ("A, B", False)

    def test_samples_that_failed_are_left_out_aloud(self) -> None:
        with pytest.warns(UserWarning, match=r"1 of 2 samples failed .*custom_outputs ran out of values"):
            frame = Rollouts.read(HERE / "fails.eval").frame
        assert frame["problem"].tolist() == ["ok"]

    def test_a_damaged_archive_is_named(self, tmp_path: Path) -> None:
        content = bytearray((HERE / "choose.eval").read_bytes())
        with zipfile.ZipFile(HERE / "choose.eval") as archive:
            place = archive.getinfo("samples/7_epoch_1.json").header_offset
        for at, change in ((place + 300, 0x55), (place + 70, 0xFF)):
            broken = bytearray(content)
            broken[at] ^= change
            (tmp_path / "b.eval").write_bytes(broken)
            with pytest.raises(ValueError, match=r"samples/7_epoch_1\.json is damaged"):
                Rollouts.read(tmp_path / "b.eval")


def lm_eval(task: str) -> Path:
    (found,) = HERE.glob(f"samples_toy_{task}_*.jsonl")
    return found


class TestLmEval:
    def test_two_filters_are_one_set_of_samples(self) -> None:
        frame = Rollouts.read(lm_eval("two_filters")).frame
        assert frame["problem"].tolist() == ["0", "1", "2"]
        assert frame["prompt"].tolist()[1] == "Question: Wie heißt 3+4?\nAnswer:"
        assert frame["text"].tolist() == [
            "Two and two. The answer is 4", "The answer is 8; \x07 bell, \x1b[31m red, \u2028 line, \U0001f600", "",
        ]  # fmt: skip
        assert frame["correct"].tolist() == [True, False, False]
        # "[invalid]" is what lm-eval writes where a filter finds nothing.
        assert frame["answer"].tolist() == ["4", "8", None]

    def test_the_results_file_beside_names_the_model(self, tmp_path: Path) -> None:
        assert set(Rollouts.read(lm_eval("two_filters")).frame["model"]) == {"org/toy"}
        assert set(Rollouts.read(lm_eval("two_filters"), model="mine").frame["model"]) == {"mine"}
        alone = tmp_path / lm_eval("two_filters").name
        alone.write_bytes(lm_eval("two_filters").read_bytes())
        assert set(Rollouts.read(alone).frame["model"]) == {"unknown"}

    def test_repeats_are_samples_without_a_verdict_of_their_own(self) -> None:
        frame = Rollouts.read(lm_eval("repeats")).frame
        assert list(zip(frame["problem"], frame["sample"])) == [(str(doc), at) for doc in range(3) for at in range(3)]
        assert frame["text"].tolist()[:3] == ["It is 11", "The answer is 7\ttab", "The answer is 11"]
        assert frame["correct"].isna().all()

    def test_a_chat_template_stands_in_the_prompt(self) -> None:
        prompts = Rollouts.read(lm_eval("fewshot_chat")).frame["prompt"]
        assert prompts[2] == "<|user|>Question: 2+2=\nAnswer:<|assistant|>4<|user|>Question: 5+6=\nAnswer:<|assistant|>"

    def test_a_task_scored_by_likelihood_has_no_texts(self) -> None:
        with pytest.raises(ValueError, match="a task scored by likelihood has none"):
            Rollouts.read(lm_eval("choice"))

    def test_a_byte_order_mark_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_text(json.dumps({"prompt": "é", "text": "b"}), encoding="utf-8-sig")
        assert Rollouts.read(tmp_path / "a.jsonl").frame["prompt"].tolist() == ["é"]


def directions(*sites: str) -> list[Direction]:
    wanted = sites or ("resid_post.1", "resid_post.2")
    rng = torch.Generator().manual_seed(0)
    return [Direction(torch.randn(32, generator=rng) * 0.3, Site.parse(site), kind="mean") for site in wanted]


class TestControlVectors:
    def test_a_file_that_repeng_wrote(self, tmp_path: Path) -> None:
        found = from_gguf(HERE / "repeng.gguf")
        assert [str(one.site) for one in found] == ["resid_post.1", "resid_post.2"]
        for one, mine in zip(found, directions()):
            assert torch.equal(one.vector, mine.vector)
        assert found[0].model == "llama"
        # Ours is that file, byte for byte.
        ours = to_gguf(found, tmp_path / "ours.gguf", model_hint="llama")
        assert ours.read_bytes() == (HERE / "repeng.gguf").read_bytes()

    def test_half_precision_and_values_of_other_types(self) -> None:
        (one,) = from_gguf(HERE / "half.gguf")
        assert (str(one.site), one.model, one.vector.tolist()) == ("resid_post.7", "qwen2", [1.0, 2.0, 3.0, 4.0, 5.0])

    def test_a_round_trip_through_the_objects_of_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Their classes hold exactly these fields; parity of logits with the packages was measured where they run.
        repeng, steering_vectors = ModuleType("repeng"), ModuleType("steering_vectors")
        repeng.ControlVector = lambda model_type, directions: SimpleNamespace(  # type: ignore[attr-defined]
            model_type=model_type, directions=directions
        )
        steering_vectors.SteeringVector = lambda activations, kind: SimpleNamespace(  # type: ignore[attr-defined]
            layer_activations=activations, layer_type=kind
        )
        monkeypatch.setitem(sys.modules, "repeng", repeng)
        monkeypatch.setitem(sys.modules, "steering_vectors", steering_vectors)
        control = to_repeng(directions()[::-1], model_type="qwen2")
        assert list(control.directions) == [1, 2]
        assert all(array.dtype == np.float32 for array in control.directions.values())
        back = from_repeng(control)
        assert [one.model for one in back] == ["qwen2", "qwen2"]
        assert all(torch.equal(one.vector, mine.vector) for one, mine in zip(back, directions()))
        for kind, name in (("resid_post", "decoder_block"), ("attn_out", "self_attn"), ("mlp_out", "mlp")):
            vector = to_steering_vectors(directions(f"{kind}.2", f"{kind}.0"))
            assert (vector.layer_type, list(vector.layer_activations)) == (name, [0, 2])
            back = from_steering_vectors(vector)
            assert [str(one.site) for one in back] == [f"{kind}.0", f"{kind}.2"]
            assert math.isnan(back[0].typical_norm)
        # What was handed over is a copy: their arithmetic in place leaves our direction as it was.
        mine = directions()[0]
        to_repeng(mine, model_type="x").directions[1] *= 2
        to_steering_vectors(mine).layer_activations[1].mul_(2)
        assert torch.equal(mine.vector, directions()[0].vector)

    def test_what_their_objects_cannot_hold(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match=r"repeng steers at .*resid_post.*, not at mlp_out"):
            to_repeng(directions("mlp_out.1"), model_type="llama")
        with pytest.raises(ValueError, match="no layer type for resid_pre"):
            to_steering_vectors(directions("resid_pre.1"))
        for sites in (("resid_post.1", "resid_post.1"), ("resid_post.1", "mlp_out.2")):
            with pytest.raises(ValueError, match="one vector a layer at one kind of site is needed"):
                to_steering_vectors(directions(*sites))
        for name in ("repeng", "steering_vectors"):
            monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ModuleNotFoundError, match="repeng is not installed: pip install repeng"):
            to_repeng(directions(), model_type="llama")
        with pytest.raises(ModuleNotFoundError, match="pip install steering-vectors"):
            to_steering_vectors(directions())
