"""Section "Is it only when?": who has to write which tokens for the gain to come back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from probes.report.blocks import Absent, Block, Fold, Heading, Section, Text, TokenText, TokenView
from probes.report.drawings import by_routed_share, places_in_text
from probes.report.folder import StudyReader
from probes.report.names import CONTROLS
from probes.report.pictures import picture
from probes.report.tables import Column, interval, table_of
from probes.report.tokens import Token, authors, tokens_html
from probes.report.top import accuracy_levels
from probes.report.wording import missing, number, quantity

STAGE = "It needs the router: mixed decoding of both models (stage “routing” of a study)."

COLUMNS = (
    Column("arm", "Arm", "text"),
    Column("gate", "Gate", "text"),
    Column("badge", "Kind", "flag"),
    Column("threshold", "Threshold", setting=True),
    interval("routed", "Routed", "share"),
    interval("effective", "Changed", "share"),
    interval("accuracy", "Accuracy", "share"),
    interval("recovery", "Gain recovered", "share"),
    Column("n", "Problems", "count", setting=True),
)


def only_when(reader: StudyReader) -> Section:
    """Routing table, backward run, token view, and which tokens were routed where."""
    question = (
        "If RL taught the base model when to use what it could already do, letting the tuned model write a few "
        "well-chosen tokens should bring the gain back, and the same number of tokens at random places should not."
    )
    blocks: list[Block] = []
    if not reader.identified:
        blocks.append(Text("Shares of the gain are left out: there is no gain to explain.", "finding"))
    blocks += _arms(reader)
    blocks += _tokens(reader)
    blocks += _where(reader)
    return Section("only-when", "Is it only when?", "Only when?", question, tuple(blocks))


def _arms(reader: StudyReader) -> list[Block]:
    frame = reader.frame("routing")
    if frame is None:
        return [Absent("Routing", STAGE)]
    columns = COLUMNS if reader.identified else tuple(column for column in COLUMNS if column.name != "recovery")
    blocks: list[Block] = [*_shares(reader)]
    note = (
        "Routed: tokens where the gate was open. Changed: the token also differs from what the first writer wanted. "
        "A tuned-model token also carries what to say, not only when: compare the arms that let it choose among the "
        "base's own favourites."
    )
    frame = frame.assign(badge=_badges(frame))
    if "arm" in frame:
        frame["arm"] = frame["arm"].astype(str).str.replace("first_k", "first tokens").str.replace("_", " ")
    ways = (
        ("base", "The base model writes, the other is let in"),
        ("rl", "Backward: the tuned model writes, base tokens are put in"),
    )
    known = frame["primary"].isin([way for way, _ in ways]) if "primary" in frame else pd.Series(False, frame.index)
    for way, caption in ways:
        part = frame[known & (frame["primary"] == way)] if "primary" in frame else frame.iloc[:0]
        if way == "rl" and len(part) > 1:
            drawn = by_routed_share(part, value="accuracy", levels=accuracy_levels(reader))
            words = (
                "Taking base tokens into the tuned model's text: the steeper the fall, the more those tokens matter."
            )
            blocks.append(picture(reader, "backward", drawn, title="Backward run", caption=words, needs=STAGE))
        if way == "rl":
            columns = tuple(replace(c, title="Gain kept") if c.name == "recovery" else c for c in columns)
        if len(part):
            blocks.append(table_of(part, columns, caption, note=note, sortable=True))
            note = ""
    if not known.all():
        blocks.append(table_of(frame[~known], columns, "Arms", note=note, sortable=True))
    return [*blocks, *_contrasts(reader)]


def _badges(frame: pd.DataFrame) -> pd.Series:
    """What an arm is besides a gate: the kind of control, or that it is one."""
    if "kind" in frame:
        plain = frame["kind"].isin(["gate", "backward"]) | frame["kind"].isna()
        return ("control: " + frame["kind"].astype(str).replace(dict(CONTROLS))).mask(plain)
    if "control" in frame:
        return pd.Series("control", frame.index).where(frame["control"].astype("boolean").fillna(False))
    return pd.Series(None, frame.index, dtype=object)


def _contrasts(reader: StudyReader) -> list[Block]:
    """Each gate minus its controls, paired by problem."""
    frame = reader.frame("routing_contrasts", needs=("arm", "control", "difference"))
    if frame is None:
        return []
    columns = [
        Column("arm", "Gate", "text"),
        Column("control", "Minus its control", "text"),
        interval("difference", "Accuracy", "points", ends=("low", "high")),
        interval("recovery", "Of the gain", "share"),
    ]
    shown = [column for column in columns if reader.identified or column.name != "recovery"]
    note = "Above zero, the gate found places that its control did not. Paired by problem."
    table = table_of(frame, shown, "Gates against their controls", note=note, sortable=True)
    return [Fold(f"Gates against their controls ({len(frame)})", (table,))]


def _shares(reader: StudyReader) -> list[Block]:
    """How much routing half and nine tenths of the gain take; nothing of it exists without a gain."""
    record = reader.record("routing")
    blocks: list[Block] = []
    gap = reader.gap
    if gap["value"] is not None:
        words = quantity(gap["value"], gap["low"], gap["high"], unit="points")
        blocks.append(Text(f"Accuracy gap, tuned model minus base: {words.text} ({words.interval})."))
    if not reader.identified:
        return blocks
    for key, name in (("share_for_50", "half"), ("share_for_90", "nine tenths")):
        if key in record:
            found = record[key] if isinstance(record[key], dict) else {"value": record[key]}
            words = quantity(found.get("value"), found.get("low"), found.get("high"), unit="share")
            said = (
                f"{words.text} of the tokens ({words.interval})" if words.measured else "no measured point reaches it"
            )
            blocks.append(Text(f"Routed share needed for {name} of the gain: {said}{_guessed(reader, found)}."))
    return blocks


def _guessed(reader: StudyReader, found: dict[str, Any]) -> str:
    """Says so where a share lies below every gate that was run."""
    frame = reader.frame("routing", needs=("kind", "routed"))
    gates: list[float] = [] if frame is None else list(frame[frame["kind"] == "gate"]["routed"].dropna())
    value = number(found.get("value"))
    if value is None or not gates or value >= min(gates):
        return ""
    return f"; on a line from nothing, as no gate that was run handed over less than {min(gates):.1%}"


def _tokens(reader: StudyReader) -> list[Block]:
    heading = Heading("Who wrote what")
    texts = reader.listing("token_view")
    shown = [text for text in (_text(item) for item in texts) if text is not None]
    if not shown:
        return [heading, Absent("Token view", STAGE)]
    held = {
        name for item in texts for token in _listed(item) for name in ("js", "score", "strength") if _has(token, name)
    }
    words = {
        "js": "how far the models disagree (JS; full colour at ln 2)",
        "score": "probe score",
        "strength": "dose of steering",
    }
    modes = (("author", "who wrote it"), *((name, words[name]) for name in words if name in held))
    return [heading, TokenView(tuple(shown[:OPEN]), modes, tuple(shown[OPEN:]))]


def _has(token: Any, name: str) -> bool:
    return isinstance(token, dict) and not missing(token.get(name))


def _listed(item: dict[str, Any]) -> list[Any]:
    tokens = item.get("tokens")
    return tokens if isinstance(tokens, list) else []


def _text(item: dict[str, Any]) -> TokenText | None:
    tokens = [token for token in _listed(item) if isinstance(token, dict) and isinstance(token.get("text"), str)]
    if not tokens:
        return None
    rows = [_token(token) for token in tokens]
    counts = authors(rows)
    parts = [f"{len(rows)} tokens"]
    parts += [f"{counts[name]} by the {words}" for name, words in NAMES if counts.get(name)]
    changed = sum(row.changed for row in rows)
    parts += [f"{changed} changed"] if changed else []
    correct = item.get("correct")
    verdict = "not graded" if missing(correct) else "correct" if correct else "wrong"
    problem = str(item.get("problem", "without a name"))
    html = tokens_html(rows, label=f"Text for problem {problem}", standalone=False)
    return TokenText(problem, verdict, ", ".join(parts), str(item.get("prompt") or ""), html)


OPEN = 4
"""Texts of the token view that are listed; the others are folded away."""
NAMES = (("rl", "tuned model"), ("steered", "steered base"))


def _token(token: dict[str, Any]) -> Token:
    other = token.get("other")
    return Token(
        text=token["text"],
        author=None if missing(token.get("author")) else str(token["author"]),
        js=number(token.get("js")),
        open=token.get("open") is True,
        changed=token.get("changed") is True,
        other=None if missing(other) else str(other),
        score=number(token.get("score")),
        strength=number(token.get("strength")),
    )


def _where(reader: StudyReader) -> list[Block]:
    blocks: list[Block] = [Heading("Which tokens, and where")]
    places = reader.frame("routed_places", needs=("share",))
    drawn = None if places is None else places_in_text(places)
    caption = "Left is the start of the text. A router that only ever speaks first would fill the first bar alone."
    title = "Where the routed tokens fall"
    blocks.append(picture(reader, "routed_places", drawn, title=title, caption=caption, needs=STAGE))
    tokens = reader.frame("routed_tokens")
    name = "text" if tokens is not None and "text" in tokens else "token"
    if tokens is None or name not in tokens:
        return [*blocks, Absent("Which tokens were routed", STAGE)]
    shown = tokens.assign(**{name: [_quoted(token) for token in tokens[name]]})
    columns = OCCURRENCES if name == "text" else COUNTS
    top_rows = table_of(shown.head(12), columns, "Tokens that the other model wrote most often")
    rest = table_of(shown, columns, "All routed tokens", sortable=True)
    return [*blocks, top_rows, *([Fold(f"All {len(shown)} routed tokens", (rest,))] if len(shown) > 12 else [])]


OCCURRENCES = (
    Column("text", "Token", "text"),
    Column("open", "Times routed", "count", setting=True, bar=True),
    Column("changed", "Changed", "count", setting=True),
    Column("share", "Of its occurrences", "share"),
    Column("lift", "Times the average"),
)
COUNTS = (
    Column("token", "Token", "text"),
    Column("count", "Times routed", "count", setting=True),
    Column("share", "Share of routed tokens", "share", bar=True),
)


def _quoted(token: object) -> str:
    """A token between marks, so that its spaces and line breaks are seen."""
    return "“" + str(token).replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣") + "”"
