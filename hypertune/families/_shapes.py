"""The input shapes a shipped family can take."""

from __future__ import annotations

from hypertune.errors import FamilyError
from hypertune.records import TaskSpec

__all__ = ["check_input"]

_LAYOUTS = {
    1: "(features,)",
    2: "(channels, length)",
    3: "(channels, height, width)",
    4: "(channels, depth, height, width)",
}


def check_input(task: TaskSpec, family: str, *, flat: bool = True) -> None:
    """Refuse an input shape that a family has no network for.

    Args:
        task: Shape of the problem.
        family: The family's name.
        flat: Whether the family takes ``(features,)``.

    Raises:
        FamilyError: The shape has no such layout, or an axis without cells.
    """
    shape = task.input_shape
    layouts = [layout for axes, layout in _LAYOUTS.items() if flat or axes > 1]
    if len(shape) == 1 and not flat:
        problem, fix = "needs channels and space, and this task has flat inputs", "use the family mlp or phnn"
    elif len(shape) not in _LAYOUTS or min(shape) < 1:
        problem, fix = "has no network for this input shape", "reshape the task's inputs, or use the family mlp"
    else:
        return
    raise FamilyError(
        f"{family} {problem}",
        where=f"family.{family}",
        given=shape,
        expected=f"input_shape {' or '.join(layouts)}",
        fix=fix,
    )
