"""Figures inside a page: no script gets out of them, nothing is fetched, and missing values stay missing."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from probes.report import drawings, theme
from probes.report.figures import dress, embed, script_json
from probes.report.heatmap import heat_map


def spec_of(figure: go.Figure) -> dict[str, Any]:
    return json.loads(figure.to_json())


def test_json_cannot_end_its_script_element() -> None:
    value = {"a": "</script><!--<script>", "b": "\u2028&", "c": [math.nan, math.inf, 1.5]}
    text = script_json(value)
    assert "<" not in text
    assert ">" not in text
    assert "&" not in text
    assert "\\u003c/script" in text
    assert text.isascii()
    assert json.loads(text) == {"a": value["a"], "b": value["b"], "c": [None, None, 1.5]}


def test_only_harmless_tags_stay_tags() -> None:
    figure = go.Figure(
        go.Bar(x=["<script>x</script>", "<a href='javascript:x'>y</a>", "2 < 3"], y=[1, 2, 3], name="<b>n</b>")
    )
    figure.update_traces(hovertemplate="%{y}<br>more<extra></extra>")
    trace = dress(spec_of(figure))["data"][0]
    assert trace["x"] == ["&lt;script>x&lt;/script>", "&lt;a href='javascript:x'>y&lt;/a>", "2 &lt; 3"]
    assert trace["name"] == "<b>n</b>"
    assert trace["hovertemplate"] == "%{y}<br>more<extra></extra>"


def test_what_would_need_a_network_is_gone() -> None:
    tiles = {"type": "scattermap", "lat": [1], "lon": [1]}
    assert embed({"data": [tiles]}, name="n", title="t", caption="c") is None
    layout = {"images": [{"source": "https://example.org/a.png"}], "template": {"layout": {}}, "width": 300}
    dressed = dress({"data": [tiles, {"type": "scattergl", "y": [1]}], "layout": layout})
    assert [trace["type"] for trace in dressed["data"]] == ["scatter"]
    assert not {"images", "template", "width"} & set(dressed["layout"])


def test_a_figure_of_another_room_keeps_its_axes_and_gets_the_house_ground() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2])).update_layout(
        title="T", xaxis_title="X", yaxis_tickformat=".0%", height=300
    )
    before = figure.to_json()
    layout = dress(spec_of(figure))["layout"]
    assert layout["xaxis"]["title"]["text"] == "X"
    assert layout["yaxis"]["tickformat"] == ".0%"
    assert (layout["height"], layout["paper_bgcolor"], layout["legend"]["orientation"]) == (300, "rgba(0,0,0,0)", "h")
    assert "title" not in layout
    assert figure.to_json() == before


def test_style_dresses_a_plotly_figure() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2])).update_xaxes(title="X")
    assert theme.style(figure) is figure
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.xaxis.title.text == "X"


def luminance(ink: str) -> float:
    parts = [int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize(("inks", "page"), [(theme.LIGHT, "#fdfdfc"), (theme.DARK, "#12161b")])
def test_every_ink_stands_out_from_its_page(inks: dict[str, str], page: str) -> None:
    ground = luminance(page)
    for name, ink in inks.items():
        low, high = sorted([luminance(ink), ground])
        assert (high + 0.05) / (low + 0.05) >= 4.5, name


def test_every_ink_has_a_dark_twin() -> None:
    twins = theme.dark_twins()
    assert twins[theme.BASE.lower()] == theme.DARK["base"]
    assert len(twins) == len(theme.LIGHT) + len(theme.SEQUENTIAL)


DRAWN = {
    "recovery": lambda f: drawings.by_routed_share(f, value="recovery"),
    "dose": drawings.dose_response,
    "passk": drawings.pass_at_k,
    "weights": drawings.changed_by_layer,
    "strategies": drawings.strategy_bars,
    "places": drawings.places_in_text,
    "heat": heat_map,
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"unknown": [1.0]})])
def test_a_table_that_cannot_carry_a_figure_gives_none(name: str, frame: pd.DataFrame) -> None:
    assert DRAWN[name](frame) is None


def test_rows_without_a_value_are_left_out_and_all_missing_gives_none() -> None:
    frame = pd.DataFrame(
        {"arm": "forward", "gate": "js", "routed": [0.1, 0.02, np.nan], "recovery": [0.9, np.nan, 0.5]}
    )
    drawn = drawings.by_routed_share(frame, value="recovery")
    assert drawn is not None
    assert drawn["data"][0]["x"] == [10.0]
    assert drawings.by_routed_share(frame.assign(recovery=np.nan), value="recovery") is None


def test_intervals_reach_their_ends() -> None:
    row = {"arm": "a", "gate": "js", "routed": 0.04, "recovery": 0.9, "recovery_low": 0.8, "recovery_high": 1.05}
    drawn = drawings.by_routed_share(pd.DataFrame([row]), value="recovery")
    assert drawn is not None
    bars = drawn["data"][0]["error_y"]
    assert bars["array"] == pytest.approx([15.0])
    assert bars["arrayminus"] == pytest.approx([10.0])


def test_series_differ_in_more_than_colour_and_controls_are_hollow() -> None:
    rows = [(f"arm {i}", "js", 0.01 * i, 0.1 * i, i == 3) for i in range(1, 6)]
    frame = pd.DataFrame(rows, columns=["arm", "gate", "routed", "recovery", "control"])
    drawn = drawings.by_routed_share(frame, value="recovery")
    assert drawn is not None
    signs = [(trace["marker"]["symbol"], trace["line"]["dash"]) for trace in drawn["data"]]
    assert len(set(signs)) == len(signs)
    assert [trace["marker"]["symbol"].endswith("-open") for trace in drawn["data"]] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_the_heat_map_has_a_panel_a_place_and_leaves_holes_for_missing_cells() -> None:
    rows = [("a", 0, "start", 0.6), ("a", 1, "start", 0.7), ("b", 1, "start", 0.8), ("a", 0, "inner", 0.9)]
    drawn = heat_map(pd.DataFrame(rows, columns=["label", "layer", "place", "auroc"]))
    assert drawn is not None
    assert [trace["z"] for trace in drawn["data"]] == [[[0.6, 0.7], [None, 0.8]], [[0.9]]]
    top, bottom = drawn["layout"]["yaxis"]["domain"], drawn["layout"]["yaxis2"]["domain"]
    assert top[0] > bottom[1]
    assert bottom[0] == 0.0


def test_every_drawing_is_a_figure_that_plotly_accepts() -> None:
    frame = pd.DataFrame(
        {"model": ["base", "rl"], "k": [1, 1], "value": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]}
    )
    drawn = drawings.pass_at_k(frame)
    assert drawn is not None
    assert len(go.Figure(drawn).data) == 4
