"""The input shapes a shipped family can take."""

from __future__ import annotations

from hypertune.errors import FamilyError
from hypertune.records import InputType, TaskSpec

__all__ = ["check_dtype", "check_input"]

_LAYOUTS = {
    1: "(features,)",
    2: "(channels, length)",
    3: "(channels, height, width)",
    4: "(channels, depth, height, width)",
}


def check_input(task: TaskSpec, family: str, *, flat: bool = True, dtype: InputType = "float32") -> None:
    """Refuse inputs that a family has no network for.

    Args:
        task: Shape of the problem.
        family: The family's name.
        flat: Whether the family takes ``(features,)``.
        dtype: What the family computes with.

    Raises:
        FamilyError: The shape has no such layout, or an axis without cells; the inputs are of another type.
    """
    check_dtype(task, family, dtype)
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


def check_dtype(task: TaskSpec, family: str, dtype: InputType = "float32") -> None:
    """Refuse real inputs where a family computes with complex ones, and the other way round.

    Args:
        task: Shape of the problem.
        family: The family's name.
        dtype: What the family computes with.

    Raises:
        FamilyError: The task's inputs are of the other type.
    """
    if task.dtype == dtype:
        return
    if dtype == "complex64":
        fix = "convert the task's inputs: torch.complex(real, imag), or torch.fft.fft2(x) for a spectrum; or use cnn"
    else:
        fix = "use complex_cnn (its twin of real layers is `kind: real`), or give real and imaginary part as channels"
    raise FamilyError(
        f"{family} computes with {'complex' if dtype == 'complex64' else 'real'} numbers",
        where=f"family.{family}",
        given=f"a task of {task.dtype} inputs",
        expected=f"{dtype} inputs",
        fix=fix,
    )
