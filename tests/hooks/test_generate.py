"""Decoding: equal to a loop without a cache, to Hugging Face's, and to itself in any batch, order and memory."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hooks.ending import Ends
from hooks.generate import generate
from hooks.growing import growing_cache
from hooks.model import Model
from hooks.rollouts import Rollouts
from hooks.sampling import choose, log_prob, tempered, uniforms
from tests.families import FAMILIES, tiny

PROMPTS = ["1+2=", "wait, what is 7*8?", "a", "then 3-2;", "answer:", "4"]


@pytest.fixture(scope="module")
def model(llama_dir: Path) -> Model:
    return Model.load(llama_dir, device="cpu")


@dataclass(frozen=True)
class Asked:
    id: str
    prompt: str


def reference(
    model: Model, prompt: str, *, problem: str, sample: int, new: int, temperature: float, seed: int = 0
) -> Any:
    """One token after another, the whole text read anew for each, in plain numpy."""
    ids = list(model.encode([prompt])[0])
    start, logp = len(ids), []
    u = uniforms(seed, problem, sample, new)
    for t in range(new):
        with torch.no_grad():
            logits = model.net(torch.tensor([ids]), use_cache=False).logits[0, -1].double().numpy()
        p = np.exp((logits - logits.max()) / (temperature or 1.0))
        mass = np.cumsum(p / p.sum())
        ids.append(int(np.argmax(logits) if temperature == 0 else np.argmax(mass > u[t] * mass[-1])))
        logp.append(logits[ids[-1]] - logits.max() - math.log(np.exp(logits - logits.max()).sum()))
        if ids[-1] in model.eos_ids:
            break
    return ids[start:], logp


def written(rollouts: Rollouts) -> dict[tuple[str, int], list[int]]:
    frame = rollouts.frame
    return {(p, s): ids for p, s, ids in zip(frame["problem"], frame["sample"], frame["ids"], strict=True)}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma", "qwen3", "olmo", "gemma2"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_cached_and_padded_equals_the_uncached_reference(family: str, temperature: float) -> None:
    model = Model.load(tiny(family), device="cpu")
    asked = [Asked(f"p{at}", prompt) for at, prompt in enumerate(PROMPTS[:4])]
    out = generate(model, asked, n=2, temperature=temperature, max_new_tokens=12, batch_size=5, seed=3)
    for row in out.frame.to_dict("records"):
        ids, logp = reference(
            model, row["prompt"], problem=row["problem"], sample=row["sample"], new=12, temperature=temperature, seed=3
        )
        assert row["ids"] == ids
        np.testing.assert_allclose(row["logp"], logp, atol=2e-4)


@pytest.mark.parametrize("attention", ["eager", None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", [*FAMILIES, "gemma2", "olmo2"])
def test_padded_equals_alone_in_every_family_and_precision(
    family: str, dtype: torch.dtype, attention: str | None
) -> None:
    model = Model.load(tiny(family), device="cpu", dtype=dtype)
    if attention is not None:
        model.net.config._attn_implementation = attention
    # The longest is longer than gemma2's window, so that some pads have nothing but pads to look at.
    prompts = ["1+2=", "wait, what is 7*8? answer then 3-2;", "9"]
    together = generate(model, prompts, max_new_tokens=6).frame["ids"].tolist()
    assert together == [generate(model, [one], max_new_tokens=6).frame["ids"].tolist()[0] for one in prompts]
    assert len({tuple(ids) for ids in together}) > 1, "texts, not zeros"


def test_neither_batch_size_nor_order_nor_company_changes_a_token(model: Model) -> None:
    whole = written(generate(model, PROMPTS, n=3, temperature=1.0, max_new_tokens=24))
    for size in (1, 2, 7):
        again = generate(model, PROMPTS[::-1], n=3, temperature=1.0, max_new_tokens=24, batch_size=size)
        assert written(again) == whole
    alone = written(generate(model, PROMPTS[1:2], n=1, temperature=1.0, max_new_tokens=24))
    assert all(whole[key] == ids for key, ids in alone.items())
    assert len({tuple(ids) for ids in whole.values() if len(ids) > 3}) == sum(len(ids) > 3 for ids in whole.values())


def test_more_tokens_only_lengthen_a_text(model: Model) -> None:
    short = written(generate(model, PROMPTS, temperature=1.0, max_new_tokens=5))
    long = written(generate(model, PROMPTS, temperature=1.0, max_new_tokens=30))
    assert all(long[key][:5] == ids for key, ids in short.items())


def test_greedy_equals_hugging_face(model: Model) -> None:
    ours = generate(model, PROMPTS, max_new_tokens=30)
    tokenizer: Any = model.tokenizer
    batch = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    theirs = model.net.generate(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, do_sample=False, max_new_tokens=30
    )[:, batch.input_ids.shape[1] :].tolist()
    for mine, other in zip(ours.frame["ids"], theirs, strict=True):
        assert mine == other[: len(mine)]
        assert len(mine) == 30 or mine[-1] in model.eos_ids


def test_the_table_says_what_happened(model: Model) -> None:
    out = generate(model, [Asked("seven", "7="), Asked("eight", "8=")], n=4, temperature=1.0, max_new_tokens=60, seed=1)
    frame = out.frame
    assert list(frame["problem"]) == ["seven"] * 4 + ["eight"] * 4
    assert list(frame["sample"]) == [0, 1, 2, 3] * 2
    assert set(frame["stop"]) == {"eos", "length"}
    for row in frame.to_dict("records"):
        assert (row["ids"][-1] in model.eos_ids) == (row["stop"] == "eos")
        assert not set(row["ids"][:-1]) & set(model.eos_ids)
        assert row["text"] == model.decode(row["ids"])
        assert row["prompt_ids"] == model.encode([row["prompt"]])[0]
        assert len(row["author"]) == len(row["logp"]) == len(row["ids"])
    assert frame["correct"].isna().all()
    assert set(frame["author"].map(lambda who: who[0])) == {model.name}
    assert generate(model, ["a"], author="rl").frame["author"][0][0] == "rl"


def test_a_prompt_is_read_once_and_finished_rows_leave(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, real = [], model.net.base_model.forward

    def counted(**inputs: Any) -> Any:
        shapes.append(tuple(inputs["input_ids"].shape))
        return real(**inputs)

    monkeypatch.setattr(model.net.base_model, "forward", counted)
    out = generate(model, ["7=", "8="], n=16, temperature=1.0, max_new_tokens=80, batch_size=32)
    assert shapes[0] == (2, 3)
    assert all(columns == 1 for _, columns in shapes[1:])
    lengths = np.array(out.frame["ids"].map(len))
    assert shapes[1][0] == 32
    assert shapes[len(shapes) // 2][0] < 32
    # What was read beyond the tokens that had to be read stays small.
    assert sum(rows for rows, _ in shapes[1:]) <= 1.15 * (lengths - 1).sum() + 32


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("MPS: out of memory")])
def test_a_batch_that_does_not_fit_is_halved_aloud(
    model: Model, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    expected = written(generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=20))
    real = model.net.base_model.forward

    def small(**inputs: Any) -> Any:
        if len(inputs["input_ids"]) > 3:
            raise error
        return real(**inputs)

    monkeypatch.setattr(model.net.base_model, "forward", small)
    with pytest.warns(RuntimeWarning, match="out of memory with 12 rows at a time; going on with 6"):
        assert written(generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=20)) == expected


def test_what_never_fits_and_other_errors_are_told(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(model.net.base_model, "forward", full)
    with (
        pytest.warns(RuntimeWarning, match="with 3 rows at a time; going on with 1"),
        pytest.raises(torch.OutOfMemoryError, match="does not fit"),
    ):
        generate(model, PROMPTS)

    def broken(**_: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(model.net.base_model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        generate(model, PROMPTS)


def test_a_stop_string_ends_a_text_where_it_first_stands(model: Model) -> None:
    free = generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=40)
    stopped = generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=40, stop=["wait", "5"])
    assert "string" in set(stopped.frame["stop"])
    for before, row in zip(free.frame.to_dict("records"), stopped.frame.to_dict("records"), strict=True):
        assert before["ids"][: len(row["ids"])] == row["ids"]
        assert (row["stop"] == "string") == any(text in row["text"] for text in ("wait", "5"))
        assert not any(text in model.decode(row["ids"][:-1]) for text in ("wait", "5"))


def test_looking_for_ends_seldom_changes_nothing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"n": 4, "temperature": 1.0, "max_new_tokens": 30}
    often = written(generate(model, PROMPTS, **options))

    def seldom(*asked: Any) -> Ends:
        ends = Ends(*asked)
        ends.stride = 8
        return ends

    monkeypatch.setattr(sys.modules["hooks.generate"], "Ends", seldom)
    assert written(generate(model, PROMPTS, **options)) == often
    assert min(len(ids) for ids in often.values()) < 8


def test_ids_survive_characters_split_over_tokens() -> None:
    model = byte_model()
    out = generate(model, ["é", "ü"], n=4, temperature=1.0, max_new_tokens=30)
    assert any("�" in text for text in out.frame["text"])
    cut_again = [model.tokenizer(text, add_special_tokens=False).input_ids for text in out.frame["text"]]
    assert cut_again != list(out.frame["ids"])
    for row, (ids, n_prompt) in zip(out.frame.to_dict("records"), out.sequences(), strict=True):
        assert n_prompt == 2
        assert ids == row["prompt_ids"] + row["ids"]
        with torch.no_grad():
            logits = model.net(torch.tensor([ids]), use_cache=False).logits[0, n_prompt - 1 : -1]
        np.testing.assert_allclose(log_prob(logits, torch.tensor(row["ids"])), row["logp"], atol=1e-4)


def byte_model() -> Model:
    """A model whose every token is one byte, so that it writes broken UTF-8."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    net = AutoModelForCausalLM.from_pretrained(tiny("llama", d_vocab=256))
    return Model(net, PreTrainedTokenizerFast(tokenizer_object=inner), name="bytes")


def test_half_precision_writes_what_it_writes_alone() -> None:
    model = Model.load(tiny("llama"), dtype="bfloat16", device="cpu")
    out = generate(model, PROMPTS[:2], temperature=1.0, max_new_tokens=5)
    assert out.frame["ids"].map(len).max() == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": "one text"}, "list of prompts"),
        ({"prompts": [1]}, "neither"),
        ({"prompts": ["a", "a"]}, "given twice"),
        ({"n": 0}, "at least 1"),
        ({"max_new_tokens": 0}, "at least 1"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"batch_size": 0}, "batch_size"),
        ({"stop": ["a", ""]}, "empty stop string"),
    ],
)
def test_nonsense_is_refused(model: Model, change: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        generate(model, **{"prompts": ["a"], **change})


def test_no_prompts_give_no_rollouts(model: Model) -> None:
    assert len(generate(model, [])) == 0


def test_progress_reaches_the_end(model: Model) -> None:
    seen: list[tuple[int, int]] = []
    generate(model, PROMPTS, batch_size=4, max_new_tokens=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 6), (6, 6)]


class TestChoose:
    def test_frequencies_are_the_softmax(self) -> None:
        logits = torch.tensor([0.5, -1.0, 2.0, 0.0, -30.0, 1.0])
        n = 40_000
        u = torch.from_numpy(np.random.default_rng(0).random(n))
        drawn = choose(logits.expand(n, -1), 0.7, 1.0, u)
        p = (logits.double() / 0.7).softmax(-1)
        counts = torch.bincount(drawn, minlength=6).double()
        kept = p > 1e-6
        chi2 = float(((counts - n * p)[kept] ** 2 / (n * p)[kept]).sum())
        assert chi2 < 18.5  # 0.999 quantile for 4 degrees of freedom
        assert counts[4] == 0

    def test_top_p_keeps_the_smallest_set_that_reaches_it(self) -> None:
        logits = torch.tensor([[0.5, 0.2, 0.15, 0.15]]).log()
        for top_p, kept in ((0.4, [0]), (0.5, [0]), (0.6, [0, 1]), (0.75, [0, 1, 2]), (1.0, [0, 1, 2, 3])):
            p = tempered(logits, 1.0, top_p)[0]
            assert p.nonzero()[:, 0].tolist() == kept
            assert float(p.sum()) == pytest.approx(1.0)
            torch.testing.assert_close(p[kept], logits.exp()[0, kept] / logits.exp()[0, kept].sum())

    def test_a_low_temperature_is_greedy_and_the_edges_of_u_are_tokens(self) -> None:
        logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
        for u in (0.0, 0.3, 1 - 2**-53):
            at = torch.full((50,), u, dtype=torch.float64)
            assert torch.equal(choose(logits, 1e-6, 1.0, at), logits.argmax(-1))
            assert choose(logits, 1.0, 0.9, at).max() < 300
        certain = torch.full((1, 4), -torch.inf)
        certain[0, 2] = 0.0
        for u in (0.0, 1 - 2**-53):
            assert choose(certain, 1.0, 1.0, torch.tensor([u], dtype=torch.float64)).tolist() == [2]

    def test_large_batches_in_pieces_are_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logits, u = torch.randn(40, 30), torch.rand(40, dtype=torch.float64)
        whole = choose(logits, 1.0, 0.8, u)
        monkeypatch.setattr("hooks.sampling.BLOCK", 90)
        assert torch.equal(choose(logits, 1.0, 0.8, u), whole)

    def test_sampling_without_numbers_is_refused(self) -> None:
        with pytest.raises(ValueError, match="uniform numbers"):
            choose(torch.zeros(1, 2), 1.0, 1.0, None)

    def test_streams_are_named(self) -> None:
        assert not np.array_equal(uniforms(0, "a", 0, 5), uniforms(0, "a", 1, 5))
        assert not np.array_equal(uniforms(0, "a", 0, 5), uniforms(1, "a", 0, 5))
        np.testing.assert_array_equal(uniforms(0, "a", 0, 5), uniforms(0, "a", 0, 9)[:5])


def test_the_growing_cache_is_the_ordinary_one(model: Model) -> None:
    from transformers import DynamicCache

    ids = torch.randint(4, 60, (3, 40), generator=torch.Generator().manual_seed(0))
    ours, theirs = growing_cache(), DynamicCache()
    rows = torch.arange(3)
    with torch.no_grad():
        for start, stop, keep in ((0, 7, [0, 1, 2, 2, 0]), (7, 8, [4, 1, 2]), (8, 30, [0, 2]), (30, 40, [0])):
            read = ids[rows][:, start:stop]
            mine, other = (model.backbone(input_ids=read, past_key_values=c, use_cache=True) for c in (ours, theirs))
            assert torch.equal(mine, other)
            assert ours.get_seq_length() == stop
            index = torch.tensor(keep)
            rows = rows[index]
            ours.batch_select_indices(index)
            theirs.batch_select_indices(index)
        ours.crop(-12)
        theirs.crop(-12)
        step = ids[rows][:, 28:33]
        mine, other = (model.backbone(input_ids=step, past_key_values=c, use_cache=True) for c in (ours, theirs))
    assert torch.equal(mine, other)
