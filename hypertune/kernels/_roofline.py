"""Predicted times from bytes and operations: the roofline model.

References:
    [Williams2009] Williams, Waterman, Patterson. Roofline: An Insightful Visual Performance Model for Multicore
        Architectures. CACM 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypertune.kernels.contract import Work

__all__ = ["H100", "Device", "Prediction", "predict"]


@dataclass(frozen=True, slots=True)
class Device:
    """Peak rates of a device.

    Attributes:
        name: As people call it.
        bandwidth: Bytes per second from device memory.
        vector: Single-precision operations per second.
        matrix: Half-precision operations per second on the matrix units, dense.
        launch: Seconds between the starts of two kernels that do nothing.
    """

    name: str
    bandwidth: float
    vector: float
    matrix: float
    launch: float


H100 = Device("H100 SXM", bandwidth=3.35e12, vector=67e12, matrix=990e12, launch=4e-6)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted seconds of one forward and backward pass.

    Attributes:
        seconds: By the kernels.
        eager_seconds: By eager PyTorch.
        bound: What bounds the kernels: ``memory``, ``compute`` or ``launches``.
    """

    seconds: float
    eager_seconds: float
    bound: str

    @property
    def ratio(self) -> float:
        """How many times faster than eager the kernels are."""
        return self.eager_seconds / self.seconds


def predict(work: Work, device: Device = H100) -> Prediction:
    """Return the larger of memory and compute time, plus the launches ([Williams2009])."""
    memory = work.moved / device.bandwidth
    compute = work.operations / (device.matrix if work.matrix else device.vector)
    launches = work.launches * device.launch
    bound = max((memory, "memory"), (compute, "compute"), (launches, "launches"))[1]
    eager = max(work.eager_moved / device.bandwidth, compute) + work.eager_launches * device.launch
    return Prediction(max(memory, compute) + launches, eager, bound)
