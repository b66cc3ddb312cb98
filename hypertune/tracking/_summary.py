"""The numbers of a whole study, from the content of result.json."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hypertune.tracking._names import key

__all__ = ["summary_metrics"]

_FINDINGS = ("certificate", "selection")


def summary_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the study's run.

    ``cost/...``: sums over all trials. ``speedup/pruning``: epochs that the complete and pruned trials would have cost
    at the length of the longest, over the epochs they cost; only when trials were pruned. ``certificate/...`` and
    ``selection/...``: the numbers of what is known of the winner.

    Args:
        result: Content of result.json; what is missing there is left out here.
    """
    metrics = {f"cost/{name}": float(value) for name, value in _numbers(result.get("cost"))}
    trials = [trial for trial in result.get("trials") or () if isinstance(trial, Mapping)]
    saved = _speedup_of_pruning(trials)
    if saved is not None:
        metrics["speedup/pruning"] = saved
    for finding in _FINDINGS:
        metrics |= {key(f"{finding}/{name}"): float(value) for name, value in _numbers(result.get(finding))}
    return metrics


def _speedup_of_pruning(trials: list[Mapping[str, Any]]) -> float | None:
    epochs: dict[str, list[float]] = {"complete": [], "pruned": []}
    for trial in trials:
        if trial.get("state") in epochs:
            epochs[trial["state"]].append(float(trial.get("cost", {}).get("epochs", 0)))
    spent = sum(map(sum, epochs.values()))
    if not epochs["pruned"] or not epochs["complete"] or spent <= 0:
        return None
    # Never below 1: a trial over many tasks may have been pruned after more epochs than a complete one had.
    longest = max(max(of_state) for of_state in epochs.values())
    return longest * sum(map(len, epochs.values())) / spent


def _numbers(content: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    if not isinstance(content, Mapping):
        return
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, bool | int | float) and math.isfinite(value):
            yield f"{prefix}{name}", float(value)
