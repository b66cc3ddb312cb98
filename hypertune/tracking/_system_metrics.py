"""Samples CPU, memory, disk, network and GPU of this machine, with MLflow's own monitors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mlflow.entities import Metric
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from hypertune.tracking._names import key, timestamp

__all__ = ["SystemMetrics"]


class SystemMetrics:
    """Samples at most once an interval, when it is asked.

    MLflow's own thread for this would be a second writer to the store; a lost sample is no loss, so none is kept while
    the store is away.

    Args:
        begun: Unix seconds when the study was first opened: second 0 of the step axis.
        interval: Seconds between two samples.
    """

    def __init__(self, begun: float, interval: float = 5.0) -> None:
        self._begun, self._interval, self._next = begun, interval, 0.0
        self._monitors: list[Any] = []
        for kind in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor):
            with contextlib.suppress(ImportError, RuntimeError, OSError):  # no GPU, or a machine that does not tell
                self._monitors.append(kind())

    def due(self, now: float) -> list[Metric]:
        """Return the points of a new sample, ``system/...``; none before the interval is over.

        Args:
            now: Unix seconds.
        """
        if now < self._next:
            return []
        self._next = now + self._interval
        step = max(0, int(now - self._begun))
        return [Metric(key(f"system/{name}"), float(value), timestamp(now), step) for name, value in self._sample()]

    def _sample(self) -> Iterator[tuple[str, float]]:
        for monitor in self._monitors:
            with contextlib.suppress(Exception):  # a sensor that fails must not stop the others
                monitor.collect_metrics()
                yield from monitor.aggregate_metrics().items()
                monitor.clear_metrics()
