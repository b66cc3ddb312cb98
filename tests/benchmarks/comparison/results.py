"""The raw table as a CSV file: a cell is in it as a whole or not at all."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from comparison.trajectory import Point

__all__ = ["Cell", "Results"]

_COLUMNS = ("method", "task", "seed", "budget", "epochs", "seconds", "value", "test", "last")


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One search: a method on a task with a seed; ``budget`` is the epochs that a peer may spend."""

    seed: int
    task: str
    method: str
    budget: int


class Results:
    """Finished cells and their trajectories, in a file that a killed run leaves readable.

    The rows of a cell are appended at once; what a run that died in between left of a cell is dropped when the file is
    read, and removed from it.

    Args:
        path: The CSV file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cells: dict[Cell, list[Point]] = {}
        if path.exists():
            self._read()

    @property
    def cells(self) -> Mapping[Cell, Sequence[Point]]:
        """Trajectory of each finished cell."""
        return self._cells

    def add(self, cell: Cell, points: Sequence[Point]) -> None:
        """Append a finished cell.

        Raises:
            ValueError: It is there already, or has no points.
        """
        if cell in self._cells or not points:
            raise ValueError(f"{cell} is in the table already" if points else f"{cell} has no points")
        self._cells[cell] = list(points)
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write((_text([_COLUMNS]) if new else "") + _text(_rows(cell, points)))
            file.flush()
            os.fsync(file.fileno())

    def drop_other_budgets(self, budgets: Mapping[str, int]) -> list[Cell]:
        """Remove the cells of tasks whose budget has changed since, and return them."""
        stale = [cell for cell in self._cells if budgets.get(cell.task, cell.budget) != cell.budget]
        for cell in stale:
            del self._cells[cell]
        if stale:
            self._write()
        return stale

    def _read(self) -> None:
        open_cell: Cell | None = None
        points: list[Point] = []
        text = self.path.read_text(encoding="utf-8")
        whole, _, torn = text.rpartition("\n")
        rows = list(csv.reader(io.StringIO(whole)))
        if rows and tuple(rows[0]) != _COLUMNS:
            raise ValueError(f"{self.path} has other columns: {', '.join(rows[0])}")
        for row in rows[1:]:
            if len(row) != len(_COLUMNS):
                open_cell, points = None, []
                continue
            method, task, seed, budget, epochs, seconds, value, test, last = row
            cell = Cell(int(seed), task, method, int(budget))
            if cell != open_cell:
                open_cell, points = cell, []
            points.append(Point(int(epochs), float(seconds), float(value), float(test)))
            if last == "1":
                self._cells[cell] = points
                open_cell, points = None, []
        if torn or sum(map(len, self._cells.values())) != len(rows) - 1:
            self._write()

    def _write(self) -> None:
        text = _text([_COLUMNS]) + "".join(_text(_rows(cell, points)) for cell, points in self._cells.items())
        beside = self.path.with_suffix(".tmp")
        beside.write_text(text, encoding="utf-8")
        beside.replace(self.path)


def _rows(cell: Cell, points: Sequence[Point]) -> list[tuple[object, ...]]:
    end = len(points) - 1
    return [
        (
            cell.method,
            cell.task,
            cell.seed,
            cell.budget,
            point.epochs,
            f"{point.seconds:.2f}",
            f"{point.value:.6g}",
            f"{point.test:.6g}",
            int(number == end),
        )
        for number, point in enumerate(points)
    ]


def _text(rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
