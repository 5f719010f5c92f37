"""Finding the answer in what models write: announced, concluded, run on, cut off."""

from __future__ import annotations

from fractions import Fraction

import pytest

from probes.tasks import extract
from probes.tasks.reading import as_number, last_boxed, last_formula, numbers, sentences

ASK = "Tom packs pens. How many pens does Tom pack in 3 days?"


@pytest.mark.parametrize(
    ("text", "answer", "how"),
    [
        ("We get \\boxed{12}.", "12", "boxed"),
        ("First \\boxed{3}, no: \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "boxed"),
        ("<think>5</think><answer> 12 </answer><confidence>0.9</confidence>", "12", "tag"),
        ("4 + 8 = 12\n#### 12\n\nQuestion: 2 + 2?\n#### 4", "12", "hash"),
        ("The answer is 12.\n\nQ: What is 2 + 2?\nA: The answer is 4.", "12", "stated"),
        ("The final answer to the question is: 12 pens", "12", "stated"),
        ("**Answer:** 12 pens, since he packs 4 a day.", "12", "stated"),
        ("I think 12 is the correct answer. Wait, let me", "12", "stated"),
        ("He packs 4 a day.\n\nTherefore, Tom packs 12 pens in 3 days.", "12", "concluding"),
        ("He packs 4 a day. So in 3 days he packs 4 * 3 = 12 pens.", "12", "concluding"),
        ("Therefore, he packs 12 pens. This uses the 3 days and 4 pens a day.", "12", "concluding"),
        ("Step 1: 4 a day.\nStep 2: 4 * 3 = 12\nTom packs 12 pens.", "12", "last"),
        ("Tom packs 12 pens.\n\nYou are an AI assistant. User will give you 5 tasks.", "12", "last"),
        ("12 pens in total.\nHe packs 12.\n\nStep by step explanation:\nStep 1: there are 4 boxes of 9", "12", "last"),
        ("The value comes to 12\nNow 13. Let us consider the", "12", "last"),
        ("Reasoning: 99 </think>\n\nTom packs 4 * 3 = 12 pens.", "12", "last"),
        ("So 7.\n**Final Answer** \\boxed{12}</think>\n\nTom packs, in each of the", "12", "boxed"),
        ("", None, "none"),
        ("I do not know.", None, "none"),
    ],
)
def test_reads_numbers_as_a_person_does(text: str, answer: str | None, how: str) -> None:
    found = extract(text, numeric=True, question=ASK)
    assert (found.answer, found.how) == (answer, how)


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("Therefore, he paid $450 to fill 170 balloons.", "How much did he pay to fill 170 balloons?", "$450"),
        ("Therefore, she needs 23 pounds of clay for 4 pots.", "How much clay does she need for 4 pots?", "23"),
        ("Therefore, they will be 40 in 10 years.", "How old will they be in 10 years?", "40"),
        ("Thus it takes 2 hours to go from 60% to 100%.", "From 60% on, how long does it take, in hours?", "2"),
        ("So there are 15 rats / 3 cages = 5 rats in each cage.", "How many rats are in each cage?", "5"),
        ("Hence the total is $118 000.", "How much does he get?", "$118 000"),
    ],
)
def test_picks_the_number_that_was_asked_for(sentence: str, question: str, answer: str) -> None:
    assert extract(sentence, numeric=True, question=question).answer == answer


def test_numbers_of_a_repeated_question_are_no_answer() -> None:
    question = "John arm wrestles 20 people and beats 80 of every hundred. How many people did he lose to?"
    assert extract(f"{question}\n{question}\n{question[:40]}", numeric=True, question=question).answer is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Therefore, the point is $(3, \\frac{\\pi}{2})$.", "(3, \\frac{\\pi}{2})"),
        ("Therefore, sin T = sqrt(21)/5.", "sqrt(21)/5"),
        ("The answer is $x = \\sqrt{2}$.\n\nProblem: next", "\\sqrt{2}"),
        ("<answer>The range of the function over all of them is $[1, 2]$.</answer>", "[1, 2]"),
        ("\\boxed{\\text{Evelyn}}", "\\text{Evelyn}"),
        ("The answer is correct. The final answer is Evelyn.", "Evelyn"),
    ],
)
def test_reads_formulas_and_words(text: str, answer: str) -> None:
    assert extract(text).answer == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("steps 4+5=9;answer 9.", "9"), ("answer 4.answer 77.", "77"), ("steps 4+5=9;", None), ("answer 1", None)],
)
def test_organisms_answer_after_their_last_answer_word(text: str, answer: str | None) -> None:
    assert extract(text, kind="organism").answer == answer


def test_numbers_as_written() -> None:
    found = [number.text for number in numbers("At 5:00 PM the 21st gave $1,200.50, -5, 16-3, 60%, 3/4 and .75 of x2.")]
    assert found == ["$1,200.50", "-5", "16", "3", "60%", "3/4", ".75"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\$6,\\!400", 6400),
        ("118 000", 118000),
        ("15 loaves", 15),
        ("5 \\text{ cm}^2", 5),
        ("\\dfrac{14}{3}", Fraction(14, 3)),
        ("-\\frac12", Fraction(-1, 2)),
        ("60\\%", 60),
        ("90^\\circ", 90),
        ("2 pi", None),
        ("x^2", None),
        ("1/0", None),
        ("", None),
    ],
)
def test_plain_numbers_are_exact(text: str, value: int | Fraction | None) -> None:
    assert as_number(text) == value


def test_boxes_formulas_and_sentences() -> None:
    assert last_boxed("\\boxed{a \\{ {b} } and \\boxed{open") == "a \\{ {b} "
    assert last_boxed("none") is None
    assert last_formula("\\(a\\) then $$b$$") == "b"
    assert last_formula("costs $5 and $6") is None
    assert sentences("Mr. Fox has 3.5 kg. He left!\nWhy? e.g. this") == [
        "Mr. Fox has 3.5 kg.",
        "He left!",
        "Why? e.g. this",
    ]
