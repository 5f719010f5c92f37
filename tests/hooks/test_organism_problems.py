"""The problem sets of the organisms, the confidence they state, and the texts of their mixtures."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.organisms.chains import Chain, Policy, sample_chain, write
from hooks.organisms.confidence import WORD, rlcr_reward, stated_confidence
from hooks.organisms.mixtures import MIXTURES
from hooks.organisms.problems import PROBLEMS
from hooks.organisms.rl import is_right, reward_function
from hooks.organisms.tokenizer import build_tokenizer
from probes import tasks

LENGTHS = {"hard": (8, 10), "sums": (3, 4), "single": (1, 1), "mental": (1, 3), "brief": (2, 2), "medium": (3, 5)}


@pytest.mark.parametrize("name", list(PROBLEMS))
@given(seed=st.integers())
def test_every_set_draws_chains_that_are_read_back(name: str, seed: int) -> None:
    chain = PROBLEMS[name](Random(seed))
    assert Chain.parse(chain.prompt) == chain
    shortest, longest = LENGTHS.get(name, (1, 5))
    assert shortest <= len(chain.operations) <= longest


def test_the_standard_set_is_the_one_the_first_organisms_were_trained_on() -> None:
    assert PROBLEMS["standard"](Random(3)) == sample_chain(Random(3))


def test_hard_problems_have_ten_possible_answers_and_a_constant_guess_pays_rarely() -> None:
    rng = Random(0)
    answers = Counter(PROBLEMS["hard"](rng).answer for _ in range(2000))
    assert set(answers) == set(range(0, 100, 10))
    assert 0.08 < max(answers.values()) / 2000 < 0.4


@given(st.integers(), st.sampled_from(sorted(MIXTURES)), st.sampled_from(sorted(set(PROBLEMS) - {"hard"})))
def test_every_mixture_survives_the_tokenizer(seed: int, mixture: str, problems: str) -> None:
    rng = Random(seed)
    chain = PROBLEMS[problems](rng)
    text = chain.prompt + write(chain, MIXTURES[mixture], rng)
    ids = TOKENIZER(text)["input_ids"]
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    assert len(ids) <= 128


TOKENIZER = build_tokenizer((WORD,))


def test_more_words_leave_the_ids_of_the_others() -> None:
    plain = build_tokenizer()
    text = "47+5*3-2:steps 47+5=52;check 47+5=52 ok;answer 54."
    assert plain(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert len(TOKENIZER) == len(plain) + 1
    assert TOKENIZER("sure 7.")["input_ids"][1] == len(plain)


def test_a_lone_step_slips_at_its_own_rate() -> None:
    policy, rng, wrong = Policy(steps=(1.0,) * 4, slip=0.0, slip_alone=0.8), Random(0), Counter()
    for name in ("single", "sums"):
        for _ in range(1000):
            chain = PROBLEMS[name](rng)
            first = write(chain, policy, rng).removeprefix("steps ").split(";")[0]
            wrong[name] += int(first.rpartition("=")[2]) != chain.values[0]
    assert abs(wrong["single"] / 1000 - 0.8) < 0.05
    assert wrong["sums"] == 0


def test_confidence_is_stated_at_the_stated_rates_whatever_the_answer() -> None:
    sure, rng = MIXTURES["unsure"].sure, Random(1)
    assert sure is not None
    stated = Counter(stated_confidence(write(sample_chain(rng), MIXTURES["unsure"], rng)) for _ in range(5000))
    for tenths, p in enumerate(sure):
        assert abs(stated[tenths / 10] / 5000 - p) < 0.03
    assert sum(stated.values()) == 5000


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("answer 34.sure 7.", 0.7),
        ("answer 34.sure 10.", 1.0),
        ("answer 34.sure 0.", 0.0),
        ("answer 34.sure 11.", None),
        ("answer 34.sure 7", None),
        ("answer 34.", None),
        ("", None),
    ],
)
def test_a_confidence_is_read_from_the_end_of_a_text(text: str, value: float | None) -> None:
    assert stated_confidence(text) == value


def test_the_brier_term_pays_best_for_the_true_probability() -> None:
    """Expected R = p − E(q − c)² over a grid of q is highest at q = p; a reward of c alone is flat in q."""
    for p in (0.0, 0.2, 0.5, 0.9, 1.0):
        expected = {q / 10: p * rlcr_reward(True, q / 10) + (1 - p) * rlcr_reward(False, q / 10) for q in range(11)}
        assert max(expected, key=lambda q: expected[q]) == p
    assert rlcr_reward(True, 1.0) == 1.0
    assert rlcr_reward(False, 1.0) == -1.0
    assert rlcr_reward(True, None) == 0.0


def test_the_rlcr_reward_of_a_batch_reads_answer_and_confidence() -> None:
    prompt = "47+5:"
    texts = ["answer 52.sure 10.", "answer 52.sure 5.", "answer 53.sure 5.", "answer 53.sure 0.", "answer 52."]
    assert [is_right(prompt, text) for text in texts] == [True, True, False, False, True]
    paid = reward_function("rlcr", 0)(prompts=[prompt] * 5, completions=texts)
    assert paid == pytest.approx([1.0, 0.75, -0.25, 0.0, 0.0])


def test_problems_are_drawn_from_the_set_that_is_named() -> None:
    standard, medium = tasks.load("organism:hard", n=20), tasks.load("organism:hard:medium", n=20)
    assert [problem.id for problem in standard] == [problem.id for problem in tasks.load("organism:latent", n=20)]
    assert all(Chain.parse(problem.prompt).operations[0][0] == "*" for problem in medium)
    assert all(
        len(Chain.parse(problem.prompt).operations) == 1 for problem in tasks.load("organism:domains:single", n=9)
    )
    with pytest.raises(ValueError, match="has no problems 'nosuch'; it has standard, hard"):
        tasks.load("organism:hard:nosuch", n=2)


def test_asking_for_more_problems_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="seems to have only"):
        tasks.load("organism:domains:single", n=1700)
