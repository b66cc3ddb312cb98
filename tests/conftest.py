"""Shared by all tests: one thread each, quiet libraries, a real MLflow server."""

from __future__ import annotations

import os

# Read when torch and BLAS are first imported, so before anything else.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import logging  # noqa: E402
import shutil  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import optuna  # noqa: E402
import pytest  # noqa: E402

# The same examples in every run, and no verdict on how busy the machine is.
hypothesis.settings.register_profile(
    "shared", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")
optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(autouse=True)
def _our_loggers_speak() -> None:
    """Undo what a library that configured logging in an earlier test of this process did to ours."""
    logging.disable(logging.NOTSET)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "hypertune" and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True


class Server:
    """MLflow's own server application on loopback, in a process that can be killed."""

    def __init__(self, folder: Path, database: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder, self._database = folder, database
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # What `mlflow server` runs as its worker, without the parent process and its job runner.
        environment = {
            **os.environ,
            "_MLFLOW_SERVER_FILE_STORE": self._database,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self._folder / "served"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        command = [sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app", "--port", str(self.port)]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self._folder)
        end = time.monotonic() + 120
        while not self._healthy():
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.1)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[object]:
    """Ray's own two-CPU test cluster, with a folder and ports to itself; this process is not connected to it."""
    from ray.cluster_utils import Cluster

    folder = Path(tempfile.mkdtemp(prefix="ht", dir="/tmp"))  # sockets below it allow no longer name
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 2,
            "object_store_memory": 100 << 20,
            "include_dashboard": False,
            "temp_dir": str(folder),
            # A killed node is noticed within seconds.
            "_system_config": {"health_check_period_ms": 1000, "health_check_timeout_ms": 10_000},
        },
    )
    yield cluster
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mlflow_server() -> Iterator[Callable[[Path, str], Server]]:
    """Start servers with a folder and a database URI each; they end with the test."""
    servers = []

    def make(folder: Path, database: str) -> Server:
        servers.append(Server(folder, database))
        servers[-1].start()
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
