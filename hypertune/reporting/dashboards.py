"""The shipped dashboards: what a person reviews, as files one can edit."""

from __future__ import annotations

from pathlib import Path

from hypertune.errors import ConfigError, did_you_mean

__all__ = ["dashboard_file", "shipped_dashboards"]


def shipped_dashboards() -> dict[str, Path]:
    """Return the shipped dashboards: name -> file."""
    package = Path(__file__).parent.parent
    # In a wheel the folder lies inside the package; in a checkout beside it.
    folder = next((f for f in (package / "dashboards", package.parent / "dashboards") if f.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def dashboard_file(name: str) -> Path:
    """Return the file of a shipped dashboard.

    Raises:
        ConfigError: There is none of that name.
    """
    shipped = shipped_dashboards()
    if name not in shipped:
        raise ConfigError("no such dashboard", where="dashboard", given=name, fix=did_you_mean(name, shipped))
    return shipped[name]
