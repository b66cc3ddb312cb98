"""What is predicted over a search space: a table of the best, and all configurations as parallel coordinates."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from hypertune.errors import StorageError
from hypertune.records import Params
from hypertune.reporting._chart import Axis, Mark, Panel
from hypertune.reporting._matplotlib import write_png

__all__ = ["Landscape"]

_MAX_LINES = 400
_MAX_NAME = 14
_BEST = 0.05


@dataclass(frozen=True, slots=True)
class Landscape:
    """Configurations and what is predicted for them, the lowest prediction first.

    Attributes:
        title: What was predicted for what.
        entries: The predicted hyperparameters as `SearchSpace.to_mapping` has them, in order.
        points: ``(n, d)`` in [0, 1], one column for each.
        params: The same configurations as values.
        predicted: Predicted validation losses, ``(n,)``, rising; infinite ones last.
        facts: Cost, head and names of the hypernetwork.
    """

    title: str
    entries: Mapping[str, Mapping[str, Any]]
    points: NDArray[np.float64]
    params: Sequence[Params]
    predicted: NDArray[np.float64]
    facts: Mapping[str, Any]

    def rows(self, top: int) -> list[list[str]]:
        """Return the first ``top`` configurations as text: rank, prediction, and a value for each hyperparameter."""
        return [
            [str(rank), f"{loss:.4g}", *(_text(params[name]) for name in self.entries)]
            for rank, (loss, params) in enumerate(zip(self.predicted[:top], self.params[:top], strict=True), start=1)
        ]

    def write(self, folder: Path) -> list[Path]:
        """Write ``landscape.csv``, ``landscape.html`` (one file, no network needed) and ``landscape.png``.

        Raises:
            StorageError: The folder cannot be written.
        """
        files = [folder / f"landscape.{kind}" for kind in ("csv", "html", "png")]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with files[0].open("w", newline="", encoding="utf-8") as stream:
                table = csv.writer(stream)
                table.writerow(["rank", "predicted", *self.entries])
                for rank, (loss, params) in enumerate(zip(self.predicted, self.params, strict=True), start=1):
                    table.writerow([rank, float(loss), *(params[name] for name in self.entries)])
            self.figure().write_html(files[1], include_plotlyjs=True, full_html=True)
            write_png([self.panel()], files[2], title=self.title)
        except OSError as error:
            raise StorageError(
                f"the landscape cannot be written: {error.strerror or error}",
                where="--out",
                given=str(folder),
                fix="free disk space, or name a folder that can be written",
            ) from error
        return files

    def figure(self) -> go.Figure:
        """Return the interactive figure: ranges can be chosen on every axis, which are then lines of those only."""
        finite = self._finite()
        dimensions = []
        for column, (name, entry) in enumerate(self.entries.items()):
            heights = self.points[finite, column]
            dimensions.append(
                {"label": name, "values": heights, "range": [0, 1], "tickvals": _HEIGHTS, "ticktext": _ticks(entry)}
            )
        losses = self.predicted[finite]
        dimensions.append({"label": "predicted loss", "values": losses})
        line = {"color": np.arange(len(losses)), "colorscale": "Viridis", "showscale": False}
        figure = go.Figure(go.Parcoords(line=line, dimensions=dimensions))
        figure.update_layout(title={"text": self.title}, template="plotly_white", margin={"t": 110})
        return figure

    def panel(self) -> Panel:
        """Return the still figure: a line for each configuration, the best twentieth in front."""
        finite = self._finite()
        count, size = len(finite), len(self.entries)
        kept = finite[:: max(1, math.ceil(count / _MAX_LINES))]
        last = max(count - 1, 1)
        marks = [Mark("line", [i, i], [0.0, 1.0], "muted", width=1) for i in range(size + 1)]
        best = [rank for rank in kept if 0 < rank <= _BEST * count]
        others = [rank for rank in kept if rank > _BEST * count]
        for ranks, colour, opacity in ((others, "muted", 0.25), (best, "best", 0.6), ([0], "winner", 1.0)):
            x: list[float | None] = []
            y: list[float | None] = []
            for rank in ranks:
                x += [*map(float, range(size + 1)), None]
                y += [*map(float, self.points[rank]), 1 - rank / last, None]
            width = 3.0 if colour == "winner" else 1.0
            marks.append(Mark("line", x, y, colour, width=width, opacity=opacity))  # type: ignore[arg-type]
        ticks = {}
        for i, (name, entry) in enumerate(self.entries.items()):
            low, *_, high = _ticks(entry)
            ticks[float(i)] = f"{name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + '…'}\n{low}…{high}"
        ticks[float(size)] = "rank"
        return Panel(
            marks,
            Axis("", range=(-0.3, size + 0.3), ticks=ticks),
            Axis("", range=(-0.05, 1.05), ticks={0.0: "low", 1.0: "high"}),
            height=380,
            min_width=90 * (size + 1),
        )

    def _finite(self) -> NDArray[np.intp]:
        return np.flatnonzero(np.isfinite(self.predicted))


_HEIGHTS = [0.0, 0.25, 0.5, 0.75, 1.0]


def _ticks(entry: Mapping[str, Any]) -> list[str]:
    """Return what the values at `_HEIGHTS` are, of numbers; the choices at the ends, of a choice."""
    if "choices" in entry:
        choices = entry["choices"]
        return [_text(choices[min(int(height * len(choices)), len(choices) - 1)]) for height in _HEIGHTS]
    low, high = float(entry["low"]), float(entry["high"])
    if entry.get("log"):
        low, high = math.log(low), math.log(high)
        return [f"{math.exp(low + height * (high - low)):.3g}" for height in _HEIGHTS]
    return [f"{low + height * (high - low):.3g}" for height in _HEIGHTS]


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
