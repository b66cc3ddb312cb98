from __future__ import annotations

import math

import pytest
import run as script
from comparison.figures import draw
from comparison.report import markdown
from comparison.results import Cell, Results
from comparison.tasks import TASKS
from comparison.trajectory import Point
from PIL import Image


def table():
    found = {}
    for task in ("diabetes-mlp", "mnist-cnn"):
        budget = 20 * TASKS[task].epochs
        for number, method in enumerate(("random", "tpe", "stn")):
            for seed in (0, 1):
                end = 0.5 - 0.1 * number + 0.02 * seed
                middle = Point(budget // 4, 1.0, end + 0.1, end + 0.2)
                found[Cell(seed, task, method, budget)] = [middle, Point(budget, 10.0, end, end)]
    return found


def row(text, heading, name):
    section = text.split(f"### {heading}")[1].split("###")[0]
    (line,) = [line for line in section.splitlines() if line.startswith(f"| {name} ")]
    return [entry.strip() for entry in line.removeprefix(f"| {name} |").strip("|").split("|")]


def test_report():
    text = markdown(table(), ours=["stn"], heading="What was run.")
    assert row(text, "Test loss", "tpe") == ["0.4100 ± 0.0100", "0.4100 ± 0.0100", "2.00 ± 0.00"]
    assert row(text, "Epochs paid", "random") == ["1200", "300"]
    assert row(text, "Seconds", "random") == ["10", "10"]
    ratio = f"{0.31 / 0.41:.3f}"
    assert row(text, "Against the best peer", "stn | mnist-cnn")[:2] == ["tpe", ratio]


def test_report_without_our_methods_has_no_comparison():
    assert "best peer" not in markdown(table(), ours=[], heading="")


def test_figure_of_a_partial_table(tmp_path):
    cells = table()
    del cells[Cell(0, "mnist-cnn", "tpe", 300)]
    del cells[Cell(1, "mnist-cnn", "tpe", 300)]
    cells[Cell(0, "mnist-cnn", "stn", 300)] = [Point(300, 1.0, math.nan, math.nan)]
    path = tmp_path / "figure.png"
    draw(cells, path)
    with Image.open(path) as image:
        colours = image.convert("RGB").getcolors(maxcolors=10**6)
    assert len(colours) > 20  # curves, not an empty page


def test_figures_before_any_incumbent(tmp_path):
    draw({Cell(0, "t", "m", 10): [Point(10, 1.0, math.nan, math.nan)]}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_script_reports_what_is_there(tmp_path, capsys):
    results = Results(tmp_path / "methods.csv")
    for cell, points in table().items():
        if cell.method != "stn":
            results.add(cell, points)
    assert script.main(["--report", "--out", str(tmp_path), "--methods", "random,tpe"]) == 0
    text = (tmp_path / "methods.md").read_text()
    assert text in capsys.readouterr().out
    assert row(text, "Test loss", "random") == ["0.5100 ± 0.0100", "0.5100 ± 0.0100", "2.00 ± 0.00"]
    assert "--methods random,tpe" in text
    assert (tmp_path / "methods.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "tpee"], "--methods: unknown 'tpee'; .*tpe"),
        (["--tasks", "diabetes"], "--tasks: unknown 'diabetes'; .*diabetes-mlp"),
        (["--seeds", "4-0"], "--seeds: '4-0'"),
        (["--seeds", "a"], "--seeds: 'a'"),
    ],
)
def test_script_refuses_what_it_does_not_know(tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        script.main([*arguments, "--out", str(tmp_path)])
    assert list(tmp_path.glob("*.csv")) == []


def test_seeds():
    assert script._seeds("0-2,5,1") == [0, 1, 2, 5]
