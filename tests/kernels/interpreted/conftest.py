"""What Triton's interpreter lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from triton.runtime import interpreter


@pytest.fixture(autouse=True)
def _products_of_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter keeps bfloat16 as 16-bit integers, and its dot multiplies those integers: give it the values."""
    multiply = interpreter.InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *others: Any) -> Any:
        return multiply(self, _widened(a), _widened(b), *others)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def _widened(handle: Any) -> Any:
    if handle.dtype.scalar != interpreter.tl.bfloat16:
        return handle
    values = (handle.data.astype(np.uint32) << 16).view(np.float32)
    return interpreter.TensorHandle(values, interpreter.tl.float32)
