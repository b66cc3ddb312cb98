from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import ray
import yaml

from hypertune.errors import ConfigError
from hypertune.reporting.dashboards import dashboard_file, read_dashboard, shipped_dashboards
from hypertune.reporting.report import write_report

ROOT = Path(__file__).parent.parent.parent


def test_shipped_dashboards_are_found_by_name():
    assert {"study", "self_tuning", "comparison", "many_tasks", "mip", "faults"} == set(shipped_dashboards())
    content = yaml.safe_load(dashboard_file("study").read_text())
    for template in content["filters"].values():
        assert "r1" in template.format_map({"parent_run_id": "r1"})
    with pytest.raises(ConfigError, match="did you mean 'study'"):
        dashboard_file("studdy")


@pytest.mark.parametrize("name", sorted(shipped_dashboards()))
def test_every_shipped_dashboard_makes_a_report(name, ordinary, tmp_path):
    dashboard = read_dashboard(name)
    assert dashboard.figures
    files = write_report([ordinary.path], tmp_path / "out", dashboard=name)
    assert files.html.stat().st_size > 4e6


def test_a_dashboard_of_ones_own(ordinary, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "title: what I look at\nfigures: [workers]\n"
        "tables: [{trials: {columns: [number, 'params.*r', value], states: [complete], limit: 3}}]\n"
    )
    dashboard = read_dashboard(file)
    assert (dashboard.title, dashboard.figures, dashboard.limit) == ("what I look at", ("workers",), 3)
    text = write_report([ordinary.path], tmp_path / "out", dashboard=file).html.read_text()
    assert "<h1>what I look at</h1>" in text
    assert "The best 3 of 12 trials." in text
    heads = re.findall(r"<th[^>]*><button[^>]*>([^<]*)</button>", text)
    assert heads == ["trial", "lr", "value"]
    assert re.findall(r'<tr id="trial-0-(\d+)"', text) == ["5", "4", "6"]


def test_a_figure_of_ones_own(ordinary, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_figures.py").write_text(
        "from hypertune.reporting.figures.contract import Figure, LeftOut\n"
        "MINE = Figure('Mine', lambda studies: LeftOut(f'nothing of {studies[0].name}'))\n"
    )
    (tmp_path / "mine.yaml").write_text('figures: ["my_figures:MINE"]\ntables: []\n')
    files = write_report([ordinary.path], tmp_path / "out", dashboard=tmp_path / "mine.yaml")
    assert "Mine: nothing of s" in files.html.read_text()
    (tmp_path / "mine.yaml").write_text('figures: ["my_figures:YOURS"]\n')
    with pytest.raises(ConfigError, match=r"dashboard\.figures.*'my_figures' has no 'YOURS'"):
        write_report([ordinary.path], tmp_path / "out", dashboard=tmp_path / "mine.yaml")


MISTAKES = [
    ("figures: [histroy]", "dashboard.figures: no such name; given 'histroy'.*did you mean 'history'"),
    ("figurs: []", "dashboard.figurs: unknown key.*did you mean 'figures'"),
    ("figures: history", "dashboard.figures: no list"),
    ("tables: [trails]", "dashboard.tables.0: no such name.*did you mean 'trials'"),
    ("tables: [{trials: {colums: []}}]", "trials.colums: unknown key.*did you mean 'columns'"),
    ("tables: [{trials: {states: [failled]}}]", "trials.states: no such name.*did you mean 'failed'"),
    ("tables: [{trials: {limit: 0}}]", "trials.limit: no number of rows"),
    ("tables: [{winner: {limit: 2}}]", "dashboard.tables.0: this table has no options"),
    ("[1]", "dashboard: no mapping"),
    ("a: [", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_in_a_dashboard_is_named(text, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_dashboard(tmp_path / "mine.yaml")


def test_an_unknown_column_is_named_and_a_missing_file_too(ordinary, tmp_path):
    (tmp_path / "mine.yaml").write_text("tables: [{trials: {columns: [numbr]}}]")
    with pytest.raises(ConfigError, match="did you mean 'number'"):
        write_report([ordinary.path], tmp_path / "out", dashboard=tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match="is not found"):
        read_dashboard(tmp_path / "other.yaml")


def grafana():
    return json.loads((ROOT / "dashboards" / "grafana_ray.json").read_text())


def test_the_grafana_dashboard_is_importable():
    board = grafana()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= board.keys()
    assert "id" not in board  # Grafana gives it one of its own on import
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
            assert panel["description"]
            assert [target["refId"] for target in panel["targets"]] == sorted({t["refId"] for t in panel["targets"]})
    titles = {panel["title"] for panel in board["panels"]}
    assert {"CPU", "GPU", "Memory", "GPU memory", "Workers by state", "Object store by node"} <= titles
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps([board["panels"], board["templating"]]))) - {"__all"}
    assert used <= variables


def test_the_grafana_dashboard_asks_for_metrics_that_ray_exports():
    folder = Path(ray.__file__).parent / "dashboard" / "modules"
    sources = [*(folder / "metrics" / "dashboards").glob("*.py"), *(folder / "reporter").glob("*.py")]
    text = "\n".join(source.read_text() for source in sources)
    # Ray puts "ray_" before the names of its own gauges when it exports them.
    known = set(re.findall(r"\bray_\w+", text)) | {f"ray_{name}" for name in re.findall(r'Gauge\(\s*"(\w+)"', text)}
    expressions = [target["expr"] for panel in grafana()["panels"] for target in panel.get("targets", [])]
    expressions += [v["query"]["query"] for v in grafana()["templating"]["list"] if v["type"] == "query"]
    asked = {name for expression in expressions for name in re.findall(r"\bray_\w+", expression)}
    assert len(asked) >= 12
    assert asked <= known
    for expression in expressions:
        for opening, closing in ("()", "{}"):
            assert expression.count(opening) == expression.count(closing)
        for label in re.findall(r"(\w+)=~?\"|(\w+)!=", expression):
            assert "".join(label) in {"State", "Source", "Name", "instance", "SessionName", "Location"}
