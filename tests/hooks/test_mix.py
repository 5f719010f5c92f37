"""Mixed decoding: the same tokens as running both models in full at every step, whatever is drafted or batched."""

import functools
import math
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hooks import gate as gates
from hooks.direction import Direction
from hooks.divergence import js, log_probs
from hooks.gate import Gate, Sight
from hooks.generate import generate
from hooks.mix import mix
from hooks.model import Model
from hooks.pair import Pair
from hooks.reader import check_cuttable
from hooks.recording import recording
from hooks.sampling import choose, uniforms
from hooks.sites import Site, expand_sites
from hooks.steer import steering
from hooks.streams import stream
from tests.families import FAMILIES, tiny

PROMPTS = ["1+2=", "9", "wait 77 answer 3+3="]
LENGTH = 10


@functools.cache
def pair_of(family: str = "llama", **other: Any) -> Pair:
    """A random pair in double precision, so that no rounding tie decides."""
    small = {} if family == "gpt2" else {"num_hidden_layers": 2}
    rl = tiny(family, seed=7, **{**small, **other}) if other else tiny(family, perturb=0.06, **small)
    return Pair.load(tiny(family, **small), rl, dtype=torch.float64, device="cpu")


GATES = {
    "js": gates.js(0.025),
    "kl": gates.kl(0.1),
    "disagreement": gates.disagreement(),
    "entropy": gates.entropy(3.2),
    "random": gates.random(0.3),
    "first": gates.first(4),
    "always": gates.always(),
    "never": gates.never(),
}


def mix_reference(
    pair: Any, prompts: Any, *, gate: Gate, primary: str = "base", n: int = 1, temperature: float = 0.0,
    top_p: float = 1.0, max_new_tokens: int = LENGTH, seed: int = 0, write: str = "other", steering: Any = None,
    reach: str = "text", top_k: int = 3, write_temperature: float | None = None, other_steering: Any = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Both models in full at every step, one text at a time, no cache: slow, short and obviously right."""
    first, second = (pair.base, pair.rl) if primary == "base" else (pair.rl, pair.base)
    own, out = temperature if write_temperature is None else write_temperature, []
    for prompt in prompts:
        for sample in range(n):
            name = prompt.id
            ids, row = first.encode([prompt.prompt])[0], {"ids": [], "gate_open": [], "changed": [], "logp": []}
            start, u = len(ids), uniforms(seed, name, sample, max_new_tokens)
            for t in range(max_new_tokens):
                p, hidden = full(first, ids, start, gate=gate)
                o = full(second, ids, start, steering=other_steering)[0]
                sight = Sight(
                    p, o if gate.needs == "both" else None, torch.tensor([t]),
                    torch.tensor([stream(seed, "gate", name, sample).random(max_new_tokens)[t]]), hidden,
                    torch.tensor([ids[-1]]), torch.tensor([0]), ((name, sample),), lambda _, said=ids[start:]: said,
                )  # fmt: skip
                opened = float(gate.score(sight)) > gate.threshold
                ut = torch.tensor([u[t]])
                token = mine = int(choose(p, temperature, top_p, ut))
                logits = p
                if opened and write == "other":
                    logits, token = o, int(choose(o, own, top_p, ut))
                elif opened and write == "rank_among_top_k":
                    allowed = p.topk(top_k).indices[0].sort().values
                    logits, token = o, int(allowed[choose(o[:, allowed], own, top_p, ut)])
                elif opened and write == "resample":
                    again = stream(seed, "again", name, sample).random(max_new_tokens)[t]
                    token = int(choose(p, own, top_p, torch.tensor([again])))
                elif opened:
                    logits = full(first, ids, start, steering=steering, last_only=reach == "place")[0]
                    token = int(choose(logits, own, top_p, ut))
                ids = [*ids, token]
                row["ids"].append(token)
                row["gate_open"].append(opened)
                row["changed"].append(token != mine)
                row["logp"].append(float(log_probs(logits)[0, token]))
                if token in first.eos_ids:
                    break
            out.append(row)
    return out


@torch.no_grad()
def full(
    model: Model, ids: list[int], start: int, *, gate: Gate | None = None, steering: Any = None, last_only: bool = False
) -> tuple[torch.Tensor, Any]:
    """Logits after the whole text, from a forward without cache, and the activation a gate wants to see."""
    if steering is not None:
        chosen = torch.from_numpy(steering.positions.select(ids, start, tokenizer=model.tokenizer))[None, :, None]
        if last_only:
            chosen[:, :-1] = False
        part = steering.parts[0]
        added = torch.where(chosen, part.alpha * part.direction.vector.double(), 0.0)
        with model.watch([part.direction.site], lambda _, hidden: hidden + added):
            return model.net(torch.tensor([ids])).logits[:, -1], None
    seen: list[torch.Tensor] = []
    sites = expand_sites(gate.site, model.n_layers) if gate is not None and gate.site else ()
    with model.watch(sites or ["resid_post.0"], lambda _, hidden: seen.append(hidden[:, -1])):
        logits = model.net(torch.tensor([ids])).logits[:, -1]
    return logits, seen[0] if sites else None


def flat(lists: Any) -> list[Any]:
    return [value for one in lists for value in one]


def problems(texts: list[str] = PROMPTS) -> list[SimpleNamespace]:
    return [SimpleNamespace(id=f"p{at}", prompt=text) for at, text in enumerate(texts)]


def same(mixed: Any, reference: list[dict[str, Any]]) -> None:
    frame = mixed.frame
    for name in ("ids", "gate_open", "changed"):
        assert frame[name].tolist() == [row[name] for row in reference], name
    for mine, theirs in zip(frame["logp"], [row["logp"] for row in reference], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@functools.cache
def expected(gate: str, temperature: float, primary: str) -> list[dict[str, Any]]:
    return mix_reference(
        pair_of(), problems(), gate=GATES[gate], primary=primary, temperature=temperature, top_p=0.95,
        n=2 if temperature else 1,
    )  # fmt: skip


def check_against_reference(gate: str, temperature: float, primary: str, draft: int, batch_size: int) -> None:
    mixed = mix(
        pair_of(), problems(), gate=GATES[gate], primary=primary, temperature=temperature, top_p=0.95, draft=draft,
        n=2 if temperature else 1, max_new_tokens=LENGTH, batch_size=batch_size,
    )  # fmt: skip
    same(mixed, expected(gate, temperature, primary))


def combinations(quick: Any) -> list[Any]:
    """All of gate x temperature x primary x draft; those that ``quick`` does not name wait for the slow run."""
    return [
        pytest.param(
            gate, temperature, primary, draft, marks=() if quick(primary, draft, temperature) else pytest.mark.slow,
            id=f"{gate}-{'sampled' if temperature else 'greedy'}-{primary}-{draft}",
        )
        for gate in GATES for temperature in (0.0, 1.0) for primary in ("base", "rl") for draft in (1, 2, 5, 16)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "temperature", "primary", "draft"),
    combinations(lambda primary, draft, hot: draft == 5 or (primary == "base" and draft != 2 and hot)),
)
def test_a_padded_batch_equals_the_uncached_reference(gate: str, temperature: float, primary: str, draft: int) -> None:
    check_against_reference(gate, temperature, primary, draft, batch_size=64)


@pytest.mark.parametrize(
    ("gate", "temperature", "primary", "draft"),
    combinations(lambda primary, draft, hot: primary == "base" and draft == 5),
)
def test_one_text_alone_equals_the_uncached_reference(gate: str, temperature: float, primary: str, draft: int) -> None:
    check_against_reference(gate, temperature, primary, draft, batch_size=1)


@pytest.mark.parametrize("gate", [name for name in GATES if name not in ("always", "never")])
def test_the_gates_of_the_equality_test_open_and_close_and_change_tokens(gate: str) -> None:
    opened = flat(row["gate_open"] for row in expected(gate, 1.0, "base"))
    changed = flat(row["changed"] for row in expected(gate, 1.0, "base"))
    assert 0.1 < np.mean(opened) < 0.9
    assert 0 < np.mean(changed) <= np.mean(opened)
    assert len({len(row["ids"]) for row in expected(gate, 1.0, "base")}) > 1, "some rows end before others"


def test_never_open_is_the_primary_and_always_open_the_other() -> None:
    pair, options = pair_of(), {"temperature": 1.0, "n": 3, "max_new_tokens": LENGTH, "seed": 5}
    for primary, model, other in (("base", pair.base, pair.rl), ("rl", pair.rl, pair.base)):
        alone, instead = generate(model, PROMPTS, **options).frame, generate(other, PROMPTS, **options).frame
        never = mix(pair, PROMPTS, gate=gates.never(), primary=primary, **options).frame
        always = mix(pair, PROMPTS, gate=gates.always(), primary=primary, **options).frame
        for mixed, single, who in ((never, alone, primary), (always, instead, {"base": "rl", "rl": "base"}[primary])):
            for column in ("problem", "sample", "prompt", "prompt_ids", "ids", "text", "stop"):
                assert mixed[column].tolist() == single[column].tolist()
            assert {name for row in mixed["author"] for name in row} == {who}
            np.testing.assert_allclose(flat(mixed["logp"]), flat(single["logp"]), atol=1e-5)
        assert alone["ids"].tolist() != instead["ids"].tolist()


def vector(site: str = "resid_post.1", size: float = 6.0) -> Direction:
    values = torch.from_numpy(stream(0, "direction").standard_normal(32)).float()
    return Direction(vector=size * values / values.norm(), site=Site.parse(site), typical_norm=1.0)


STEERED = steering(vector(), 1.0, positions="generated")
WAYS: dict[str, dict[str, Any]] = {
    "rank": {"write": "rank_among_top_k", "top_k": 4},
    "resample": {"write": "resample", "write_temperature": 1.5},
    "steered text": {"write": "steered", "steering": STEERED},
    "steered first": {"write": "steered", "steering": steering(vector(), 1.0, positions="first:6")},
    "steered place": {"write": "steered", "steering": STEERED, "reach": "place"},
    "hotter other": {"write": "other", "write_temperature": 2.0},
    "steered other": {"other_steering": STEERED},
}


@pytest.mark.parametrize("draft", [pytest.param(1, marks=pytest.mark.slow), 5])
@pytest.mark.parametrize("gate", ["js", "entropy", pytest.param("random", marks=pytest.mark.slow)])
@pytest.mark.parametrize("temperature", [pytest.param(0.0, marks=pytest.mark.slow), 1.0], ids=["greedy", "sampled"])
@pytest.mark.parametrize("way", list(WAYS))
def test_ways_of_writing_equal_the_reference(way: str, temperature: float, gate: str, draft: int) -> None:
    options = {"gate": GATES[gate], "temperature": temperature, "max_new_tokens": LENGTH, **WAYS[way]}
    mixed = mix(pair_of(), problems(), draft=draft, **options)
    same(mixed, mix_reference(pair_of(), problems(), **options))
    assert any(any(row) for row in mixed.frame["changed"])


def test_steered_always_open_is_steered_generation() -> None:
    rule = steering(vector(), 1.0, positions="generated")
    single = generate(pair_of().base, PROMPTS, steering=rule, max_new_tokens=LENGTH).frame
    mixed = mix(pair_of(), PROMPTS, gate=gates.always(), write="steered", steering=rule, max_new_tokens=LENGTH).frame
    assert mixed["ids"].tolist() == single["ids"].tolist()
    assert {name for row in mixed["author"] for name in row} == {"steered"}
    assert single["ids"].tolist() != generate(pair_of().base, PROMPTS, max_new_tokens=LENGTH).frame["ids"].tolist()


@pytest.mark.parametrize("family", [*FAMILIES[1:], "gemma2", "olmo2"])
def test_families(family: str) -> None:
    pair = pair_of(family)
    threshold = float(np.median(flat(mix(pair, problems(), gate=gates.js(9.0), max_new_tokens=8).frame["js"])))
    options = {"gate": gates.js(threshold), "temperature": 1.0, "max_new_tokens": 24}
    mixed = mix(pair, problems(), draft=5, **options)
    same(mixed, mix_reference(pair, problems(), **options))
    assert 0 < np.mean(flat(mixed.frame["gate_open"])) < 1


@pytest.mark.parametrize("draft", [1, 16])
def test_writes_up_to_the_last_position_that_the_model_has(draft: int) -> None:
    longest = len(pair_of("gpt2").base.encode(PROMPTS)[2])
    pair = pair_of("gpt2", n_positions=longest + LENGTH - 1)
    pair = Pair.of(pair.rl, pair_of("gpt2").base, share=False)
    options = {"gate": gates.random(0.2), "max_new_tokens": LENGTH}
    same(mix(pair, problems(), draft=draft, **options), mix_reference(pair, problems(), **options))


def test_a_sweep_of_doses_in_one_batch_equals_one_by_one() -> None:
    pair, options = pair_of(), {"gate": gates.entropy(3.2), "write": "steered", "max_new_tokens": LENGTH}
    prompts, doses = [problems()[0]] * 3 + [problems()[2]], (0.0, 0.5, 1.0, 1.0)
    swept = mix(pair, prompts, steering=steering(vector(), doses), **options).frame
    single = [mix(pair, [one], steering=steering(vector(), dose), **options).frame for one, dose in zip(prompts, doses)]
    assert swept["ids"].tolist() == [frame["ids"][0] for frame in single]
    assert swept["ids"][0] != swept["ids"][2]


def test_different_widths_depths_and_a_padded_vocabulary() -> None:
    pair = pair_of("llama", hidden_size=48, num_hidden_layers=2, d_vocab=72, n_tokens=64)
    assert not pair.same_shape
    for primary in ("base", "rl"):
        options = {"gate": gates.random(0.4), "primary": primary, "max_new_tokens": LENGTH}
        mixed = mix(pair, problems(), draft=5, **options)
        cut = SimpleNamespace(base=Cut(pair.base, pair), rl=Cut(pair.rl, pair))
        same(mixed, mix_reference(cut, problems(), **options))


class Cut:
    """A model whose logits are cut to the common ids, for the reference."""

    def __init__(self, model: Model, pair: Pair) -> None:
        self._model = model
        self.net = lambda ids: SimpleNamespace(logits=pair.cut(model.net(ids).logits))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def test_gates_on_activations_and_on_the_text_so_far() -> None:
    weight = torch.from_numpy(stream(1, "probe").standard_normal(32)).float()
    digits = Gate(
        "digits", "none",
        lambda sight: torch.tensor([float(sum(sight.context(at)) % 3) for at in range(len(sight.index))]), 0.5,
    )  # fmt: skip
    shown = Gate("shown", "both", lambda sight: sight.hidden.mean(-1) + 0.0 * sight.js, 0.0, hidden=True)
    chosen = gates.places({("p0", 0): [0, 3, 4], ("p2", 0): range(0, 12, 2)})
    for gate in (
        gates.probe(weight, 0.1, site="resid_mid.1"),
        digits,
        shown,
        chosen,
        gates.every(3),
        gates.margin(0.05),
    ):
        options = {"gate": gate, "temperature": 1.0, "max_new_tokens": LENGTH}
        mixed = mix(pair_of(), problems(), draft=5, **options)
        same(mixed, mix_reference(pair_of(), problems(), **options))
        assert 0 < np.mean(flat(mixed.frame["gate_open"])) < 1, gate.name
    last = Gate("last", "none", lambda sight: (sight.last_ids % 2).float(), 0.5)
    mixed = mix(pair_of(), problems(), gate=last, max_new_tokens=LENGTH, draft=5)
    same(mixed, mix_reference(pair_of(), problems(), gate=last))


def test_records() -> None:
    pair = pair_of()
    frame = mix(pair, problems(), gate=gates.js(0.025), temperature=1.0, n=2, max_new_tokens=LENGTH).frame
    for row in frame.itertuples():
        assert [who == "rl" for who in row.author] == row.gate_open
        for t, token in enumerate(row.ids):
            p, o = (full(model, row.prompt_ids + row.ids[:t], 0)[0] for model in (pair.base, pair.rl))
            assert math.isclose(row.js[t], float(js(log_probs(p), log_probs(o))), abs_tol=1e-9)
            assert row.gate_score[t] == row.js[t]
            assert row.gate_open[t] == (row.js[t] > 0.025)
            assert row.changed[t] == (row.gate_open[t] and token != row.primary_choice[t])
            assert token == (row.other_choice[t] if row.gate_open[t] else row.primary_choice[t])
            assert math.isclose(row.entropy_primary[t], -float((log_probs(p).exp() * log_probs(p)).sum()), abs_tol=1e-9)
            assert math.isclose(row.entropy_other[t], -float((log_probs(o).exp() * log_probs(o)).sum()), abs_tol=1e-9)


def test_what_was_not_looked_at_is_missing_and_not_zero() -> None:
    frame = mix(pair_of(), problems(), gate=gates.never(), max_new_tokens=6).frame
    assert all(math.isnan(value) for row in frame["js"] for value in row)
    assert all(value is None for row in frame["other_choice"] for value in row)
    assert all(math.isfinite(value) for row in frame["entropy_primary"] for value in row)


def test_saves_and_loads(tmp_path: Any) -> None:
    from hooks.rollouts import Rollouts

    mixed = mix(pair_of(), problems(), gate=gates.entropy(3.2), temperature=1.0, max_new_tokens=6)
    again = Rollouts.load(mixed.save(tmp_path / "mixed.parquet"))
    assert again.frame["changed"].tolist() == mixed.frame["changed"].tolist()
    assert again.frame["other_choice"].tolist() == mixed.frame["other_choice"].tolist()
    assert again.frame["author"].tolist() == mixed.frame["author"].tolist()


def count_forwards(model: Model, counts: dict[str, int], name: str) -> Any:
    def note(_: Any, __: Any, kwargs: Any) -> None:
        counts[name] = counts.get(name, 0) + 1
        counts[name + " tokens"] = counts.get(name + " tokens", 0) + kwargs["input_ids"].numel()

    return model.net.base_model.register_forward_pre_hook(note, with_kwargs=True)


def counted(**options: Any) -> dict[str, int]:
    pair, counts = pair_of(), dict.fromkeys(("base", "rl", "base tokens", "rl tokens"), 0)
    handles = [count_forwards(pair.base, counts, "base"), count_forwards(pair.rl, counts, "rl")]
    try:
        mix(pair, problems(), **options)
    finally:
        for handle in handles:
            handle.remove()
    return counts


def test_the_other_is_idle_until_it_is_called_and_catches_up_at_once() -> None:
    assert counted(gate=gates.never(), max_new_tokens=16)["rl"] == 0
    late = gates.places({(f"p{at}", 0): [9] for at in range(3)})
    calls = counted(gate=late, max_new_tokens=10, draft=4)
    assert calls["rl"] == 1
    assert calls["base"] == 10
    one = counted(gate=gates.places({("p0", 0): [9]}), max_new_tokens=10, draft=4)
    prompt = len(pair_of().base.encode(["1+2="])[0])
    assert one["rl tokens"] == prompt + 9, "only the row that asked is read, each token once"


def test_drafting_reads_once_in_k_tokens() -> None:
    calls = counted(gate=gates.js(9.0), max_new_tokens=16, draft=4)
    assert (calls["base"], calls["rl"]) == (16, 4)


def test_samples_of_one_prompt_are_read_once() -> None:
    calls = counted(gate=gates.js(9.0), max_new_tokens=1, n=5, temperature=1.0, draft=1)
    prompt = max(len(ids) for ids in pair_of().base.encode(PROMPTS))
    assert calls["base tokens"] == 3 * (prompt - 1) + 15


def test_auto_draft_changes_no_token() -> None:
    for gate in ("js", "random"):
        mixed = mix(
            pair_of(),
            problems(),
            gate=GATES[gate],
            temperature=1.0,
            top_p=0.95,
            n=2,
            max_new_tokens=LENGTH,
            draft="auto",
        )
        same(mixed, expected(gate, 1.0, "base"))


def test_stop_strings_end_a_text_as_in_generate() -> None:
    pair, options = pair_of(), {"temperature": 1.0, "n": 4, "max_new_tokens": LENGTH, "stop": ("3", "wait")}
    single = generate(pair.base, PROMPTS, **options).frame
    for draft in (1, 5):
        mixed = mix(pair, PROMPTS, gate=gates.never(), draft=draft, **options).frame
        assert mixed[["text", "stop"]].values.tolist() == single[["text", "stop"]].values.tolist()
    assert "string" in set(single["stop"])


def test_out_of_memory_halves_the_batch_aloud(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of()
    whole = mix(pair, problems(), gate=gates.js(0.025), max_new_tokens=8).frame

    def full_at_three(_: Any, __: Any, kwargs: Any) -> None:
        if len(kwargs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("out of memory (pretended)")

    handle = pair.rl.net.base_model.register_forward_pre_hook(full_at_three, with_kwargs=True)
    try:
        with pytest.warns(RuntimeWarning, match="out of memory with 3 rows"):
            halved = mix(pair, problems(), gate=gates.js(0.025), max_new_tokens=8).frame
    finally:
        handle.remove()
    assert halved["ids"].tolist() == whole["ids"].tolist()


def test_leaves_no_hook_behind_when_a_gate_raises() -> None:
    def explode(_: Sight) -> torch.Tensor:
        raise RuntimeError("boom")

    model = pair_of().base
    before = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.net.modules())
    with pytest.raises(RuntimeError, match="boom"):
        mix(pair_of(), problems(), gate=Gate("bad", "none", explode, hidden="resid_post.0"), max_new_tokens=4)
    after = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.net.modules())
    assert after == before


def test_a_tape_says_that_it_cannot_follow() -> None:
    pair = pair_of()
    with recording(pair.base, sites="resid_post.1"), pytest.raises(ValueError, match="capture"):
        mix(pair, problems(), gate=gates.js(0.025), max_new_tokens=4)
    assert len(mix(pair, problems(), gate=gates.js(0.025), max_new_tokens=4)) == 3, "and leaves no hook behind"


def test_a_gate_on_the_primary_ends_the_draft_where_a_row_waits() -> None:
    early = gates.places({(f"p{at}", 0): [2] for at in range(3)})
    calls = counted(gate=early, max_new_tokens=10, draft=16)
    assert calls["base"] <= 12, "nobody drafts far behind a place that may be overruled"
    assert calls["rl"] == 1


def test_what_is_known_of_a_text_does_not_depend_on_the_draft() -> None:
    frames = [mix(pair_of(), problems(), gate=GATES["entropy"], max_new_tokens=LENGTH, draft=k).frame for k in (1, 5)]
    for name in ("js", "entropy_other", "entropy_primary", "gate_score"):
        for one, other in zip(*(frame[name] for frame in frames), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)
    assert frames[0]["other_choice"].tolist() == frames[1]["other_choice"].tolist()
    for row in frames[0].itertuples():
        assert [math.isfinite(value) for value in row.js] == row.gate_open


def test_progress_and_the_empty_list() -> None:
    seen: list[tuple[int, int]] = []
    mix(pair_of(), problems(), gate=gates.never(), max_new_tokens=2, batch_size=2, progress=lambda *at: seen.append(at))
    assert seen == [(2, 3), (3, 3)]
    assert len(mix(pair_of(), [], gate=gates.never())) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"write": "steered"}, "steering"),
        ({"steering": STEERED}, "steering"),
        ({"reach": "place"}, "reach"),
        ({"write": "resample"}, "write_temperature"),
        ({"other_steering": STEERED, "write": "resample", "temperature": 1.0}, "other_steering"),
        ({"draft": 0}, "draft"),
        ({"top_k": 0}, "top_k"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop": ""}, "stop string"),
        ({"temperature": -1.0}, "temperature"),
    ],
)
def test_refuses_what_means_nothing(options: dict[str, Any], words: str) -> None:
    with warnings.catch_warnings(), pytest.raises(ValueError, match=words):
        mix(pair_of(), problems(), **{"gate": gates.random(0.5), **options})


def test_refuses_scores_that_say_neither() -> None:
    for score, words in (
        (lambda sight: torch.full_like(sight.uniform, math.nan), "not a number"),
        (lambda sight: sight.uniform[:1], "shape"),
        (lambda sight: sight.other_logp.sum(-1), "needs"),
    ):
        with pytest.raises(ValueError, match=words):
            mix(pair_of(), problems(), gate=Gate("odd", "none", score), max_new_tokens=4)


def test_refuses_a_memory_that_cannot_be_cut() -> None:
    for config in ({"layer_types": ["linear_attention"]}, {"alibi": True}):
        made = SimpleNamespace(**{"is_encoder_decoder": False, "model_type": "x", **config})
        with pytest.raises(ValueError, match="mixing needs"):
            check_cuttable(SimpleNamespace(name="odd", net=SimpleNamespace(config=made)))
