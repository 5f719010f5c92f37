"""Strategy labels: offsets from ids, rules for both languages, the user's own labels, and the decisions they mark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hooks.organisms.chains import LATENT, decision_probabilities, sample_chain, write
from hooks.organisms.tokenizer import build_tokenizer
from hooks.rollouts import Rollouts
from probes.latent.english import label_english, sentences, strategy
from probes.latent.offsets import Decoder
from probes.latent.spans import OTHER, STRATEGIES, Spans, decisions
from probes.latent.strategies import annotate, by_sentence, label_organism


def byte_tokenizer() -> Any:
    """One token a byte: every character beyond ASCII is split."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({piece: index for index, piece in enumerate(["<eos>", *alphabet])}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


def word_tokenizer(*words: str) -> Any:
    """One token a word, written with the blank before it, which the decoder drops at the start of a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<eos>", "<unk>", *dict.fromkeys(f"▁{word}" for word in words)]
    inner = Tokenizer(models.WordLevel({piece: index for index, piece in enumerate(pieces)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", unk_token="<unk>")


def rollouts(tokenizer: Any, *texts: str, prompt: str = "", problem: str = "p", model: str = "base") -> Rollouts:
    rows = []
    for sample, text in enumerate(texts):
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        row = {"problem": problem, "sample": sample, "model": model, "prompt": prompt, "prompt_ids": [1, 2, 3]}
        rows.append(
            {**row, "ids": ids, "text": text, "logp": [0.0] * len(ids), "author": ["base"] * len(ids), "stop": "eos"}
        )
    return Rollouts.of(rows)


def test_each_byte_of_a_split_character_has_written_it() -> None:
    tokenizer, text = byte_tokenizer(), "café 日👍 x"
    ids = tokenizer(text)["input_ids"]
    written = Decoder(tokenizer)([*ids, 0])
    assert written.text == text
    expected = [place for place, character in enumerate(text) for _ in character.encode()]
    assert written.starts.tolist() == [*expected, len(text)]
    assert written.stops.tolist() == [*(place + 1 for place in expected), len(text)]


def test_offsets_agree_with_decoding_every_head_anew() -> None:
    tokenizer = byte_tokenizer()
    rng = np.random.default_rng(0)
    for _ in range(20):
        ids = rng.integers(1, 257, size=30).tolist()
        written = Decoder(tokenizer)(ids)
        assert written.text == tokenizer.decode(ids, skip_special_tokens=True)
        heads = [len(tokenizer.decode(ids[: index + 1], skip_special_tokens=True)) for index in range(30)]
        whole = [not tokenizer.decode(ids[: index + 1]).endswith("\ufffd") for index in range(30)]
        assert [stop for stop, sure in zip(written.stops, whole) if sure] == [
            n for n, sure in zip(heads, whole) if sure
        ]
        assert (np.diff(written.starts) >= 0).all()


def test_a_decoder_that_drops_the_first_blank_keeps_its_offsets() -> None:
    words = ["So", "we", "wait", "here", "a", "while", ".", "Then", "we", "check", "the", "answer"]
    tokenizer = word_tokenizer(*words)
    ids = tokenizer(" ".join(words))["input_ids"]
    written = Decoder(tokenizer)(ids)
    assert [written.text[a:b].strip() for a, b in zip(written.starts, written.stops)] == words
    assert written.token_span(written.text.index("Then"), len(written.text)) == (7, 12)


def test_a_blank_before_a_word_belongs_to_the_sentence_the_word_opens() -> None:
    tokenizer = word_tokenizer("We", "add", "two.", "Wait,", "no", "more.")
    spans = annotate(rollouts(tokenizer, "We add two. Wait, no more."), "english", tokenizer=tokenizer).frame
    assert spans[["start", "stop"]].to_numpy().tolist() == [[0, 3], [3, 6]]
    assert spans["strategy"].tolist() == ["computation", "backtracking"]
    assert spans["text"].str.strip().tolist() == ["We add two.", "Wait, no more."]


def test_spans_of_split_characters_cover_every_token_once() -> None:
    tokenizer = byte_tokenizer()
    text = "Wait, café 日本 is wrong. 👍 So we have 3 + 4 = 7 in all.\nLet me check that again!"
    spans = annotate(rollouts(tokenizer, text), "english", tokenizer=tokenizer).frame
    assert spans["start"].tolist() == [0, *spans["stop"].tolist()[:-1]]
    assert spans["stop"].iloc[-1] == len(text.encode())
    assert "".join(spans["text"]) == text


def test_every_decision_of_an_organism_is_possible_under_its_process() -> None:
    tokenizer, rng = build_tokenizer(), Random(0)
    policy = replace(LATENT, steps=(0.7,) * 4, slip=0.3)
    seen = set()
    for index in range(80):
        chain = sample_chain(rng)
        rows = rollouts(tokenizer, write(chain, policy, rng), prompt=chain.prompt, problem=str(index))
        spans = annotate(rows, tokenizer=tokenizer)
        ids = rows.frame["ids"][0]
        assert spans.frame["stop"].iloc[-1] == len(ids) - 1
        for start, name in zip(spans.frame["start"], spans.frame["strategy"]):
            before = tokenizer.decode(ids[:start])
            likely = decision_probabilities(chain.prompt, before, policy)
            assert likely is not None
            assert likely[name] > 0
            seen.add(name)
    assert seen == {"planning", "restating", "computation", "verification", "backtracking", "concluding"}


def test_what_is_not_in_the_organisms_language_is_other() -> None:
    labels = [name for _, _, name in label_organism("steps +4;answer 7.=")]
    assert labels == ["planning", OTHER, "concluding", OTHER]
    assert label_organism("") == []


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("The problem says that Ann has three pens.", "restating"),
        ("We are given a triangle with sides 3 and 4.", "restating"),
        ("First, I need to find out how many boxes there are.", "planning"),
        ("Okay, so let's start with the first part.", "planning"),
        ("To find the area, we can use the formula for a circle.", "planning"),
        ("Since both sides are equal, the angles must be equal too.", "deduction"),
        ("So the train arrives before noon.", "deduction"),
        ("So 4 times 125 is 500.", "computation"),
        ("Well, 12 * 3 = 36 pens.", "computation"),
        ("Let me double-check that calculation.", "verification"),
        ("Wait, let me verify this step.", "verification"),
        ("Plugging x = 2 back into the equation gives 9.", "verification"),
        ("Wait, that is not what they asked.", "backtracking"),
        ("Hmm, I made a mistake in the second step.", "backtracking"),
        ("Alternatively, we could try another approach.", "backtracking"),
        ("I'm not sure whether the border counts.", "uncertainty"),
        ("Maybe the order matters here.", "uncertainty"),
        ("Therefore, the final answer is 12.", "concluding"),
        ("In conclusion, Ann has twelve pens.", "concluding"),
        ("The area is \\boxed{12}.", "concluding"),
        ("Ann went to the market.", OTHER),
    ],
)
def test_english_cues(sentence: str, name: str) -> None:
    assert name in (*STRATEGIES, OTHER)
    assert strategy(sentence) == name


def test_the_end_of_a_text_and_the_problem_said_over_again() -> None:
    text = "Ann buys three red pens every day. She pays 4 + 5 = 9. So she pays nine dollars."
    labels = [name for _, _, name in label_english(text, "Each week Ann buys three red pens every day. How much?")]
    assert labels == ["restating", "computation", "concluding"]
    assert [name for _, _, name in label_english(text)] == [OTHER, "computation", "concluding"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("It weighs 3.5 kg. That is a lot.", ["It weighs 3.5 kg.", "That is a lot."]),
        ("We asked Dr. Fox about it. He said no way.", ["We asked Dr. Fox about it.", "He said no way."]),
        ("Wait. Let me think about it.", ["Wait. Let me think about it."]),
        ("This is 5! times four. It is big enough.", ["This is 5! times four.", "It is big enough."]),
        ("1. Add the two numbers\n2. Divide by their count", ["1. Add the two numbers", "2. Divide by their count"]),
        ("We use e.g. the rule here; then we stop it.", ["We use e.g. the rule here;", "then we stop it."]),
        ("Let us see it.\nYes.\nNow we go on.", ["Let us see it.\nYes.", "Now we go on."]),
        ("short", ["short"]),
        ("", []),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    found = sentences(text)
    assert [text[start:stop].strip() for start, stop in found] == pieces
    assert "".join(text[start:stop] for start, stop in found) == text


def test_auto_knows_the_organisms_language() -> None:
    organism = build_tokenizer()
    assert annotate(rollouts(organism, "answer 5.")).frame["strategy"].tolist() == ["concluding"]
    words = word_tokenizer("Wait,", "that", "is", "wrong.")
    english = rollouts(words, "Wait, that is wrong.")
    assert annotate(english, tokenizer=words).frame["strategy"].tolist() == ["backtracking"]
    with pytest.raises(ValueError, match="tokenizer"):
        annotate(english)
    bare = Rollouts(english.frame.assign(ids=[[]], logp=[[]], author=[[]], prompt_ids=[[]]))
    with pytest.raises(ValueError, match="no token ids"):
        annotate(bare, tokenizer=words)


def test_a_labeller_of_ones_own() -> None:
    tokenizer = byte_tokenizer()
    rows = rollouts(tokenizer, "one two three. four five six.", "seven eight nine.")
    own = annotate(rows, by_sentence(lambda text: "mine" if "four" in text else None), tokenizer=tokenizer).frame
    assert own[["sample", "strategy", "start", "stop"]].to_numpy().tolist() == [[0, "mine", 15, 29]]
    with pytest.raises(ValueError, match=r"sample 0 of problem 'p'.*overlaps"):
        annotate(rows, lambda text: [(0, 5, "a"), (3, 6, "b")], tokenizer=tokenizer)


def labels_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif path.suffix == ".csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_labels_from_a_file(tmp_path: Path, suffix: str) -> None:
    tokenizer = byte_tokenizer()
    rows = rollouts(tokenizer, "é one two", problem="7")
    tokens = [{"problem": "7", "sample": 0, "strategy": "b", "start": 3, "stop": 6}]
    tokens += [{"problem": "7", "sample": 0, "strategy": "a", "start": 0, "stop": 3}]
    found = annotate(rows, labels_file(tmp_path / f"tokens{suffix}", tokens), tokenizer=tokenizer).frame
    assert found[["strategy", "start", "stop", "text"]].to_numpy().tolist() == [["a", 0, 3, "é "], ["b", 3, 6, "one"]]
    assert annotate(rows, tmp_path / f"tokens{suffix}").frame["text"].tolist() == ["", ""]
    letters = [{"problem": "7", "sample": 0, "strategy": "a", "char_start": 0, "char_stop": 2}]
    found = annotate(rows, labels_file(tmp_path / f"letters{suffix}", letters), tokenizer=tokenizer).frame
    assert found[["start", "stop"]].to_numpy().tolist() == [[0, 3]]


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    rows = rollouts(tokenizer, "one two")
    good = {"problem": "p", "sample": 0, "strategy": "a", "start": 0, "stop": 3}
    with pytest.raises(FileNotFoundError, match="auto, english, organism or a file"):
        annotate(rows, "engish")
    with pytest.raises(ValueError, match="lacks the columns char_start, char_stop"):
        annotate(rows, pd.DataFrame([{"problem": "p", "sample": 0, "strategy": "a"}]))
    with pytest.raises(ValueError, match="not among the rollouts"):
        annotate(rows, pd.DataFrame([{**good, "problem": "q"}]))
    with pytest.raises(ValueError, match="overlaps"):
        annotate(rows, pd.DataFrame([good, {**good, "start": 2, "stop": 5}]))
    with pytest.raises(ValueError, match="lies outside"):
        annotate(rows, pd.DataFrame([{**good, "stop": 99}]))
    two = Rollouts.concat([rows, rollouts(tokenizer, "one two", model="rl")])
    with pytest.raises(ValueError, match="needs a column 'model'"):
        annotate(two, pd.DataFrame([good]))
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(good) + "\n{")
    with pytest.raises(ValueError, match="line 2"):
        annotate(rows, bad)
    with pytest.raises(ValueError, match="labels are read from"):
        annotate(rows, labels_file(tmp_path / "labels.csv", [good]).rename(tmp_path / "labels.txt"))


def spans_table(*rows: tuple[str, int, str, str, int, int]) -> Spans:
    names = ["problem", "sample", "model", "strategy", "start", "stop"]
    return Spans(pd.DataFrame(rows, columns=names).assign(text=""))


def test_spans_are_checked() -> None:
    with pytest.raises(ValueError, match="lack the columns"):
        Spans(pd.DataFrame({"problem": ["p"]}))
    with pytest.raises(ValueError, match="holds no token"):
        spans_table(("p", 0, "m", "a", 2, 2))
    with pytest.raises(ValueError, match="overlapping spans at \\[1, 4\\)"):
        spans_table(("p", 0, "m", "a", 0, 2), ("p", 0, "m", "b", 1, 4))
    assert len(spans_table(("p", 0, "m", "a", 0, 2), ("p", 1, "m", "b", 1, 4)).frame) == 2
    assert spans_table().frame.empty


def test_frequencies_count_texts_without_spans_and_have_intervals() -> None:
    tokenizer = byte_tokenizer()
    texts = Rollouts.concat([rollouts(tokenizer, "a", "b", problem=f"p{index}") for index in range(20)])
    rows = [(f"p{index}", 0, "base", "planning", 0, 1) for index in range(10)]
    table = spans_table(*rows, ("p0", 1, "base", "deduction", 0, 1)).frequencies(texts)
    planning = table.set_index("strategy").loc["planning"]
    assert (planning["spans"], planning["per_text"], planning["text_share"]) == (10, 0.25, 0.25)
    assert planning["span_share"] == pytest.approx(10 / 11)
    assert planning["low"] < 0.25 < planning["high"]
    assert spans_table(*rows).plot().data[0]["y"][0] == 1.0
    assert spans_table().frequencies().empty


def test_decisions_stand_before_their_span() -> None:
    tokenizer = build_tokenizer()
    rows = rollouts(tokenizer, "steps 47+5=52;answer 52.", prompt="47+5:")
    found = decisions(annotate(rows), rows)
    assert found["strategy"].tolist() == ["planning", "computation", "concluding"]
    assert found["index"].tolist() == [0, 1, 9]
    assert found["position"].tolist() == [2, 3, 11]
    assert found["place"].tolist() == ["start", "inner", "inner"]
    with pytest.raises(ValueError, match="not among the rollouts"):
        decisions(spans_table(("z", 0, "m", "a", 0, 1)), rows)
    with pytest.raises(ValueError, match="only 14 tokens"):
        decisions(spans_table(("p", 0, "base", "a", 0, 50)), rows)
    assert decisions(spans_table(), rows).empty
