"""The report: one HTML file that a colleague reads without whenlens, made from a study folder and nothing else.

It loads no model and no tokenizer. What a study did not measure reads "not measured" with what it would need; a study
without a gain to explain says so and prints no share of it. The page asks nothing of the network.

``tokens_html`` renders coloured tokens for notebooks as well; :mod:`probes.report.theme` has the palette.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hooks.rollouts import write_whole
from probes.report.export import NoPictures, figures_of, write_figures
from probes.report.page import render, render_beside
from probes.report.tokens import Token, TokenHtml, tokens_html

__all__ = [
    "NoPictures",
    "Token",
    "TokenHtml",
    "figures_of",
    "render",
    "render_beside",
    "tokens_html",
    "write_beside",
    "write_figures",
    "write_report",
]


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a study folder, whole or not at all, and return its path.

    Args:
        folder: a study folder; any part of it may be missing.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    path = folder / "report.html"
    _write(render(folder), path)
    return path


def write_beside(folders: Sequence[Path], out: Path) -> Path:
    """Write one page over several studies, whole or not at all, and return its path.

    Args:
        folders: study folders, in the order of the page.
        out: the HTML file.

    Raises:
        FileNotFoundError: if one of the folders holds no study.

    It does not test one study against another.
    """
    page = render_beside(folders)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(page, out)
    return out


def _write(page: str, path: Path) -> None:
    # Half characters in a model's text have no UTF-8; they become references that a browser shows as unknown.
    data = page.encode("utf-8", errors="xmlcharrefreplace")
    write_whole(path, lambda partial: partial.write_bytes(data))
