"""The connection to a Ray cluster, and what can be known of it before a trial is spent."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from hypertune.errors import ConfigError
from hypertune.runners._ray_settings import RaySettings

__all__ = ["RayCluster"]

_CONNECT_SECONDS = 10.0
_MAX_SHIPPED = 100 << 20
_MAX_FILES = 10_000
_NEVER_SHIPPED = (".git/", ".venv/", "__pycache__/", "*.db", "*.db-*", "mlruns/")


class RayCluster:
    """A connection of this process.

    A process that was connected before stays connected, as it is and after.

    Attributes:
        shipped: Whether the folder of the user's modules is the workers' working folder.
    """

    def __init__(self, settings: RaySettings, *, source: Path | None, run: Path) -> None:
        """Connect.

        Args:
            settings: The runner's options.
            source: Folder of the user's modules, shipped to a cluster; None for none.
            run: Run folder, never shipped.

        Raises:
            ConfigError: There is no Ray at the address, or it does not fit, or what is to be shipped cannot be.
        """
        self._settings = settings
        self._ours = not ray.is_initialized()
        self.shipped = False
        if self._ours:
            environment = _runtime_env(settings, source, run)
            self.shipped = source is not None and environment.get("working_dir") == str(source)
            _connect(settings, environment)

    def check_resources(self) -> None:
        """Make sure that some node can hold a trial, or could once it is idle.

        Raises:
            ConfigError: None can, after ``start_timeout`` seconds when the cluster grows by itself.
        """
        settings, end = self._settings, time.monotonic() + self._settings.start_timeout
        request = settings.request
        while True:
            nodes = self._nodes()
            if any(all(node.get(name, 0) >= amount for name, amount in request.items()) for node in nodes):
                return
            if not settings.autoscaling or time.monotonic() >= end:
                break
            time.sleep(1.0)
        largest = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in request}
        waited = f"none came in {settings.start_timeout:g} s" if settings.autoscaling else "none will come"
        more = (
            "raise runner.start_timeout, or the limits of the autoscaler"
            if settings.autoscaling
            else "on a cluster that grows by itself set runner.autoscaling: true"
        )
        raise ConfigError(
            f"no node of the cluster can hold a trial, and {waited}; the most that one node has is {_shown(largest)}",
            where="runner.resources_per_trial",
            given=request,
            fix=f"ask for less; {more}",
        )

    def load(self) -> str:
        """Return what is free of what there is, in words."""
        total: dict[str, float] = {}
        for node in self._nodes():
            for name, amount in node.items():
                total[name] = total.get(name, 0.0) + amount
        available: Mapping[str, float] = ray.available_resources()
        free = {name: available.get(name, 0.0) for name in self._settings.request}
        return f"{_shown(free)} free of {_shown({name: total.get(name, 0.0) for name in free})}"

    def close(self) -> None:
        """Disconnect, and end the Ray that was started here; may be called twice."""
        if self._ours and ray.is_initialized():
            ray.shutdown()
        self._ours = False

    def _nodes(self) -> list[dict[str, float]]:
        return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _connect(settings: RaySettings, environment: dict[str, Any]) -> None:
    address, options = settings.address, {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked to tell anyone
        options["include_dashboard"] = False
    elif address != "auto":
        _check_reachable(address)
    # Ray sets its own handler of SIGTERM; how a search ends is the driver's decision.
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            runtime_env=environment or None,
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=True,
            **options,
        )
    except (ConnectionError, TimeoutError) as error:
        raise _not_there(address, error) from error
    except RuntimeError as error:
        text = _one_line(error)
        if "ersion mismatch" in text:
            raise ConfigError(
                f"this machine and the cluster run different versions: {text}",
                where="runner.address",
                given=address,
                fix="install the same Ray and Python (major and minor version) here and on all nodes",
            ) from error
        raise ConfigError(f"Ray does not start: {text}", where="runner", given=address) from error
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(
            f"Ray refuses its options: {_one_line(error)}",
            where="runner",
            given={"address": address, "runtime_env": environment},
            fix="see ray.init in Ray's documentation",
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str) -> None:
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        raise ConfigError(
            "not an address", where="runner.address", given=address, expected="local, auto, host:port, ray://host:port"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _not_there(address, error) from error


def _not_there(address: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"Ray is not running at this address: {_one_line(error)}",
        where="runner.address",
        given=address,
        fix="start it with `ray start --head`, correct the address, or use `address: local`",
    )


def _runtime_env(settings: RaySettings, source: Path | None, run: Path) -> dict[str, Any]:
    environment = dict(settings.runtime_env)
    if settings.py_modules:
        base = source or Path.cwd()
        environment["py_modules"] = [each if "://" in each else str(base / each) for each in settings.py_modules]
    if settings.address != "local" and source is not None and "working_dir" not in environment:
        root = run.parent if run.parent != source else run
        own = [f"/{root.relative_to(source).as_posix()}/"] if root.is_relative_to(source) else []
        _check_size(source, root)
        environment["working_dir"] = str(source)
        environment["excludes"] = [*environment.get("excludes", []), *_NEVER_SHIPPED, *own]
    return environment


def _check_size(source: Path, runs: Path) -> None:
    """Refuse a folder that is somebody's home rather than a config's, before Ray reads all of it."""
    size = count = 0
    skipped = {pattern.rstrip("/") for pattern in _NEVER_SHIPPED}
    for folder, folders, files in os.walk(source):
        folders[:] = [each for each in folders if each not in skipped and Path(folder, each) != runs]
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink() and path.suffix != ".db":
                size, count = size + path.stat().st_size, count + 1
        if size > _MAX_SHIPPED or count > _MAX_FILES:
            raise ConfigError(
                "the config's folder is shipped to the nodes, and holds more than 100 MB or 10,000 files",
                where="runner",
                given=str(source),
                fix="put config and modules in a folder of their own, or say what to ship in runner.runtime_env "
                "(working_dir)",
            )


def _shown(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in resources.items()) or "nothing"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
