"""The roofline by hand, and the formulas of every workload against counts of what its tensors hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hypertune import kernels
from hypertune.kernels._roofline import H100, Device, predict
from hypertune.kernels.contract import Work

SLOW = Device("slow", bandwidth=10.0, vector=100.0, matrix=1000.0, launch=1.0)


@pytest.mark.parametrize(
    ("work", "seconds", "bound"),
    [
        (Work(100, 10, 2, 300, 4), 12.0, "memory"),
        (Work(100, 5000, 2, 300, 4), 52.0, "compute"),
        (Work(100, 5000, 2, 300, 4, matrix=True), 12.0, "memory"),
        (Work(10, 10, 30, 300, 4), 31.0, "launches"),
    ],
)
def test_the_larger_of_memory_and_compute_plus_the_launches(work: Work, seconds: float, bound: str) -> None:
    found = predict(work, SLOW)
    assert found.seconds == pytest.approx(seconds)
    assert found.bound == bound
    assert found.ratio == pytest.approx(found.eager_seconds / found.seconds)


def test_eager_computes_as_much_and_moves_its_own_bytes() -> None:
    assert predict(Work(100, 5000, 2, 300, 4), SLOW).eager_seconds == pytest.approx(54.0)
    assert predict(Work(100, 10, 2, 300, 4), SLOW).eager_seconds == pytest.approx(34.0)


def test_the_h100() -> None:
    assert (H100.bandwidth, H100.vector, H100.matrix, H100.launch) == (3.35e12, 67e12, 990e12, 4e-6)


@pytest.mark.parametrize("name", kernels.names())
def test_a_kernel_moves_at_least_its_arguments_and_less_than_eager(name: str) -> None:
    workloads = kernels.load(name).workloads
    assert workloads
    assert len({workload.label for workload in workloads}) == len(workloads)
    for workload in workloads:
        arguments = workload.inputs(torch.device("meta"))
        held = sum(a.numel() * a.element_size() for a in arguments if isinstance(a, Tensor))
        assert held <= workload.work.moved <= workload.work.eager_moved, workload.label
        assert 1 <= workload.work.launches <= workload.work.eager_launches, workload.label
        assert workload.work.operations > 0
