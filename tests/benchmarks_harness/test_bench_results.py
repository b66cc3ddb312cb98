from __future__ import annotations

import math

import pytest
from comparison.results import Cell, Results
from comparison.trajectory import Point

A, B = Cell(0, "task", "tpe", 100), Cell(1, "task", "tpe", 100)
POINTS = [Point(10, 0.25, 0.5, 0.6), Point(100, 3.5, 0.25, 0.125)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "table.csv"


def test_round_trip(path):
    results = Results(path)
    results.add(A, POINTS)
    results.add(B, [Point(100, 1.0, math.nan, math.nan)])
    again = Results(path)
    assert list(again.cells) == [A, B]
    assert again.cells[A] == POINTS
    assert math.isnan(again.cells[B][0].test)
    again.add(Cell(2, "task", "tpe", 100), POINTS)
    assert len(Results(path).cells) == 3


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_cut_anywhere_keeps_whole_cells_only(path, cut):
    results = Results(path)
    results.add(A, POINTS)
    whole = len(path.read_text())
    results.add(B, POINTS)
    text = path.read_text()
    path.write_text(text[:-cut])
    kept = Results(path).cells
    assert set(kept) == ({A} if len(text) - cut >= whole else set())
    # What was dropped is gone from the file too, so that the cell can be added again.
    again = Results(path)
    again.add(B, POINTS)
    assert Results(path).cells[B] == POINTS
    assert path.read_text().count("method,") == 1


def test_rows_of_an_unfinished_cell_before_others_are_dropped(path):
    results = Results(path)
    results.add(A, POINTS)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("tpe", "gp") + "".join(lines[1:]))
    assert list(Results(path).cells) == [A]
    assert "gp" not in path.read_text()


def test_other_budgets_are_dropped_for_good(path):
    results = Results(path)
    results.add(A, POINTS)
    other = Cell(0, "other", "tpe", 7)
    results.add(other, POINTS)
    assert results.drop_other_budgets({"task": 100, "other": 8}) == [other]
    assert list(Results(path).cells) == [A]
    assert results.drop_other_budgets({"task": 100}) == []


def test_bad_input(path):
    results = Results(path)
    results.add(A, POINTS)
    with pytest.raises(ValueError, match="already"):
        results.add(A, POINTS)
    with pytest.raises(ValueError, match="no points"):
        results.add(B, [])
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other columns: a, b"):
        Results(path)
