"""What a figure module offers as its ``FIGURE``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hypertune.reporting._chart import Panel
from hypertune.reporting._study import Study

__all__ = ["Draw", "Drawing", "Figure", "LeftOut"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure of a study.

    Attributes:
        views: Panels by the name of the view; the first is shown, the reader switches between them. A figure with one
            view names it ``""``.
        caption: How to read it, and what is not in it.
    """

    views: Mapping[str, Sequence[Panel]]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The study has nothing for the figure; ``reason`` says what is missing."""

    reason: str


Draw: TypeAlias = Callable[[Sequence[Study]], Drawing | LeftOut]


@dataclass(frozen=True, slots=True)
class Figure:
    """A kind of figure.

    Attributes:
        title: Its heading.
        draw: Draws it. The studies are one, unless the figure compares several.
        compares: Whether it takes several studies together; others are drawn for each study in turn.
    """

    title: str
    draw: Draw
    compares: bool = False
