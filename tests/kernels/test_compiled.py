"""Every configured launch of every kernel compiles for four GPUs that are not here, and does not spill.

Triton keeps what it compiled on disk, so that only the first run, and the first after a change, takes its time.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hypertune import kernels
from hypertune.kernels import _compile
from hypertune.kernels._compile import TARGETS, compile_case

pytest.importorskip("triton")

# Shared memory of one program, in bytes.
_SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", kernels.names())
def test_every_case_compiles_and_the_default_ones_do_not_spill(name: str, target: str) -> None:
    cases = kernels.load(name).compiled()
    assert any(case.default for case in cases)
    assert len({case.label for case in cases}) == len(cases)
    for case in cases:
        if case.targets and target not in case.targets:
            continue
        found = compile_case(case, target)
        assert found.registers > 0
        assert found.loads > 0
        assert found.stores > 0
        assert found.shared <= _SHARED[target], case.label
        if case.default:
            assert found.spills == 0, case.label


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["phm_weight", "row_dropout"])
def test_long_rows_move_in_wide_accesses(name: str, target: str) -> None:
    aligned = [case for case in kernels.load(name).compiled() if case.divisible and "backward" not in case.label]
    for case in aligned:
        found = compile_case(case, target)
        assert found.wide_stores == found.stores or "n=2" in case.label, case.label


def test_a_spill_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import triton

    compiler = triton.compile

    def cramped(source: Any, target: Any, options: dict[str, Any]) -> Any:
        return compiler(source, target=target, options={**options, "maxnreg": 24})

    (case,) = (case for case in kernels.load("phm_weight").compiled() if case.label == "forward fp32 n=4")
    assert compile_case(case, "sm_90").spills == 0
    monkeypatch.setattr(triton, "compile", cramped)
    found = compile_case(case, "sm_90")
    assert found.registers <= 24
    assert found.spills > 0


def test_what_amds_assembly_says() -> None:
    found = _compile._read_amd(
        "global_load_dwordx4 v[0:3], v4\nbuffer_load_dword v5\nbuffer_store_dwordx2 v[0:1]\nv_mfma_f32_16x16x16_bf16 a\n"
        ".vgpr_count: 40\n.vgpr_spill_count: 3\n.private_segment_fixed_size: 16\n",
        SimpleNamespace(shared=512),
    )
    assert found == _compile.Artefact(40, 3 * 4 + 16, 512, 1, 2, 0, 1, 1)
    with pytest.raises(ValueError, match="vgpr_count"):
        _compile._read_amd("s_endpgm", SimpleNamespace(shared=0))
