"""Two small pages for a run of the router by itself: its curves and tables, and its texts token by token.

Both are whole files: no request leaves them. Whatever a model wrote is escaped. What they do not show: more than the
tables beside them hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from probes.report.tokens import stylesheet, tokens_html
from probes.results import Result, rounded

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: .85rem; } td, th { padding: .2rem .6rem; text-align: right; }
th { border-bottom: 1px solid; } td:first-child, th:first-child { text-align: left; }
.wide { overflow-x: auto; } article { margin: 1.5rem 0; }
"""
KEY = (
    "Underlined: the tuned model wrote it; underlined with dashes: the steered base; dots: the gate was open and "
    "changed nothing."
)


def curves_page(
    title: str,
    result: Result,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> str:
    """Curves and tables of one run.

    Args:
        title: of the page.
        result: whose headline stands on top.
        tables: by caption.
        figures: plotly figures by caption; the first brings plotly along.
        notes: sentences below the headline.
    """
    parts = [Markup("<p><strong>{}</strong></p>").format(result.headline())]
    parts += [Markup("<p>{}</p>").format(note) for note in notes]
    for place, (caption, figure) in enumerate(figures.items()):
        drawn = figure.to_html(full_html=False, include_plotlyjs=place == 0, config={"displaylogo": False})
        parts.append(Markup("<h2>{}</h2>{}").format(caption, Markup(drawn)))
    for caption, table in tables.items():
        shown = rounded(table).to_html(index=False, escape=True, na_rep="", border=0)
        parts.append(Markup('<h2>{}</h2><div class="wide">{}</div>').format(caption, Markup(shown)))
    return _page(title, parts)


def tokens_page(title: str, texts: Sequence[Mapping[str, Any]]) -> str:
    """Mixed texts token by token.

    Args:
        title: of the page.
        texts: ``problem``, ``prompt``, ``correct`` and ``tokens`` (mappings of :class:`probes.report.tokens.Token`).
    """
    parts = [Markup("<p>{}</p>").format(KEY)]
    for text in texts:
        verdict = {True: "correct", False: "wrong"}.get(text["correct"], "not graded")
        body = tokens_html(text["tokens"], label=f"Text for problem {text['problem']}", standalone=False)
        parts.append(
            Markup("<article><h2>{} ({})</h2><p>{}</p>{}</article>").format(
                text["problem"], verdict, text["prompt"], body
            )
        )
    return _page(title, parts)


def _page(title: str, parts: Sequence[Markup]) -> str:
    head = Markup('<meta charset="utf-8"><title>{}</title><style>{}</style>').format(
        title, Markup(STYLE + stylesheet())
    )
    body = Markup("\n").join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>\n{body}</body></html>\n'
