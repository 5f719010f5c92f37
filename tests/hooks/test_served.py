"""Samples of a served model: what is asked, what is certain, what is tried again, and what a killed run keeps."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hooks.endpoint import Client, Endpoint, EndpointError
from hooks.rollouts import Rollouts
from hooks.said import choices_of, ids_of, logp_of
from hooks.served import Asking, served
from tests.serving import chat, completion, serving

PROBLEMS = [SimpleNamespace(id=f"p{number}", prompt=f"{number}+{number}=") for number in range(5)]


def at(url: str, **more: Any) -> Endpoint:
    return Endpoint(url, "m", **{"pause": 0.001, "timeout": 5.0, **more})


def echo(path: str, body: dict[str, Any], number: int) -> Any:
    """One text a sample, which names its prompt and its seed."""
    return 200, completion(*(f"{body['prompt']}{body['seed']}/{one}" for one in range(body.get("n", 1))))


class TestAsking:
    def test_samples_come_in_order_whatever_the_threads_and_the_request_size(self) -> None:
        frames = []
        for threads, size in ((1, 4), (8, 4), (8, 4)):
            with serving(echo) as server:
                asking = Asking(n=6, per_request=size, seed=7, temperature=0.5, top_p=0.9, stop=("Q:",))
                frames.append(served(at(server.url), PROBLEMS, asking, threads=threads).frame)
            assert len(server.asked) == 10
        assert frames[0].equals(frames[1])
        assert frames[1].equals(frames[2])
        assert list(zip(frames[0]["problem"], frames[0]["sample"])) == [
            (problem.id, sample) for problem in PROBLEMS for sample in range(6)
        ]
        body = next(one for one in server.asked if one["prompt"] == "3+3=" and one["n"] == 4)
        assert (body["model"], body["temperature"], body["top_p"], body["max_tokens"]) == ("m", 0.5, 0.9, 256)
        assert body["stop"] == ["Q:"]
        assert len({one["seed"] for one in server.asked}) == 10

    def test_what_is_usual_is_left_out(self) -> None:
        with serving(lambda *_: (200, completion("a"))) as server:
            served(at(server.url), PROBLEMS[:1], Asking(seed=None, logprobs=False))
        assert set(server.asked[0]) == {"model", "prompt", "max_tokens", "temperature"}

    def test_a_server_that_gives_one_text_for_many_is_asked_again(self) -> None:
        with serving(lambda path, body, number: (200, completion(str(body["seed"])))) as server:
            frame = served(at(server.url), PROBLEMS[:2], Asking(n=3)).frame
        assert len(server.asked) == 6
        assert frame["text"].nunique() == 6
        assert sorted(body.get("n", 1) for body in server.asked) == [1, 1, 2, 2, 3, 3]

    def test_chat_sends_a_message_and_keeps_the_reasoning(self) -> None:
        def answer(path: str, body: dict[str, Any], number: int) -> Any:
            assert path == "/v1/chat/completions"
            return 200, chat("4 é😀", message={"reasoning_content": "two and two"}, stop_reason=None)

        with serving(answer) as server:
            frame = served(at(server.url, api="chat"), PROBLEMS[:1], Asking()).frame
        assert server.asked[0]["messages"] == [{"role": "user", "content": "0+0="}]
        assert server.asked[0]["logprobs"] is True
        assert frame["text"][0] == "<think>\ntwo and two\n</think>\n4 é😀"
        assert frame["stop"][0] == "eos"

    def test_without_log_probs_there_are_none(self) -> None:
        with serving(lambda *_: (200, completion("control \x07 \x1b[31m \u2028 é", reason="length"))) as server:
            out = served(at(server.url), ["ü?"], Asking())
        row = out.frame.iloc[0]
        assert (row["text"], row["stop"], row["ids"], row["logp"]) == (
            "control \x07 \x1b[31m \u2028 é",
            "length",
            [],
            [],
        )
        assert not row["exact"]
        assert math.isnan(row["logp_total"])
        with pytest.raises(ValueError, match="no token ids"):
            out.sequences()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n": 0}, "n is at least 1"),
            ({"temperature": -1.0}, "temperature is at least 0"),
            ({"top_p": 0.0}, "top_p lies above 0"),
            ({"temperature": math.nan}, "temperature"),
        ],
    )
    def test_numbers_that_make_no_sense(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Asking(**change)

    def test_a_template_needs_a_tokenizer(self) -> None:
        with pytest.raises(ValueError, match="the template 'chat' is the tokenizer's"):
            served(at("http://127.0.0.1:1/v1"), PROBLEMS, Asking(), template="chat")


class TestTrouble:
    @pytest.mark.parametrize(
        "bad",
        [
            (429, {"error": {"message": "slow down"}}, {"Retry-After": "0"}),
            (500, "<html>oops</html>"),
            (503, {"error": "loading"}, {"Retry-After": formatdate(usegmt=True)}),
            (429, "", {"Retry-After": "soon"}),
            (200, "not json"),
            (200, {"choices": []}),
            (200, ["list"]),
            (200, {"choices": ["text"]}),
        ],
    )
    def test_what_may_pass_is_tried_again(self, bad: Any) -> None:
        with serving(lambda path, body, number: bad if number < 2 else (200, completion("ok"))) as server:
            assert served(at(server.url), PROBLEMS[:1], Asking()).frame["text"].tolist() == ["ok"]
        assert len(server.asked) == 3
        assert server.asked[0] == server.asked[1] == server.asked[2]

    def test_the_server_says_when_to_come_back(self) -> None:
        waited: list[float] = []
        with serving(lambda *_: (429, "", {"Retry-After": "7"})) as server, Client(at(server.url, retries=2)) as client:
            client._stopped.wait = lambda seconds=None: bool(waited.append(float(seconds or 0)))  # type: ignore[method-assign]
            with pytest.raises(EndpointError, match="failed 3 times at the same request: 429"):
                client.ask({})
        assert waited == [7.0, 7.0]

    def test_pauses_grow_and_are_the_same_again(self) -> None:
        client = Client(at("http://127.0.0.1:1/v1", pause=1.0))
        pauses = [client._pause(attempt, "p 0") for attempt in range(12)]
        assert pauses == [client._pause(attempt, "p 0") for attempt in range(12)]
        assert all(0.5 * 2**attempt <= pause < 1.5 * 2**attempt for attempt, pause in enumerate(pauses[:6]))
        assert pauses[-1] == 120.0

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ((400, {"error": {"message": "n is\ntoo large"}}), r"refused the request \(400: n is too large\)"),
            (
                (401, {"error": {"message": "bad key sk-secret"}}),
                r"refused the key \(401: bad key \*\*\*\); set the env",
            ),
            ((404, {"detail": "Not Found"}), r"knows no /completions or no model 'm' .* try --api chat"),
            ((302, "", {"Location": "http://elsewhere.invalid"}), r"refused the request \(302"),
            ((422, "x" * 500), r"x{300} \.\.\."),
        ],
    )
    def test_what_will_not_pass_ends_at_once(
        self, answer: Any, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("MY_KEY", "sk-secret")
        with serving(lambda *_: answer) as server, pytest.raises(EndpointError, match=message) as caught:
            served(at(server.url, key_from="MY_KEY"), PROBLEMS[:1], Asking(), journal=tmp_path / "j")
        assert len(server.asked) == 1
        assert server.headers[0]["Authorization"] == "Bearer sk-secret"
        assert "sk-secret" not in str(caught.value) + (tmp_path / "j").read_text() + repr(at(server.url))

    def test_nobody_there(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with pytest.raises(EndpointError, match=rf"no server answers at http://127.0.0.1:{port}/v1 .*start it"):
            served(at(f"http://127.0.0.1:{port}/v1"), PROBLEMS, Asking())

    def test_a_server_that_never_answers(self) -> None:
        gate = threading.Event()

        def hang(*_: Any) -> Any:
            gate.wait(5)
            return 200, completion("late")

        with (
            serving(hang) as server,
            pytest.raises(EndpointError, match="failed 2 times at the same request: timed out"),
        ):
            served(at(server.url, timeout=0.05, retries=1), PROBLEMS[:1], Asking())
        gate.set()

    def test_a_failure_does_not_wait_for_answers_that_hang(self) -> None:
        gate = threading.Event()

        def answer(path: str, body: dict[str, Any], number: int) -> Any:
            if number:
                gate.wait(20)
            return (400, "no") if not number else (200, completion("late"))

        with serving(answer) as server:
            start = time.monotonic()
            with pytest.raises(EndpointError, match="400: no"):
                served(at(server.url, timeout=20.0), PROBLEMS, Asking(), threads=3)
            assert time.monotonic() - start < 10
            gate.set()

    def test_a_model_the_server_does_not_have(self) -> None:
        with serving(echo, models=("other", "third")) as server, pytest.raises(EndpointError) as caught:
            served(at(server.url), PROBLEMS, Asking())
        assert "has no model 'm'; it has other, third" in str(caught.value)
        with serving(echo, models=None) as server:
            assert len(served(at(server.url), PROBLEMS, Asking())) == 5

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("localhost:8000", "an endpoint is an address such as"),
            ("http://me:secret@host/v1", "put the key into the environment variable"),
        ],
    )
    def test_an_address_that_is_none(self, url: str, message: str) -> None:
        with pytest.raises(ValueError, match=message) as caught:
            Endpoint(url, "m")
        assert "secret" not in str(caught.value)
        assert Endpoint("http://h:1/v1/chat/completions/", "m").url == "http://h:1/v1"


class TestGoingOn:
    def run(self, answer: Callable[..., Any], journal: Path, **more: Any) -> tuple[Rollouts, int]:
        with serving(answer) as server:
            asking = Asking(n=4, per_request=2, **more)
            out = served(at(server.url, retries=0), PROBLEMS, asking, threads=2, journal=journal)
        return out, len(server.asked)

    def test_a_failed_run_goes_on_and_ends_as_an_undisturbed_one(self, tmp_path: Path) -> None:
        whole, asked = self.run(echo, tmp_path / "whole")
        assert asked == 10
        journal = tmp_path / "j"

        def dies(path: str, body: dict[str, Any], number: int) -> Any:
            return echo(path, body, number) if number < 4 else (500, "down")

        with pytest.raises(EndpointError, match="500: down"):
            self.run(dies, journal)
        lines = journal.read_text().splitlines()
        assert 4 <= len(lines) <= 5
        # The last line was cut off by a crash.
        journal.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
        again, asked = self.run(echo, journal)
        assert asked == 8
        assert again.frame.equals(whole.frame)
        assert self.run(echo, journal)[1] == 0

    def test_part_of_a_block_goes_on_with_the_same_seeds(self, tmp_path: Path) -> None:
        def one(path: str, body: dict[str, Any], number: int) -> Any:
            return 200, completion(str(body["seed"]))

        whole, _ = self.run(one, tmp_path / "whole")
        lines = (tmp_path / "whole").read_text().splitlines()
        (tmp_path / "part").write_text("\n".join([lines[0], *sorted(lines[1:])[::3]]) + "\n")
        assert self.run(one, tmp_path / "part")[0].frame.equals(whole.frame)

    def test_other_requests_are_refused(self, tmp_path: Path) -> None:
        self.run(echo, tmp_path / "j")
        with pytest.raises(ValueError, match=r"holds answers to other requests \(other seed, temperature\)"):
            self.run(echo, tmp_path / "j", seed=1, temperature=0.3)
        (tmp_path / "k").write_text("no journal\n")
        with pytest.raises(ValueError, match="is no journal of answers"):
            self.run(echo, tmp_path / "k")

    def test_two_runs_do_not_write_one_journal(self, tmp_path: Path) -> None:
        from hooks.locks import writing

        with writing(tmp_path / "j", 0, 1, "j"), pytest.raises(ValueError, match="another run writes"):
            self.run(echo, tmp_path / "j")

    def test_progress_counts_samples(self, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        with serving(echo) as server:
            served(at(server.url), PROBLEMS, Asking(n=2), progress=lambda done, total: told.append((done, total)))
        assert told[0] == (0, 10)
        assert told[-1] == (10, 10)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Bytes, three merges and an end: cuts "é" in two."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("w", "a"), ("i", "t"), ("wa", "it")]
    vocab = {piece: at for at, piece in enumerate([*letters, *("".join(pair) for pair in merges), "</s>"])}
    whole = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="</s>")


def pieces(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def bytes_of(tokenizer: Any, one: int) -> list[int]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}
    return [letters[letter] for letter in str(tokenizer.convert_ids_to_tokens(one))]


class TestIds:
    def test_prompts_go_as_ids_and_the_servers_ids_come_back(self, tokenizer: Any) -> None:
        ids = [5, 9, tokenizer.eos_token_id]

        def answer(path: str, body: dict[str, Any], number: int) -> Any:
            logprobs = {"tokens": ["token_id:5", "token_id:9", "x"], "token_logprobs": [-0.5, None, -1.0]}
            return 200, completion("ab", token_ids=ids, logprobs=logprobs)

        with serving(answer) as server:
            out = served(at(server.url), ["1+1="], Asking(token_ids=True), tokenizer=tokenizer)
        prompt = pieces(tokenizer, "1+1=")
        assert server.asked[0]["prompt"] == prompt
        assert server.asked[0]["return_token_ids"] is True
        assert out.sequences() == [([*prompt, *ids], len(prompt))]
        assert out.frame["exact"][0]
        assert out.frame["logp"][0][0] == -0.5
        assert math.isnan(out.frame["logp"][0][1])
        assert math.isnan(out.frame["logp_total"][0])

    def test_ids_of_a_chat_need_the_servers_prompt(self, tokenizer: Any) -> None:
        own = {"token_ids": [5, 6]}
        for more, exact in (({}, False), ({"prompt_token_ids": [1, 2, 3]}, True)):
            with serving(lambda *_, more=more: (200, chat("ab", reason="length", **own) | more)) as server:
                frame = served(at(server.url, api="chat"), ["q"], Asking(), tokenizer=tokenizer).frame
            assert bool(frame["exact"][0]) is exact
            assert frame["ids"][0] == ([5, 6] if exact else [])

    @pytest.mark.parametrize("text", ["wait 3", "é 12 + x", ""])
    @pytest.mark.parametrize("last", [True, False])
    def test_a_cut_that_agrees_with_the_listed_tokens_is_certain(self, text: str, last: bool, tokenizer: Any) -> None:
        eos = tokenizer.eos_token_id
        cut = pieces(tokenizer, text)
        listed = [*cut, eos] if last else cut
        entries = [
            {"token": tokenizer.convert_ids_to_tokens(one), "logprob": -0.1 * place} for place, one in enumerate(listed)
        ]
        # Every token says its bytes, as the chat interface of OpenAI and vLLM does.
        for entry, one in zip(entries, cut):
            entry["bytes"] = bytes_of(tokenizer, one)
        (choice,) = choices_of(chat(text, logprobs={"content": entries}))
        found = ids_of(choice, tokenizer, eos=[tokenizer.eos_token_id])
        assert found == [*cut, eos]
        logp = logp_of(choice, found)
        assert logp[: len(cut)] == pytest.approx([-0.1 * place for place in range(len(cut))])
        assert math.isnan(logp[-1]) is not last

    def test_the_end_is_not_guessed_among_several(self, tokenizer: Any) -> None:
        eos, cut = tokenizer.eos_token_id, pieces(tokenizer, "wait")
        logprobs = {"tokens": ["wait"], "token_logprobs": [-1.0]}
        (choice,) = choices_of(completion("wait", logprobs=logprobs))
        assert ids_of(choice, tokenizer, eos=[eos]) == [*cut, eos]
        assert ids_of(choice, tokenizer, eos=[eos, 3]) is None
        # A listed special token is the end, whether or not it is the tokenizer's own; another token is none.
        for token, found in (("</s>", [*cut, eos]), ("3", None)):
            listed = {"tokens": ["wait", token], "token_logprobs": [-1.0, -2.0]}
            (choice,) = choices_of(completion("wait", logprobs=listed))
            assert ids_of(choice, tokenizer, eos=[]) == found
        (choice,) = choices_of(completion("wait", token_ids=[*cut, 77]))
        assert ids_of(choice, tokenizer, eos=[eos]) == [*cut, 77]

    def test_another_cut_is_no_certain_one(self, tokenizer: Any) -> None:
        text = "wait 3"
        good = [tokenizer.decode([one]) for one in pieces(tokenizer, text)]
        assert len(good) > 1
        joined = ["".join(good[:2]), *good[2:]]
        for tokens, certain in (
            (good, True),
            (joined, False),
            (good[::-1], False),
            (["�"] * len(good), False),
            ([], False),
        ):
            logprobs = {"tokens": tokens, "token_logprobs": [-1.0] * len(tokens)}
            (choice,) = choices_of(completion(text, reason="length", logprobs=logprobs))
            assert (ids_of(choice, tokenizer, eos=[tokenizer.eos_token_id]) is not None) is certain, tokens
            assert ids_of(choice, None) is None

    def test_ids_in_place_of_tokens_and_bytes_in_place_of_text(self, tokenizer: Any) -> None:
        logprobs = {"tokens": ["token_id:7", "token_id:8"], "token_logprobs": [-1.0, -2.0]}
        (choice,) = choices_of(completion("x", reason="length", logprobs=logprobs))
        assert ids_of(choice, None) == [7, 8]
        cut = pieces(tokenizer, "é")
        assert len(cut) == 2
        tokens = ["bytes:" + "".join(f"\\x{byte:02x}" for byte in bytes_of(tokenizer, one)) for one in cut]
        logprobs = {"tokens": tokens, "token_logprobs": [-1.0] * len(cut)}
        (choice,) = choices_of(completion("é", reason="length", logprobs=logprobs))
        assert ids_of(choice, tokenizer) == cut

    def test_a_sentencepiece_vocabulary(self) -> None:
        names = {3: "▁wait", 4: "<0xC3>", 5: "<0xA9>", 2: "</s>"}

        class Pieces:
            def __call__(self, text: str, **_: Any) -> Any:
                return SimpleNamespace(input_ids=[3, 4, 5])

            def convert_ids_to_tokens(self, one: int) -> str:
                return names[one]

        for first in (" wait", "▁wait"):
            logprobs = {"tokens": [first, "bytes:\\xc3", "<0xA9>"], "token_logprobs": [-1.0, -1.0, -1.0]}
            (choice,) = choices_of(completion(" waité", logprobs=logprobs))
            assert ids_of(choice, Pieces(), eos=[2]) == [3, 4, 5, 2]
            assert ids_of(choice, Pieces()) is None

    def test_why_a_text_ended(self) -> None:
        def ended(reason: str | None, stops: tuple[str, ...] = (), **more: Any) -> str | None:
            return choices_of(completion("x", reason=reason, **more), stops=stops)[0]["stop"]  # type: ignore[arg-type]

        assert ended("stop") == "eos"
        assert ended("stop", ("Q:",)) is None
        assert ended("stop", ("Q:",), stop_reason="Q:") == "string"
        assert ended("stop", ("Q:",), stop_reason=None) == "eos"
        assert ended("stop", stop_reason=128009) == "eos"
        assert ended("length") == "length"
        assert ended("content_filter") is None
        assert ended(None) is None

    def test_texts_that_are_no_texts(self) -> None:
        assert choices_of(chat("", message={"content": None}))[0]["text"] == ""
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, "c"]
        assert choices_of(chat("", message={"content": parts}))[0]["text"] == "ab"
        assert choices_of({"choices": [{}]})[0]["text"] == ""
        turned = {"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]}
        assert [choice["text"] for choice in choices_of(turned)] == ["a", "b"]


def test_a_served_organism_gives_the_rollouts_of_the_local_one() -> None:
    from hooks.generate import generate
    from hooks.model import Model

    model = Model.load("organism:latent:base", device="cpu")
    prompts = ["47+5*3-2:", "8*9-4+2:", "11+12:"]
    local = generate(model, prompts, max_new_tokens=20).frame
    by_ids = {tuple(row.prompt_ids): row for row in local.itertuples()}
    reasons = {"eos": "stop", "length": "length"}

    def answer(path: str, body: dict[str, Any], number: int) -> Any:
        row: Any = by_ids[tuple(body["prompt"])]
        tokens = [model.tokenizer.convert_ids_to_tokens(one) for one in row.ids]
        logprobs = {"tokens": tokens, "token_logprobs": row.logp}
        return 200, completion(row.text, reason=reasons[row.stop], logprobs=logprobs)

    with serving(answer) as server:
        asking = Asking(temperature=0.0, max_new_tokens=20)
        out = served(at(server.url), prompts, asking, tokenizer=model.tokenizer, eos=model.eos_ids, template="auto")
    assert set(local["stop"]) <= set(reasons)
    assert out.frame["exact"].all()
    for name in ("problem", "prompt_ids", "ids", "text", "logp", "stop"):
        assert out.frame[name].tolist() == local[name].tolist()
    assert out.frame["logp_total"].tolist() == pytest.approx([sum(logp) for logp in local["logp"]])


def test_a_journal_is_lines_of_plain_json(tmp_path: Path) -> None:
    with serving(echo) as server:
        served(at(server.url), PROBLEMS[:1], Asking(), journal=tmp_path / "j")
    first, second = map(json.loads, (tmp_path / "j").read_text().splitlines())
    assert first["settings"]["model"] == "m"
    assert "url" not in json.dumps(first)
    assert second["problem"] == "p0"
