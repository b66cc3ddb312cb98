"""What a person sees of a study in the MLflow UI, in a real browser.

One file, so that workers that share tests by file start one study, one server and one browser.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # SQLAlchemy 2.1 about MLflow
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),  # mlflow.types.responses
]

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


def open_children(page: Any, study: Any) -> None:
    """Open the table of runs, with the trials below their study."""
    page.goto(study.url(f"/experiments/{study.experiment}/runs"))
    page.get_by_text("self-tuned").first.wait_for()
    page.locator(".ag-row button").first.click()
    page.get_by_role("link", name="trial 000").first.wait_for()


def test_the_studys_page_says_what_won(page: Any, study: Any, screenshot: Callable[[str], None]) -> None:
    page.goto(study.url(f"/experiments/{study.experiment}/runs/{study.run}"))
    for late in (
        "how far to trust it",
        "trial 002",
        "cost/epochs",
        f"{study.task} train",
    ):  # each is a request of its own
        page.get_by_text(late).first.wait_for()
    text = page.inner_text("body")
    for said in ("best val/loss", "tuned to", "best/value", "cost/epochs", f"{study.task} train", "trial 002"):
        assert said in text, said
    screenshot("study")


def test_the_table_shows_the_study_and_its_trials(page: Any, study: Any, screenshot: Callable[[str], None]) -> None:
    open_children(page, study)
    names = set(re.findall(r"trial \d{3}", page.inner_text("body")))
    assert {"trial 000", "trial 001", "trial 002"} <= names
    screenshot("runs")


def test_a_printed_filter_finds_the_winner(page: Any, study: Any) -> None:
    query = urllib.parse.quote(f"tags.mlflow.parentRunId = '{study.run}' and tags.hypertune.winner = 'true'")
    page.goto(study.url(f"/experiments/{study.experiment}/runs?searchFilter={query}"))
    page.get_by_text(re.compile(r"matching run")).first.wait_for()
    page.locator(".ag-row button").first.click()  # MLflow shows the study that a found trial belongs to
    page.get_by_role("link", name=re.compile(r"trial \d{3}")).first.wait_for()
    assert len(set(re.findall(r"trial \d{3}", page.inner_text("body")))) == 1


def test_a_trials_metrics_show_what_it_tuned(page: Any, study: Any, screenshot: Callable[[str], None]) -> None:
    open_children(page, study)
    page.get_by_role("link", name="trial 001").first.click()
    page.get_by_role("tab", name=re.compile("[Mm]etrics")).first.click()
    # Only charts in view are drawn: leave those of this one series and of its end.
    page.get_by_placeholder("Search metric charts").fill("hp/dropout")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .scatterlayer path.js-line').length > 0")
    assert "dropout" in page.inner_text("body")
    screenshot("trial-metrics")


def test_the_compare_page_draws_parallel_coordinates(page: Any, study: Any, screenshot: Callable[[str], None]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{study.folder / 'runs' / 'mlflow.db'}")
    trials = client.search_runs([study.experiment], f"tags.mlflow.parentRunId = '{study.run}'")
    runs = urllib.parse.quote(str([run.info.run_id for run in trials]).replace("'", '"'))
    experiments = urllib.parse.quote(f'["{study.experiment}"]')
    page.goto(study.url(f"/compare-runs?runs={runs}&experiments={experiments}"))
    page.get_by_text("Parallel Coordinates Plot").first.wait_for()
    page.wait_for_function("document.querySelectorAll('.parcoords canvas, .js-plotly-plot canvas').length > 0")
    assert "dropout" in page.inner_text("body")
    screenshot("compare")


def test_the_best_model_is_registered(page: Any, study: Any, screenshot: Callable[[str], None]) -> None:
    page.goto(study.url("/models/self-tuned-mlp"))
    page.get_by_text("champion").first.wait_for()
    assert "Version 1" in page.inner_text("body")
    screenshot("registered-model")


def test_the_report_in_the_artifact_viewer_draws_its_figures(
    page: Any, study: Any, screenshot: Callable[[str], None]
) -> None:
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
