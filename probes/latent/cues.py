"""The words by which people show what they are doing when they reason in English.

Each cue names a strategy, says how strongly its words speak for it and where they must stand: ``start`` (the sentence
opens with them, fillers such as "Okay, so" aside), ``inside`` (as whole words anywhere) or ``pattern`` (as written).
A sentence goes to its heaviest cue; of equal ones, to the one that stands first here.  Phrases are regular
expressions; case does not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

FILLERS = r"^\W*(?:\d+[.)]\s+)?(?:(?:okay|ok|so|now|well|and|but|hmm|alright|right|then|oh|yes|yeah)\b[\s,.!:…-]*)*"
"""What may stand before the first word that counts."""

_OPERATOR = r"(?:[-+*/×÷·^−]|\\times|\\cdot|\\div|times|plus|minus|divided by)"
_ARITHMETIC = rf"\d[\d,.]*\)?\s*(?:%|\w{{0,12}}\s)?\s*{_OPERATOR}\s*[$(\\]*\d"


@dataclass(frozen=True)
class Cue:
    """Phrases of equal weight for one strategy."""

    strategy: str
    weight: float
    where: Literal["start", "inside", "pattern"]
    phrases: tuple[str, ...]

    def compiled(self) -> re.Pattern[str]:
        """One pattern that finds any of the phrases where they must stand."""
        either = "|".join(self.phrases)
        frames = {"start": rf"{FILLERS}(?:{either})\b", "inside": rf"\b(?:{either})\b", "pattern": either}
        return re.compile(frames[self.where], re.IGNORECASE)


_ASK = r"(?:the|this) (?:problem|question)"
_SELF = r"(?:let me|let's|we can|i can|i should|i'll|i will|we should|to)"

CUES: tuple[Cue, ...] = (
    Cue("concluding", 6.0, "pattern", (r"\\boxed", r"####\s*\S", r"^\W*(?:final )?answer\W*:", r"\bfinal answer\b")),
    Cue(
        "concluding",
        6.0,
        "inside",
        (
            r"the (?:correct |right )?answer (?:is|to|would be|should be|must be)",
            r"is the (?:correct |final |right )?answer",
        ),
    ),
    Cue("concluding", 5.0, "start", ("in conclusion", "in summary", r"to summari[sz]e", "to conclude", "to sum up")),
    Cue(
        "backtracking",
        4.5,
        "inside",
        (
            r"made (?:a|an|some) (?:\w+ )?(?:mistakes?|errors?)",
            r"(?:start|do (?:it|this|that)) (?:over|again)",
            r"that(?:'s| is| was) (?:not (?:right|correct|possible)|wrong|incorrect)",
            r"(?:isn't|wasn't) (?:right|correct|possible)",
            r"go(?:ing)? back (?:to|and)",
            "scratch that",
            "on second thought",
            "my mistake",
        ),
    ),
    Cue(
        "verification",
        4.2,
        "inside",
        (
            r"(?:double|re)[- ]?check(?:ing|ed)?",
            "sanity check",
            rf"{_SELF} (?:just |also |quickly )?(?:check|test|validate|verify|confirm|make sure)",
            r"(?:plug|substitut|put)\w*\b[^.]{0,50}\bback",
        ),
    ),
    Cue("verification", 4.2, "pattern", (r"^\W*check(?:ing)?\b\s*[:,]",)),
    Cue("backtracking", 4.0, "start", ("wait", "hold on", "hang on", "no(?=,)", r"actually, (?:no|wait|that)")),
    Cue(
        "backtracking",
        4.0,
        "inside",
        (
            "alternatively",
            r"(?:another|different|new) (?:approach|way|method|strategy|idea)",
            r"let me re(?:consider|think|do|visit|-?examine|start)",
        ),
    ),
    Cue(
        "restating",
        3.5,
        "start",
        (
            rf"{_ASK} (?:says|states|asks|is asking|gives|tells|wants|mentions|is about)",
            r"(?:we|i)(?: are|'re| am|'m) (?:given|told|asked)",
            r"it(?:'s| is) given",
            r"given(?: that| the|(?=[:,]))",
        ),
    ),
    Cue(
        "restating",
        3.5,
        "inside",
        (
            "according to the (?:problem|question)",
            r"(?:i|we) have (?:this|a) (?:problem|question)",
            r"(?:parse|understand|restate|reread) (?:the|this) (?:problem|question|information|text)",
        ),
    ),
    Cue("restating", 3.5, "pattern", (r"^\W*(?:original )?(?:problem|question)\W*:",)),
    Cue(
        "backtracking",
        3.0,
        "inside",
        (r"(?:does|did)(?:n't| not) (?:work|match|fit|add up|make sense)", "contradicts?"),
    ),
    Cue("restating", 3.0, "inside", (rf"{_ASK} (?:says|states|asks|tells|wants|mentions)",)),
    Cue(
        "verification",
        2.8,
        "inside",
        (
            r"(?:this|that|which|it|everything) (?:matches|checks out|agrees|is consistent)",
            "as expected",
            "consistent with",
            r"(?:that|this)(?:'s| is| seems| looks) (?:correct|right|fine)",
            r"(?:that|this|it) makes sense",
            "is (?:indeed )?satisfied",
            r"(?:is|does) (?:that|this|it) (?:right|correct|make sense|true)",
        ),
    ),
    Cue(
        "uncertainty",
        2.7,
        "inside",
        (
            r"not (?:\w+ )?(?:sure|certain)",
            r"i (?:wonder|guess|suppose)",
            "unclear",
            "ambiguous",
            r"confus(?:ed|ing)",
            r"don't (?:know|remember|recall)",
            r"hard to (?:say|tell)",
        ),
    ),
    Cue("uncertainty", 2.3, "pattern", (r"^\W*h+m+\b",)),
    Cue("computation", 2.6, "pattern", (rf"{_ARITHMETIC}[^=\n]*(?:=|≈|\bis\b|\bequals?\b|\bgives\b|\bmakes\b)",)),
    Cue(
        "planning",
        2.5,
        "start",
        (
            r"(?:first|next|finally|second|third)(?:ly)?,? (?:i|we|let)",
            r"let me (?:start|begin|think|break|see|set up|define|try)",
            r"to (?:find|solve|determine|calculate|compute|get|answer|figure out|do this|tackle)",
            r"(?:i|we)(?:'ll| will| need to| have to| should| must| want to| could| can| are going to)",
            r"let's",
            r"let us",
            r"step \d+",
            r"(?:the|my|our) (?:plan|approach|strategy|goal|idea|next step|first step)",
        ),
    ),
    Cue(
        "uncertainty",
        2.2,
        "inside",
        ("maybe", "perhaps", "possibly", "presumably", "probably", "i think", r"(?:might|may|could) be", "seems?"),
    ),
    Cue(
        "deduction",
        2.0,
        "start",
        (
            "therefore",
            "thus",
            "hence",
            "since",
            "because",
            "if",
            r"(?:this|that) (?:means|implies|gives|tells|shows)",
            "which means",
            "it follows",
            "consequently",
            "as a result",
            r"from (?:this|that|the)",
        ),
    ),
    Cue(
        "computation",
        1.8,
        "pattern",
        (r"=\s*[-−]?[$\\(]*\s*\d", r"\b(?:equals|is equal to|which is|gives us|leaves)\s+[$\\(]*\d"),
    ),
    Cue("deduction", 1.6, "pattern", (r"^\W*so\b",)),
    Cue(
        "deduction",
        1.6,
        "inside",
        (
            "therefore",
            "thus",
            "hence",
            "implies",
            "must be",
            "because",
            "it follows",
            "which means",
            "so (?:the|we|it)",
        ),
    ),
    Cue(
        "computation",
        1.5,
        "inside",
        (r"(?:multiply|divid|subtract|add|simplify|expand|factor)(?:ing|e|es|s)?", r"simplifies"),
    ),
    Cue("planning", 1.2, "inside", (r"(?:we|i) (?:need|have) to", r"let(?:'s| me)")),
    Cue("planning", 1.2, "start", ("calculate", "find", "determine", "identify", "compute", "consider", "define")),
    Cue("restating", 1.0, "inside", ("we know", "in other words", "that is to say")),
    Cue("computation", 0.5, "pattern", ("[=≈]",)),
)
"""The cues, heaviest first."""
