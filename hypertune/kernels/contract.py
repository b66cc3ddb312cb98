"""What a kernel tells its tests, its report and ``hypertune doctor``.

Adding a kernel is one file ``kernels/<name>.py`` with the public function and ``KERNEL``, and one private file
``kernels/_<name>_triton.py`` with the functions Triton compiles. The public file imports the private one on use, so
that a machine without Triton, or without a GPU, never pays for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["CompileCase", "Kernel", "Work", "Workload"]


@dataclass(frozen=True, slots=True)
class CompileCase:
    """One function for Triton to compile ahead of time, as a launch would specialise it.

    Attributes:
        label: What it is and for what, unique in its op: ``forward fp32 n=4``.
        function: The ``@triton.jit`` function.
        signature: Triton type of each argument in order: ``*fp32`` a pointer, ``i32`` a number, ``constexpr``.
        constexprs: Values of the arguments whose type is ``constexpr``.
        num_warps: Warps of one program.
        num_stages: Stages of software pipelining.
        divisible: Integer arguments that are multiples of 16 in this case; pointers always are.
        default: Whether the op launches this for its usual shapes; those must not spill registers.
        targets: Names of the only targets it is launched on; empty: all.
    """

    label: str
    function: Any
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    num_warps: int
    num_stages: int = 2
    divisible: Sequence[str] = ()
    default: bool = True
    targets: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What one forward and backward pass costs, by formula.

    Attributes:
        moved: Bytes read from and written to device memory by the kernels.
        operations: Floating-point operations, a multiply-add being two.
        launches: Kernels launched.
        eager_moved: Bytes moved by the same computation in eager PyTorch, operator by operator.
        eager_launches: Kernels eager PyTorch launches.
        matrix: Whether the operations are matrix products in half precision, which run on matrix units.
    """

    moved: float
    operations: float
    launches: int
    eager_moved: float
    eager_launches: int
    matrix: bool = False


@dataclass(frozen=True, slots=True)
class Workload:
    """One realistic size of an op, to predict and to measure.

    Attributes:
        label: Sizes and dtype, short: ``64->64 3x3, n=4, fp32``.
        inputs: Makes the op's arguments on a device; those that need a gradient say so.
        work: What forward and backward of it cost.
    """

    label: str
    inputs: Callable[[torch.device], tuple[Any, ...]]
    work: Work


@dataclass(frozen=True, slots=True)
class Kernel:
    """One op: its public function, and what is needed to test, report and measure it.

    Attributes:
        name: Name of its module and of its operator, ``hypertune::<name>``.
        op: The public function, which dispatches. Called with a workload's or an example's arguments.
        reference: The same in plain PyTorch operators, called with the same arguments.
        compiled: Returns every case to compile ahead of time; imports Triton.
        example: Makes small arguments from a seed, a dtype and a device.
        workloads: Realistic sizes.
        tolerance: Per dtype, the relative and absolute tolerance against a float64 reference.
        operators: Makes, for a device, pairs of a registered operator and its arguments, for ``torch.library.opcheck``.
        random: Whether the result is random, so that op and reference agree in distribution only.
    """

    name: str
    op: Callable[..., Any]
    reference: Callable[..., Any]
    compiled: Callable[[], Sequence[CompileCase]]
    example: Callable[[int, torch.dtype, torch.device], tuple[Any, ...]]
    workloads: Sequence[Workload]
    tolerance: Mapping[torch.dtype, tuple[float, float]]
    operators: Callable[[torch.device], Sequence[tuple[Any, tuple[Tensor | Any, ...]]]]
    random: bool = field(default=False)
