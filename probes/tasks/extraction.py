r"""Where in a text does its answer stand?

The reader works as a careful person does.  It looks first at what follows the reasoning (after ``</think>``), stops
where the text runs on into another question, and takes the first of these that is there: an answer in a tag or a box,
after ``####``, after "the (final) answer is" or "Answer:", in the last sentence that concludes something ("Therefore,
...", "In total ..."), and at last whatever the text ends with, leaving out a last line that was cut off.  In a sentence
with several numbers it takes the result of an equation, or else the number of what the question asks for, one that the
question did not give, an amount of money where money is asked for.  How the answer was found is reported, so that
answers that were announced can be told from those that were only read off.

It does not judge the answer, and it does not know the right one; only whether a number is wanted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from probes.tasks.reading import Number, as_number, last_boxed, last_formula, numbers, sentences

How = Literal["tag", "boxed", "hash", "stated", "concluding", "last", "organism", "none"]


@dataclass(frozen=True)
class Extraction:
    """An answer and how it was found; None and ``none`` if the text holds none."""

    answer: str | None
    how: How


NOTHING = Extraction(None, "none")

_ANSWER_IS = re.compile(
    r"\banswer\b(?:\s+(?:to|for)\s+(?:the|this)\s+(?:question|problem))?\s*(?:\*\*)?\s*"
    r"(?:(?:is|would be|should be|must be)\b(?:\s+that\b)?\s*:?|:|=)\s*(?:\*\*)?",
    re.IGNORECASE,
)
_IS_ANSWER = re.compile(r"([^\s]+)(?: [a-z]+)? is (?:indeed )?the (?:correct |final |right )?answer", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"(?:(?:in)?correct|right|wrong|not\b|consistent|reasonable|the same|as follows|simply)", re.IGNORECASE
)
_STEP = r"^\W*(?:(?:step )?\d+[.:)]\s*)?"
_THEREFORE = re.compile(_STEP + r"(?:therefore|thus|hence|as a result|consequently)\b", re.IGNORECASE)
_SO = re.compile(_STEP + r"(?:so|in total|this (?:means|gives)|which means)\b", re.IGNORECASE)
_SUMS_UP = re.compile(r"^\W*(?:in (?:conclusion|summary)|to (?:summari[sz]e|conclude|sum up)|overall)\b", re.IGNORECASE)
_COMMENT = re.compile(
    r"^\W*(?:this (?!means|gives)|these|additionally|also|if the|i\b|we (?:first|started|used|then)\b|"
    r"it(?:'s| is) (?:important|worth)|(?:please )?note|here\b|"
    r"(?:the|our|my) (?:calculation|solution|steps?)\b|"
    r"(?:to|let's|let me|we can) (?:double-?check|check|verify|confirm))|\?\s*$",
    re.IGNORECASE,
)
_STARTS_AGAIN = re.compile(
    r"^[ \t]*(?:\*\*|#+ ?)?(?:Q|Question|Problem|Exercise|Human|User|Instruction)(?:[ \t]*#?\d+)?[ \t]*(?:\*\*)?:|"
    r"^[ \t]*(?:\*\*)?Step[- ]by[- ]step (?:answer|explanation|solution|reasoning)\b|"
    r"<\|(?:endoftext|im_start|im_end|eot_id)\|>|^[ \t]*(?:Task: )?Answer the (?:following )?question|"
    r"^[ \t]*You are an? (?:AI|helpful)",
    re.MULTILINE | re.IGNORECASE,
)
_FRACTION = re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}")
_ANSWERED = re.compile(r"\banswer\b[^\n]{0,40}?(?:\bis\b|:)[^\n]*\w|\\boxed|####", re.IGNORECASE)
_FIRST_STEP = re.compile(r"^[ \t]*(?:\*\*|#+ ?)?Step 1\b", re.MULTILINE)
_CIRCUMSTANCE = re.compile(
    r"\b(?:in|after|from|with|every|each|per|before|within|of each|than|has|had|have)$", re.IGNORECASE
)
_RESULT = re.compile(r"\b(?:is|are|was|be|equals?|total of|makes?|gives?|sum of)$", re.IGNORECASE)


def extract(text: str, *, kind: str = "math", numeric: bool = False, question: str | None = None) -> Extraction:
    """The answer of a text.

    Args:
        text: what a model wrote, without the prompt.
        kind: of the problem; ``organism`` texts answer after their last "answer ", all others as people do.
        numeric: whether a number is wanted, which lets the reader look for one where no answer is announced.
        question: the question: where the text repeats it, its numbers are no answer, and what it asks for tells which
            of several numbers is.

    Returns:
        the answer as written, stripped of its surroundings, and how it was found.
    """
    if kind == "organism":
        return _organism(text)
    reader = _Reader(question or "", numeric)
    reasoning, closed, visible = text.rpartition("</think>")
    places = [visible, reasoning] if closed and visible.strip() else [reasoning or text]
    parts = [reader.parts(place) for place in places]
    for readers in ((reader.announced,), (reader.concluded, reader.last)):
        for place in parts:
            for part in place:
                found = next((found for read in readers if (found := read(part)).answer), NOTHING)
                if found.answer:
                    return found
    return NOTHING


def _organism(text: str) -> Extraction:
    found = re.findall(r"answer ([^.]*)\.", text)
    # Without its full stop an answer may lack its last digit.
    return Extraction(found[-1].strip(), "organism") if found else NOTHING


_COMMON = {"more", "does", "will", "total", "money", "would", "have", "this", "that", "their", "many", "much", "each"}


class _Reader:
    """Reads parts of one text with one question in mind."""

    def __init__(self, question: str, numeric: bool) -> None:
        self.question, self.numeric = question, numeric
        self.given = {as_number(number.text) for number in numbers(question)}
        words = question.split()
        self.repeated = re.compile(r"\s+".join(map(re.escape, words))) if len(words) > 4 else None
        asks = question[max(question.rfind(mark, 0, len(question) - 2) for mark in ".?!") + 1 :]
        asked = re.findall(r"\b(?:how (?:many|much)|in)((?: [\w'’-]+){1,3})", asks, re.IGNORECASE)
        words = " ".join(asked).lower().split() + ["year"] * ("how old" in asks.lower())
        self.asked = [word.rstrip("s") for word in words if len(word) > 3 and word not in _COMMON]
        self.money = bool(re.search(r"how much|\bcost|\$|dollar|price|earn|pay", asks, re.IGNORECASE))
        self.percent = bool(re.search(r"percent|what %", asks, re.IGNORECASE))

    def parts(self, text: str) -> list[str]:
        """The text cut where it starts again: with another question, or with the same solution told anew.

        Nothing is cut before there is something to be an answer: an announcement, or a number that was not given.
        """
        text = self.without_question(text)
        cuts = [match.start() for match in _STARTS_AGAIN.finditer(text)]
        cuts += [match.start() for match in list(_FIRST_STEP.finditer(text))[1:]]
        edges = [0]
        for cut in sorted(cuts):
            before = text[edges[-1] : cut]
            found = _ANSWERED.search(before) or any(as_number(n.text) not in self.given for n in numbers(before))
            if found and before.strip() and not before.rstrip().endswith("?"):
                edges.append(cut)
        return [text[start:stop] for start, stop in pairwise([*edges, len(text)])]

    def without_question(self, text: str) -> str:
        """The text without the question's repetitions, the last of which may be cut off."""
        if self.repeated is None:
            return text
        text = self.repeated.sub("\n", text)
        place = text.rfind(self.question[:20])
        return text[:place] if place >= 0 and self.question.startswith(text[place:].strip()) else text

    def announced(self, part: str) -> Extraction:
        tags = re.findall(r"<answer>(.*?)</answer>", part, re.DOTALL)
        if tags:
            inner = last_boxed(tags[-1])
            return Extraction(self.bare(tags[-1] if inner is None else inner), "tag")
        boxed = last_boxed(part)
        if boxed is not None and boxed.strip():
            return Extraction(self.bare(boxed), "boxed")
        hashed = re.search(r"####\s*([^\n]*\d[^\n]*)", part)
        if hashed:
            return Extraction(self.value(hashed[1]), "hash")
        statements = [(m.start(), part[m.end() :].lstrip(" \n*:")) for m in _ANSWER_IS.finditer(part)]
        statements += [(m.start(), m[1]) for m in _IS_ANSWER.finditer(part)]
        for _, rest in sorted(statements, reverse=True):
            stated = "" if _NO_ANSWER.match(rest) else self.stated(rest)
            if stated:
                return Extraction(stated, "stated")
        return NOTHING

    def stated(self, rest: str) -> str:
        """What follows an announcement: the number it opens with, unless that opens an equation."""
        head = rest.lstrip(" *$\\([").split("\n")[0]
        found = numbers(head)
        if self.numeric and found and found[0].start <= 1 and "=" not in head:
            return found[0].text
        return self.value(rest)

    def bare(self, marked: str) -> str:
        """A marked answer as it stands, unless a whole sentence was put between the marks."""
        marked = marked.strip()
        wordy = len(re.findall(r"(?<!\\)\b[A-Za-z]{2,}\b", re.sub(r"\\text\{[^}]*\}", "", marked))) > 5
        return (self.value(marked) if wordy else "") or marked

    def concluded(self, part: str) -> Extraction:
        """The sentence that concludes: at the head of the last paragraph that comes to something, or at its end."""
        summed_up = ""
        for paragraph in reversed(re.split(r"\n\s*\n|\n(?=\W*Step \d)", _without_cut_line(part))):
            written = [s for s in sentences(paragraph) if not _COMMENT.search(s) and (numbers(s) or not self.numeric)]
            if not written:
                continue
            if _SUMS_UP.search(written[0]):
                summed_up = summed_up or self.value(written[0])
                continue
            # An equation that follows a conclusion overrules it; mere remarks do not.
            open_end = next((i for i, s in enumerate(reversed(written)) if "=" in s), len(written))
            places = [*written[:-3:-1], *written[::-1][2 : min(open_end, 6)]]
            if _THEREFORE.search(written[0]) and open_end >= len(written) - 1:
                places.insert(0, written[0])
            if heads := [s for s in places if _THEREFORE.search(s) and self.value(s)]:
                return Extraction(self.value(heads[0]), "concluding")
            if _SO.search(written[-1]) and (value := self.value(written[-1])):
                return Extraction(value, "concluding")
            break
        return Extraction(summed_up, "concluding") if summed_up else NOTHING

    def last(self, part: str) -> Extraction:
        """The last sentence that says something; comments only where there is nothing else."""
        written = sentences(_without_cut_line(part))
        plain = [sentence for sentence in written if not _COMMENT.search(sentence)]
        for sentence in (*reversed(plain), *reversed(written)):
            if value := self.value(re.sub(r"^\s*(?:\d+[.)]|Step \d+[:.]?)(?:\s|$)", "", sentence)):
                return Extraction(value, "last")
        return NOTHING

    def value(self, rest: str) -> str:
        """What a sentence says the answer is: its number if a number is wanted, else its formula or its last words."""
        rest = rest.strip()
        head = next(iter(sentences(rest.split("\n\n")[0])), "")
        if self.numeric:
            return self.number(_FRACTION.sub(r"\1/\2", head))
        if rest.startswith(("\\[", "$$")):
            return _right_side(last_formula(rest) or head)
        verb = list(re.finditer(r"\b(?:is|are|was|be|equals?)\b(?:\s+equal\s+to\b)?:?\s", head))
        tail = head[verb[-1].end() :] if verb else head
        return _right_side(last_formula(tail) or tail).strip(" .*`\"'$")

    def number(self, sentence: str) -> str:
        """The number that a sentence is about; empty if it has none."""
        found = numbers(sentence)
        if not found:
            return ""
        equation = sentence.rfind("=")
        # A place breaks ties: of equally good numbers the later one is the result.
        best = max(found, key=lambda number: (self.weight(number, sentence, equation), number.start))
        return best.text

    def weight(self, number: Number, sentence: str, equation: int) -> int:
        """How much speaks for a number: the result of an equation, what was asked for, something new."""
        before, after = sentence[: number.start].rstrip(" *$\\("), sentence[number.stop :].lower()
        score = 4 * (equation >= 0 and number.start == _first_after(equation, sentence))
        score += 2 * any(word in " ".join(after.split()[:4]) for word in self.asked)
        clause = re.split(r"\d[\d,.]*|[;,]", before.lower())[-1]
        score += any(word in clause for word in self.asked)
        score += 2 * (as_number(number.text) not in self.given)
        score += (self.money and number.is_money) + 2 * (self.percent and "%" in number.text)
        return score + bool(_RESULT.search(before)) - bool(_CIRCUMSTANCE.search(before))


def _first_after(place: int, sentence: str) -> int:
    return next((number.start for number in numbers(sentence) if number.start > place), -1)


def _without_cut_line(part: str) -> str:
    """The text without its last line if that line breaks off in the middle; a lone line stays."""
    lines = part.rstrip().splitlines()
    if len(lines) > 1 and not re.search(r"[.!?)\]}$*0-9]\s*$", lines[-1]):
        lines = lines[:-1]
    return "\n".join(lines)


def _right_side(formula: str) -> str:
    """What follows the last equals sign of a formula outside braces; all of it if it has none."""
    depth, cut = 0, 0
    for index, character in enumerate(formula):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "=" and depth == 0 and formula[index - 1 : index] not in ("\\", "<", ">", "!"):
            cut = index + 1
    return formula[cut:].strip(" .")
