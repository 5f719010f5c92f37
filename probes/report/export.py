"""The figures of a page as files: HTML and JSON always; SVG, PNG and PDF where kaleido and a Chrome can draw them.

The figures are those of the page, drawn from the tables of a study; an HTML file holds plotly whole and asks nothing
of the network.  What it does not show: folded figures' tables; those lie beside the page as parquet.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hooks.rollouts import write_whole
from probes.report.blocks import Block, Figure, Fold
from probes.report.folder import StudyReader
from probes.report.sections import sections
from probes.report.top import top

if TYPE_CHECKING:
    import plotly.graph_objects as go

PAGES, PICTURES = ("html", "json"), ("svg", "png", "pdf")
FORMATS = (*PAGES, *PICTURES)
"""What a figure can be written as."""
WIDTH, SCALE = 900, 2
"""Size of a picture: pixels across, and how many dots a pixel has in a PNG."""


class NoPictures(RuntimeError):
    """Pictures cannot be drawn on this machine: kaleido or its Chrome is missing or fails."""


def figures_of(folder: Path) -> dict[str, go.Figure]:
    """Every figure of a study's page by its name, with its title.

    Raises:
        FileNotFoundError: if there is no such study.
    """
    import plotly.graph_objects as go

    if not (folder / "study.json").is_file():
        raise FileNotFoundError(f"{folder} holds no study.json; run `whenlens study … --out {folder}` first.")
    reader = StudyReader(folder)
    blocks = [top(reader).main, *(block for section in sections(reader) for block in section.blocks)]
    found = {}
    for block in _flat(blocks):
        figure = go.Figure(json.loads(str(block.json)))
        # The page has the title beside the figure, and a transparent ground.
        top_margin = (figure.layout.margin.t or 16) + 40
        figure.update_layout(title={"text": block.title, "x": 0}, margin={"t": top_margin}, paper_bgcolor="#ffffff")
        found[block.name] = figure
    return found


def write_figures(
    folder: Path,
    *,
    formats: Sequence[str] = PAGES,
    names: Sequence[str] | None = None,
    out: Path | None = None,
) -> list[Path]:
    """Write the figures of a study as files, each whole or not at all, and return their paths.

    Args:
        folder: of the study.
        formats: of ``html``, ``json``, ``svg``, ``png``, ``pdf``; pages are written before pictures.
        names: of the figures; all of the page by default.
        out: folder of the files; ``exported`` in the study by default.

    Raises:
        ValueError: for a format or a name that does not exist.
        FileNotFoundError: if there is no such study.
        NoPictures: if a picture was asked for and cannot be drawn here; the pages are written all the same.
    """
    unknown = [one for one in formats if one not in FORMATS]
    if unknown:
        raise ValueError(f"A figure cannot be written as {unknown[0]!r}; there are {', '.join(FORMATS)}.")
    held = figures_of(folder)
    missing = [name for name in names or () if name not in held]
    if missing:
        raise ValueError(f"The page has no figure {missing[0]!r}; it has {', '.join(held)}.")
    chosen = {name: figure for name, figure in held.items() if names is None or name in names}
    out = folder / "exported" if out is None else out
    written = []
    for name, figure in chosen.items():
        for kind in [one for one in PAGES if one in formats]:
            text = figure.to_html(include_plotlyjs=True) if kind == "html" else figure.to_json()
            data = text.encode("utf-8", errors="xmlcharrefreplace")
            written.append(write_whole(out / f"{name}.{kind}", partial(_put, data)))
    return [*written, *write_pictures(chosen, out, [one for one in PICTURES if one in formats])]


def write_pictures(figures: Mapping[str, go.Figure], out: Path, formats: Sequence[str] = ("svg",)) -> list[Path]:
    """Draw figures as ``OUT/NAME.FORMAT``, all by one browser.

    Raises:
        NoPictures: if kaleido is not installed, or finds no Chrome, or fails.
    """
    if not figures or not formats:
        return []
    if find_spec("kaleido") is None:
        raise NoPictures(f"{_asked(formats)} need kaleido: pip install kaleido; html and json need nothing.")
    import plotly.io
    from kaleido.errors import KaleidoError

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".pictures-") as made:
        jobs = [(figure, Path(made) / f"{name}.{kind}") for name, figure in figures.items() for kind in formats]
        drawn, paths = [figure for figure, _ in jobs], [path for _, path in jobs]
        heights = [figure.layout.height or 400 for figure in drawn]
        try:
            plotly.io.write_images(drawn, list(paths), width=WIDTH, height=heights, scale=SCALE)
        except (RuntimeError, ValueError, OSError, KaleidoError) as error:
            why = " ".join(str(error).split())[:160].rstrip(".")
            raise NoPictures(
                f"{_asked(formats)} need a Chrome or Chromium that kaleido can run ({type(error).__name__}: {why}); "
                "html and json need nothing."
            ) from error
        for path in paths:
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
            path.replace(out / path.name)
    return [out / path.name for path in paths]


def _put(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _asked(formats: Sequence[str]) -> str:
    return f"Pictures ({', '.join(formats)})"


def _flat(blocks: Sequence[Block]) -> list[Figure]:
    inner = [block.blocks if isinstance(block, Fold) else (block,) for block in blocks]
    return [block for group in inner for block in group if isinstance(block, Figure)]
