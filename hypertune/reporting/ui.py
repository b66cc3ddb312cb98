"""The MLflow UI on a run's store: on the loopback interface, at the study's own page."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypertune._yaml import read_yaml
from hypertune.errors import ConfigError, TrackingError
from hypertune.reporting.dashboards import dashboard_file
from hypertune.run_folder import RunFolder

__all__ = ["serve"]

_START_SECONDS = 90.0


def serve(run: str | None, root: Path, *, port: int, open_browser: bool, say: Callable[[str], None]) -> int:
    """Serve the MLflow UI until Ctrl-C.

    Args:
        run: Run folder or name; None for the newest.
        root: Folder of the runs.
        port: Port on 127.0.0.1; 0 for a free one.
        open_browser: Whether to open the study's page.
        say: Called with each line for the user.

    Returns:
        Exit code.

    Raises:
        HypertuneError: There is no such run, it is not tracked, or the server does not start.
    """
    folder = RunFolder.find(run, root)
    uri = folder.read_json(folder.identity).get("tracking")
    if not uri:
        raise ConfigError(
            "this run is not tracked in MLflow", where="RUN", given=str(folder.path), fix="search with `tracking:` on"
        )
    page = _page(folder)
    if uri.startswith(("http://", "https://")):
        _announce(uri.rstrip("/") + page, folder, open_browser, say)
        return 0
    port = port or _free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with _server(command, folder.path / "mlflow-ui.log") as server:
        _wait_until_up(server, address, folder.path / "mlflow-ui.log")
        _announce(address + page, folder, open_browser, say)
        say("Ctrl-C stops it")
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
    return 0


def _page(folder: RunFolder) -> str:
    published = _published(folder)
    if not published.get("experiment_id") or not published.get("parent_run_id"):
        return ""
    return f"/#/experiments/{published['experiment_id']}/runs/{published['parent_run_id']}"


def _published(folder: RunFolder) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder.path / "published.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def _announce(url: str, folder: RunFolder, open_browser: bool, say: Callable[[str], None]) -> None:
    say(f"MLflow UI  {url}")
    published = _published(folder)
    content, _ = read_yaml(dashboard_file("study"), where="dashboard")
    for title, template in content["filters"].items():
        say(f"filter for {title}: {template.format_map(published) if published else template}")
    if open_browser:
        webbrowser.open(url)


@contextlib.contextmanager
def _server(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        # A session of its own: the server's workers end with it, and Ctrl-C reaches only this process.
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_up(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise TrackingError(
                f"the MLflow UI does not start: {lines[-1] if lines else 'no output'}", where="ui", fix=f"see {log}"
            )
        health = f"{address}/health"
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(health, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise TrackingError("the MLflow UI does not answer", where="ui", given=address, fix=f"see {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
