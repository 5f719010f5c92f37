"""From the study folder to one HTML file: template, style, scripts and figures in one page.

Everything is escaped by the template; scripts run only if their hash is in the page's own policy, so a script that a
model wrote would not run even if it were not escaped; the policy also forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from probes.report.beside import beside
from probes.report.blocks import Block, Figure, Fold, Section
from probes.report.figures import script_json
from probes.report.folder import StudyReader
from probes.report.sections import sections
from probes.report.theme import dark_twins
from probes.report.tokens import stylesheet
from probes.report.top import Top, top


class Counter:
    """Numbers for the ids of a page, in order."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def next(self) -> int:
        """The next number."""
        return next(self._numbers)


def render(folder: Path) -> str:
    """The page of one study as HTML.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no study folder {folder}; run `whenlens study ... --out {folder}` first.")
    reader = StudyReader(folder)
    return _page(top(reader), sections(reader))


def render_beside(folders: Sequence[Path]) -> str:
    """One page over several studies.

    Raises:
        FileNotFoundError: if one of the folders holds no study.
    """
    for folder in folders:
        if not (folder / "study.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds no study.json; run `whenlens study … --out {folder}` first, or leave it out."
            )
    return _page(*beside([StudyReader(folder) for folder in folders]))


def _page(head: Top, body: tuple[Section, ...]) -> str:
    plotly = _plotly() if _has_figure(head, body) else ""
    script = _asset("script.js")
    return _template().render(
        top=head,
        sections=body,
        ids=Counter(),
        style=Markup(_asset("style.css") + stylesheet()),
        plotly=Markup(plotly),
        script=Markup(script),
        theme=script_json(dark_twins()),
        policy=Markup(" ".join(f"'{_hash(text)}'" for text in (plotly, script) if text)),
    )


def _has_figure(head: Top, body: tuple[Section, ...]) -> bool:
    def inside(block: Block) -> bool:
        return isinstance(block, Figure) or (isinstance(block, Fold) and any(inside(inner) for inner in block.blocks))

    return inside(head.main) or any(inside(block) for section in body for block in section.blocks)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(_asset("page.jinja"))


def _plotly() -> str:
    """plotly.js whole. A browser reads every line end as a newline, so the hash needs the same."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("\r\n", "\n").replace("\r", "\n")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _asset(name: str) -> str:
    return resources.files("probes.report").joinpath(name).read_text(encoding="utf-8")
