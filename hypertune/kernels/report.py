"""Writes ``docs/kernels.md``: what the kernels compile to and what the roofline predicts; needs no GPU.

``python -m hypertune.kernels.report [file]``; the file is ``docs/kernels.md`` by default.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

from hypertune import kernels
from hypertune.kernels._compile import TARGETS, Artefact, compile_case
from hypertune.kernels._roofline import H100, predict
from hypertune.kernels.contract import Kernel

__all__ = ["main", "report"]

_INTRODUCTION = """\
# Kernels

Written by `make kernels-report`, with Triton {triton}; no GPU is needed and none was used. Measured figures come from
`hypertune doctor --kernels` on a GPU, which prints them next to the predicted ones.

Each op is a Triton kernel on CUDA and ROCm devices and plain PyTorch everywhere else. `HYPERTUNE_KERNELS` chooses:
`auto` (by default), `reference` (no kernel is launched) or `triton` (a kernel that fails raises its error instead of
falling back).
"""
_PREDICTED = """\
## Predicted

One forward and backward pass on an {name}: the larger of bytes / {bandwidth:.2f} TB/s and operations /
{vector:.0f} TF/s ({matrix:.0f} TF/s for matrix products in half precision), plus {launch:.0f} us for every launch.
Nothing of this is measured.

| op | size | bytes | eager bytes | bound by | predicted | eager | ratio |
|---|---|---|---|---|---|---|---|
"""
_COMPILED = """\
## Compiled

Ahead of time, for each launch that is configured. Registers and spilled bytes of a thread, shared memory of a program,
loads and stores of 128 bits for each thread among all that reach global memory, instructions of the matrix units.
"""
_HEADER = """\
| case | target | registers | spilled | shared | wide loads | wide stores | matrix |
|---|---|---|---|---|---|---|---|
"""


def report() -> str:
    """Return the report as Markdown; compiles what is not in Triton's cache."""
    every = [kernels.load(name) for name in kernels.names()]
    rows = "".join(_prediction_row(kernel, index) for kernel in every for index in range(len(kernel.workloads)))
    predicted = _PREDICTED.format(
        name=H100.name,
        bandwidth=H100.bandwidth / 1e12,
        vector=H100.vector / 1e12,
        matrix=H100.matrix / 1e12,
        launch=H100.launch * 1e6,
    )
    parts = [_INTRODUCTION.format(triton=version("triton")), predicted + rows, _COMPILED]
    parts += [f"### {kernel.name}\n\n{_HEADER}{_compiled_rows(kernel)}" for kernel in every]
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the report; the only argument is the file."""
    path = Path(arguments[0] if arguments else "docs/kernels.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report(), encoding="utf-8")
    return 0


def _prediction_row(kernel: Kernel, index: int) -> str:
    workload = kernel.workloads[index]
    work, found = workload.work, predict(workload.work)
    return (
        f"| {kernel.name} | {workload.label} | {_size(work.moved)} | {_size(work.eager_moved)} | {found.bound} "
        f"| {found.seconds * 1e6:.0f} us | {found.eager_seconds * 1e6:.0f} us | {found.ratio:.1f} |\n"
    )


def _compiled_rows(kernel: Kernel) -> str:
    return "".join(
        _compiled_row(case.label if case.default else f"{case.label} (not default)", target, compile_case(case, target))
        for case in kernel.compiled()
        for target in TARGETS
        if not case.targets or target in case.targets
    )


def _compiled_row(label: str, target: str, found: Artefact) -> str:
    return (
        f"| {label} | {target} | {found.registers} | {found.spills} | {_size(found.shared)} "
        f"| {found.wide_loads} of {found.loads} | {found.wide_stores} of {found.stores} "
        f"| {found.matrix_instructions} |\n"
    )


def _size(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
