"""Which path ``hypertune doctor --kernels`` shows, and how it puts measured beside predicted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from hypertune import kernels
from hypertune.kernels import measure
from hypertune.kernels._roofline import Prediction
from hypertune.kernels.contract import Work, Workload


def test_every_op_runs_and_says_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERTUNE_KERNELS", "reference")
    found = measure.paths()
    assert list(found) == kernels.names()
    assert {chosen.path for chosen in found.values()} == {"reference"}
    assert {chosen.reason for chosen in found.values()} == {"HYPERTUNE_KERNELS=reference"}


def test_measured_stands_next_to_predicted() -> None:
    predicted = Prediction(seconds=10e-6, eager_seconds=40e-6, bound="memory")
    text = str(measure.Measured("op", "64 -> 64", 20e-6, 50e-6, 25e-6, predicted))
    assert text == (
        "64 -> 64: 20 us, 2.5x eager (50 us; torch.compile 25 us); predicted for an H100: 10 us, 4.0x eager"
    )
    assert "torch.compile fails" in str(measure.Measured("op", "64 -> 64", 20e-6, 50e-6, None, predicted))


def test_forward_and_backward_are_timed_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    kernel = kernels.load("phm_weight")
    ran: list[str] = []

    def bench(function: Callable[[], None], **_: object) -> float:
        A = arguments[0]
        before = len(ran)
        function()
        assert len(ran) == before + 1
        assert A.grad is None
        return {"op": 2.0, "reference": 8.0, "compiled": 4.0}[ran[-1]]

    def noted(name: str) -> Callable[..., torch.Tensor]:
        def call(*given: object) -> torch.Tensor:
            ran.append(name)
            made: torch.Tensor = kernel.reference(*given)
            made.register_hook(lambda gradient: backward.append(name))
            return made

        return call

    backward: list[str] = []
    arguments = kernel.example(0, torch.float32, torch.device("cpu"))
    monkeypatch.setattr("triton.testing.do_bench", bench)
    monkeypatch.setattr(torch, "compile", lambda function: noted("compiled"))
    timed = dataclasses.replace(kernel, op=noted("op"), reference=noted("reference"))
    workload = Workload("small", lambda device: arguments, Work(3.35e6, 1, 1, 3 * 3.35e6, 2))
    found = measure._measured(timed, workload, torch.device("cpu"))
    assert (found.seconds, found.eager, found.compiled) == (2e-3, 8e-3, 4e-3)
    assert found.predicted.seconds == pytest.approx(5e-6)
    assert sorted(backward) == ["compiled", "op", "reference"]


def test_a_comparison_that_does_not_compile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    kernel = kernels.load("phm_weight")
    workload = Workload("small", lambda device: kernel.example(0, torch.float32, device), Work(1, 1, 1, 1, 1))
    monkeypatch.setattr("triton.testing.do_bench", lambda function, **_: 1.0)

    def fails(function: object) -> object:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fails)
    assert measure._measured(kernel, workload, torch.device("cpu")).compiled is None
