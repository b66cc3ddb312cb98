"""The study report inside MLflow's artifact viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser

# Figures whose drawing has marks of data: lines, points or bars of some size.
DRAWN = """
() => [...document.querySelectorAll('.js-plotly-plot')].map(plot => {
    const box = plot.getBoundingClientRect();
    const marks = plot.querySelectorAll(
        '.scatterlayer path, .barlayer path, .heatmaplayer image, .contourlayer path, .cartesianlayer .point path'
    ).length + plot.querySelectorAll('canvas').length;
    return {width: box.width, height: box.height, marks: marks};
})
"""


def test_its_figures_are_drawn(page: Any, study: Any, screenshot: Callable[[str], None]) -> None:
    page.goto(study.url(f"/experiments/{study.experiment}/runs/{study.run}/artifacts/report/report.html"))
    page.locator("iframe").first.wait_for()
    frame = next(frame for frame in page.frames if frame != page.main_frame)
    frame.get_by_text("self-tuned").first.wait_for()
    frame.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
    screenshot("report-top")
    frame.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    frame.wait_for_function(
        "document.querySelectorAll('.js-plotly-plot .scatterlayer path, .js-plotly-plot .barlayer path').length > 0"
    )
    figures = frame.evaluate(DRAWN)
    assert len(figures) >= 3, figures
    drawn = [figure for figure in figures if figure["marks"] > 0 and figure["width"] > 100 and figure["height"] > 80]
    assert len(drawn) >= len(figures) / 2, figures
    assert "val/loss" in frame.inner_text("body")
    screenshot("report")
