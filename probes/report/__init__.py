"""The report: one HTML file that a colleague reads without whenlens, made from a study folder and nothing else.

It loads no model and no tokenizer. What a study did not measure reads "not measured" with what it would need; a study
without a gain to explain says so and prints no share of it. The page asks nothing of the network.

``tokens_html`` renders coloured tokens for notebooks as well; :mod:`probes.report.theme` has the palette.
"""

from __future__ import annotations

import os
from pathlib import Path

from probes.report.page import render
from probes.report.tokens import Token, TokenHtml, tokens_html

__all__ = ["Token", "TokenHtml", "render", "tokens_html", "write_report"]


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a study folder, whole or not at all, and return its path.

    Args:
        folder: a study folder; any part of it may be missing.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    # Half characters in a model's text have no UTF-8; they become references that a browser shows as unknown.
    page = render(folder).encode("utf-8", errors="xmlcharrefreplace")
    path, partial = folder / "report.html", folder / ".report.html.partial"
    with partial.open("wb") as handle:
        handle.write(page)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(partial, path)
    return path
