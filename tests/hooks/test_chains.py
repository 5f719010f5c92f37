"""The organisms' language: its texts, its decisions, and the ceiling that follows from them."""

from collections import Counter, defaultdict
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.organisms import chains
from hooks.organisms.chains import LATENT, TEACHER, UNSTEPPED, Chain, decision_probabilities, sample_chain, write
from hooks.organisms.tokenizer import build_tokenizer


@given(st.integers())
def test_a_chain_is_read_back_from_its_prompt(seed: int) -> None:
    chain = sample_chain(Random(seed))
    assert Chain.parse(chain.prompt) == chain
    slow = chain.first
    for operator, operand in chain.operations:
        slow = eval(f"{slow}{operator}{operand}") % 100
    assert chain.answer == slow


@pytest.mark.parametrize("text", ["", "12", "7+5 =", "1234+5:", "7/5:"])
def test_what_is_no_chain_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a chain"):
        Chain.parse(text)


@given(st.integers(), st.sampled_from([LATENT, UNSTEPPED, TEACHER]))
def test_texts_survive_the_tokenizer(seed: int, policy: chains.Policy) -> None:
    rng = Random(seed)
    chain = sample_chain(rng)
    text = chain.prompt + write(chain, policy, rng)
    ids = TOKENIZER(text)["input_ids"]
    assert ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    assert len(ids) <= 128


TOKENIZER = build_tokenizer()


def next_strategy(rest: str) -> str:
    return next((name for mark, name in chains.MARKS.items() if rest.startswith(mark)), "computation")


def cuts(text: str) -> list[int]:
    opening = [len("steps ")] if text.startswith("steps ") else []
    return [0, *opening, *(i + 1 for i, c in enumerate(text) if c == ";")]


def test_decisions_are_taken_with_the_stated_probabilities() -> None:
    """Simulated truth: among decisions of stated probability p, a share p is taken."""
    rng, expected, seen, variance = Random(0), Counter(), Counter(), Counter()
    for _ in range(20_000):
        chain = sample_chain(rng)
        text = write(chain, LATENT, rng)
        for cut in cuts(text):
            probabilities = decision_probabilities(chain.prompt, text[:cut], LATENT)
            assert probabilities is not None
            assert sum(probabilities.values()) == pytest.approx(1)
            seen[next_strategy(text[cut:])] += 1
            for name, p in probabilities.items():
                expected[name] += p
                variance[name] += p * (1 - p)
    for name in chains.STRATEGIES:
        assert abs(seen[name] - expected[name]) < 4 * variance[name] ** 0.5 + 1e-9, name


def test_a_wrong_step_makes_verification_likelier() -> None:
    right = decision_probabilities("12+5-3:", "steps 12+5=17;", LATENT)
    wrong = decision_probabilities("12+5-3:", "steps 12+5=18;", LATENT)
    assert right is not None
    assert wrong is not None
    assert wrong["verification"] > 10 * right["verification"]
    found = decision_probabilities("12+5-3:", "steps 12+5=18;check 12+5=17 no;", LATENT)
    assert found is not None
    assert found["backtracking"] == LATENT.back


@pytest.mark.parametrize("text", ["steps 12+5", "hello;", "steps nonsense;", "steps 1+1=2;1+1=2;1+1=2;1+1=2;"])
def test_text_outside_the_language_has_no_probabilities(text: str) -> None:
    assert decision_probabilities("12+5-3:", text, LATENT) is None


def test_each_mixture_writes_what_it_says() -> None:
    rng, starts, right = Random(1), defaultdict(Counter), Counter()
    for name, policy in {"latent": LATENT, "unstepped": UNSTEPPED, "teacher": TEACHER}.items():
        for _ in range(2000):
            chain = sample_chain(rng)
            text = write(chain, policy, rng)
            starts[name][next_strategy(text)] += 1
            right[name] += text.endswith(f"answer {chain.answer}.")
    assert starts["unstepped"]["planning"] == 0
    assert starts["teacher"] == {"planning": 2000}
    assert right["teacher"] == right["unstepped"] == 2000
    assert 0.2 < starts["latent"]["planning"] / 2000 < 0.35
