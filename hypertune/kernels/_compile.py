"""Compiles kernels ahead of time for GPUs that are not there, and reads what came out.

Triton keeps the results in its own cache on disk, so that a second run only reads them.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertune.kernels.contract import CompileCase

__all__ = ["TARGETS", "Artefact", "compile_case"]

# Name -> backend, architecture, threads of a warp.
TARGETS: Mapping[str, tuple[str, int | str, int]] = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "gfx942": ("hip", "gfx942", 64),
}


@dataclass(frozen=True, slots=True)
class Artefact:
    """What a compiled kernel uses.

    Attributes:
        registers: Vector registers of one thread.
        spills: Bytes of one thread that did not fit into registers and live in memory.
        shared: Bytes of shared memory (LDS) of one program.
        wide_loads: Loads from global memory of 128 bits for each thread.
        loads: All loads from global memory.
        wide_stores: Stores to global memory of 128 bits for each thread.
        stores: All stores to global memory.
        matrix_instructions: Instructions of the matrix units: mma, wgmma, tcgen05.mma, mfma.
    """

    registers: int
    spills: int
    shared: int
    wide_loads: int
    loads: int
    wide_stores: int
    stores: int
    matrix_instructions: int


def compile_case(case: CompileCase, target: str) -> Artefact:
    """Compile one case for one target; no GPU and no driver is needed.

    Args:
        case: What to compile.
        target: A key of `TARGETS`.

    Raises:
        Exception: Whatever Triton or the assembler raises when the kernel does not compile.
    """
    # Here, because this room is imported on machines without Triton.
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(case.signature)
    aligned = [name for name, kind in case.signature.items() if kind.startswith("*") or name in case.divisible]
    source = ASTSource(
        fn=case.function,
        signature=dict(case.signature),
        constexprs=dict(case.constexprs),
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": case.num_warps, "num_stages": case.num_stages, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget(*TARGETS[target]), options=options)
    if TARGETS[target][0] == "hip":
        return _read_amd(compiled.asm["amdgcn"], compiled.metadata)
    return _read_nvidia(compiled.asm["ptx"], compiled.asm["cubin"], compiled.metadata, Path(triton.__file__).parent)


def _read_nvidia(ptx: str, cubin: bytes, metadata: Any, triton_folder: Path) -> Artefact:
    tool = triton_folder / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name], check=True, capture_output=True, text=True
        ).stdout
    loads = re.findall(r"\bld\.global[\w.:]*", ptx)
    stores = re.findall(r"\bst\.global[\w.:]*", ptx)
    return Artefact(
        registers=_number(r"\bREG:(\d+)", usage),
        # Spilled registers live on the stack of the thread; these kernels have nothing else there.
        spills=_number(r"\bSTACK:(\d+)", usage) + _number(r"\bLOCAL:(\d+)", usage),
        shared=int(metadata.shared),
        wide_loads=sum(map(_is_wide, loads)) + len(re.findall(r"\bcp\.async\.\w+\.shared\.global[^;]*, 0x10", ptx)),
        loads=len(loads) + len(re.findall(r"\bcp\.async\.\w+\.shared\.global", ptx)),
        wide_stores=sum(map(_is_wide, stores)),
        stores=len(stores),
        matrix_instructions=len(re.findall(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)\b", ptx)),
    )


def _read_amd(assembly: str, metadata: Any) -> Artefact:
    loads = re.findall(r"\b(?:global|buffer)_load_(\w+)", assembly)
    stores = re.findall(r"\b(?:global|buffer)_store_(\w+)", assembly)
    return Artefact(
        registers=_number(r"\.vgpr_count:\s*(\d+)", assembly),
        spills=4 * _number(r"\.vgpr_spill_count:\s*(\d+)", assembly)
        + _number(r"\.private_segment_fixed_size:\s*(\d+)", assembly),
        shared=int(metadata.shared),  # the assembly says 0: the launch asks for it
        wide_loads=sum(kind.startswith("dwordx4") for kind in loads),
        loads=len(loads),
        wide_stores=sum(kind.startswith("dwordx4") for kind in stores),
        stores=len(stores),
        matrix_instructions=len(re.findall(r"\bv_mfma_\w+", assembly)),
    )


def _is_wide(instruction: str) -> bool:
    match = re.search(r"\.v(\d+)\.[a-z](\d+)$", instruction)
    return match is not None and int(match[1]) * int(match[2]) >= 128


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"the compiled kernel does not say {pattern}")
    return int(match[1])
