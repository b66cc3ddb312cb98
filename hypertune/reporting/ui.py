"""The MLflow UI on a run's store: on the loopback interface, at the study's own page."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from hypertune._secrets import redact
from hypertune._store_version import check_store_version
from hypertune._yaml import read_yaml
from hypertune.errors import ConfigError, TrackingError
from hypertune.reporting.dashboards import dashboard_file
from hypertune.run_folder import RunFolder

__all__ = ["serve"]

_START_SECONDS = 90.0
_ANSWER_SECONDS = 5.0
_LOG_NAME = "mlflow-ui.log"
_HTTP = ("http://", "https://")
_PAGES = "workflowType=machine_learning"  # MLflow has other pages for language model applications
_USER = re.compile(r"(?<=://)[^/\s]*@")
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # nothing here starts jobs, and their process takes seconds to start
    "GIT_PYTHON_REFRESH": "quiet",
}


def serve(run: str | None, root: Path, *, port: int, open_browser: bool, say: Callable[[str], None]) -> int:
    """Serve the MLflow UI until Ctrl-C or SIGTERM. Of a run on an MLflow server, show the server's page.

    Args:
        run: Run folder or name; None for the newest.
        root: Folder of the runs.
        port: Port on 127.0.0.1; 0 for a free one.
        open_browser: Whether to open the study's page.
        say: Called with each line for the user.

    Returns:
        Exit code.

    Raises:
        HypertuneError: There is no such run, it is not tracked, its store is of another MLflow, the port is taken, or
            the server does not start.
    """
    folder = RunFolder.find(run, root)
    uri = folder.read_json(folder.identity).get("tracking")
    if not uri:
        raise ConfigError(
            "this run is not tracked in MLflow", where="RUN", given=str(folder.path), fix="search with `tracking:` on"
        )
    if uri.startswith(_HTTP):
        # A browser asks for the password itself; in an address it would stay in the browser's history.
        server_address = _USER.sub("", uri).rstrip("/")
        _check_answers(server_address)
        _announce(server_address, folder, open_browser, say)
        return 0
    if "://" in uri and uri.partition(":")[0].partition("+")[0] not in _SERVED:
        raise ConfigError(
            "this store has a page of its own, which is not served here",
            where="RUN",
            given=uri,
            fix="open it in the browser",
        )
    check_store_version(uri, where="ui")
    port = _free_port(port)
    address = f"http://127.0.0.1:{port}"
    log = folder.path / _LOG_NAME
    with _interrupted_by_sigterm(), contextlib.suppress(KeyboardInterrupt), _server(uri, port, log) as server:
        _wait_until_up(server, address, log)
        _announce(address, folder, open_browser, say)
        say("Ctrl-C stops it")
        code = server.wait()
        raise TrackingError(f"the MLflow UI ended by itself with code {code}", where="ui", fix=f"see {log}")
    return 0


_SERVED = {"sqlite", "postgresql", "mysql", "mssql", "file"}


def _page(published: dict[str, Any]) -> str:
    """Return the route of the study's run; empty before it has one."""
    if not published.get("experiment_id") or not published.get("parent_run_id"):
        return ""
    return f"/#/experiments/{published['experiment_id']}/runs/{published['parent_run_id']}?{_PAGES}"


def _published(folder: RunFolder) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder.path / "published.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def _announce(address: str, folder: RunFolder, open_browser: bool, say: Callable[[str], None]) -> None:
    published = _published(folder)
    page = _page(published)
    url = address + page
    say(f"MLflow UI  {url}")
    if page:
        say(f"all trials  {address}/#/experiments/{published['experiment_id']}/runs?{_PAGES}")
    else:
        say("nothing of this run is in MLflow yet; reload the page later")
    if not folder.result.exists():
        say("the study is not finished: the page shows what there is, and follows when it is reloaded")
    content, _ = read_yaml(dashboard_file("study"), where="dashboard")
    for title, template in (content.get("filters") or {}).items():
        say(f"filter for {title}: {template.format_map(published) if page else template}")
    if open_browser:
        webbrowser.open(url)


@contextlib.contextmanager
def _server(uri: str, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # Not an argument: those are there for every user of the machine to read, and the store may have a password.
    environment = {**_ENVIRONMENT, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        # A session of its own: the server's workers end with it, and Ctrl-C reaches only this process.
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        )
    try:
        yield server
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers; they share a process group, whose id is the server's."""
    for number, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=seconds)
            break
    with contextlib.suppress(ProcessLookupError):  # a worker that outlived it
        os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread, which alone gets signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_until_up(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        problem = _problem(log)
        if server.poll() is not None or "database schema" in problem:
            raise TrackingError(
                f"the MLflow UI does not start: {problem or 'no output'}",
                where="ui",
                fix="back the store up, then `mlflow db upgrade` it" if "out-of-date" in problem else f"see {log}",
            )
        if _answers(address):
            return
        time.sleep(0.2)
    raise TrackingError("the MLflow UI does not answer", where="ui", given=address, fix=f"see {log}")


def _problem(log: Path) -> str:
    """Return the line of the server's log that says what is wrong: the one about the schema, else the last."""
    lines = [line.strip() for line in redact(log.read_text(errors="replace")).splitlines() if line.strip()]
    schema = [line for line in lines if "database schema" in line]
    return schema[-1][:300] if schema else (lines[-1][:300] if lines else "")


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=_ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return True  # a server that wants a password first
    except (urllib.error.URLError, OSError):
        return False


def _check_answers(address: str) -> None:
    if not _answers(address):
        raise TrackingError(
            "the MLflow server does not answer", where="ui", given=address, fix="start it, or check the address"
        )


def _free_port(port: int) -> int:
    """Return the port when it is free, or any free one for 0.

    Raises:
        ConfigError: It is not free.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"the port cannot be used: {getattr(error, 'strerror', None) or error}",
                where="--port",
                given=port,
                fix="name another, or 0 for a free one",
            ) from error
        free: int = probe.getsockname()[1]
    return free
