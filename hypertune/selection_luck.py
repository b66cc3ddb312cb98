"""What a study of one task knows of the luck in its choice, and whether more trials could be told from noise."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.terminator import RegretBoundEvaluator
from optuna.trial import FrozenTrial, TrialState

from hypertune.bounds.selection import SelectionCertificate, selection_certificate
from hypertune.config import Config
from hypertune.errors import BoundError
from hypertune.records import EXAMPLES, STANDARD_ERROR, TrialRecord
from hypertune.reporting.result import StudyResult

__all__ = ["selection_luck"]

DELTA = 0.05
_NOT_ADAPTIVE = ("random", "qmc")  # samplers whose proposals do not depend on what trials returned
_TRIALS = (20, 300)  # complete trials for Optuna's regret bound: its least, and what its model is fitted to in seconds
_NORMAL_95 = 1.645


def selection_luck(study: Study, result: StudyResult, config: Config) -> dict[str, Any]:
    """Return what result.json says of the winner of a study over one task.

    Args:
        study: The study.
        result: Its outcome.
        config: Its config.

    Returns:
        ``{"selection": ...}``: the fields of a `SelectionCertificate`, the ``split`` its examples are from, and a
        ``statement`` in words; or ``not_certified``, with the reason. ``indistinguishable``: complete trials whose
        value is within the noise of the winner's. ``advice``: what that says of more trials, in words. Empty for a
        study over many tasks, which has certificates of its own, for an objective whose metric is no ``val/...``, and
        when no trial is complete.
    """
    best = result.best
    if best is None or config.tasks is not None or hasattr(study.sampler, "certificate"):
        return {}
    if config.objective is not None and not result.metric.startswith("val/"):
        return {}  # nobody but the user knows what such a value is a mean of
    found: dict[str, Any] = {"metric": result.metric}
    try:
        split, certificate = _certificate(best, result, config)
        found |= {
            "split": split,
            **asdict(certificate),
            "statement": _statement(best, result, certificate, split),
        }
    except BoundError as error:
        found["not_certified"] = str(error)
    error_of_value = best.metrics.get(f"{result.metric}{STANDARD_ERROR}")
    if error_of_value is not None and error_of_value > 0:
        found |= _noise(study, result, best, error_of_value)
    return {"selection": found}


def _certificate(best: TrialRecord, result: StudyResult, config: Config) -> tuple[str, SelectionCertificate]:
    assert best.value is not None
    of, _, name = result.metric.partition("/")
    splits = [split for split in ("reserved", "test") if f"{split}/{name}" in best.metrics and of == "val"]
    candidates = 1
    if splits:
        split = splits[0]
    else:
        split, candidates = "val", _models(best, result, config)
    metric = f"{split}/{name}"
    error, n = best.metrics.get(f"{metric}{STANDARD_ERROR}"), best.metrics.get(f"{split}/{EXAMPLES}")
    if error is None or n is None:
        raise BoundError(
            "nothing is known of its values per example",
            where=metric,
            fix="give the metric a method per_example(outputs, targets), or let the objective report "
            f"{metric}{STANDARD_ERROR} and {split}/{EXAMPLES}",
        )
    certificate = selection_certificate(
        best.value,
        best.metrics.get(metric, best.value),
        error,
        int(n),
        DELTA,
        direction=result.direction,
        candidates=candidates,
    )
    return split, certificate


def _models(best: TrialRecord, result: StudyResult, config: Config) -> int:
    """Return how many models the validation examples could have chosen, if none of them was made by looking at them."""
    adaptive = config.sampler.name not in _NOT_ADAPTIVE or bool(best.tuned)
    if config.family is None or adaptive or not result.metric.startswith("val/"):
        raise BoundError(
            "the examples that chose the winner cannot certify it"
            + (": trials were proposed after looking at them" if adaptive and config.family is not None else ""),
            where=result.metric,
            fix="give the task a test split, or set trial.reserve: 0.2",
        )
    return max(len(result.trials), config.study.n_trials or 0) * config.trial.epochs


def _statement(best: TrialRecord, result: StudyResult, certificate: SelectionCertificate, split: str) -> str:
    metric, side = result.metric, "at least" if result.direction == "maximize" else "at most"
    seen = {"test": "the test split", "reserved": "the reserved examples", "val": "the validation examples"}[split]
    sure = f"with {1 - certificate.delta:.0%} confidence{' (approximate)' if certificate.approximate else ''}"
    if certificate.optimism < 0:
        said = f"{metric} {certificate.value:.4g} of trial {best.number} is not optimistic, {sure}"
    else:
        said = (
            f"{metric} {certificate.value:.4g} of trial {best.number} is optimistic by at most "
            f"{certificate.optimism:.2g}, {sure}"
        )
    return f"{said}: {certificate.estimate:.4g} on {certificate.n} examples of {seen}, {side} {certificate.bound:.4g}"


def _noise(study: Study, result: StudyResult, best: TrialRecord, error: float) -> dict[str, Any]:
    assert best.value is not None
    width = _NORMAL_95 * math.sqrt(2) * error
    others = [trial.value for trial in result.trials if trial.value is not None and trial.number != best.number]
    close = sum(abs(value - best.value) <= width for value in others)
    found: dict[str, Any] = {"standard_error": error, "indistinguishable": close}
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    left = _regret_bound(complete, study) if _TRIALS[0] <= len(complete) <= _TRIALS[1] else None
    if left is None:
        advice = f"{close} of {len(others)} other trials are within the noise of the winner's value"
    elif left <= error:
        advice = (
            f"stop: what more trials could still gain ({left:.2g} at most, Optuna's regret bound) is below the "
            f"standard error of a validation value ({error:.2g})"
        )
    else:
        advice = (
            f"more trials may still gain up to {left:.2g} (Optuna's regret bound); the standard error of a "
            f"validation value is {error:.2g}, and {close} of {len(others)} other trials are within that noise of the "
            "winner's value"
        )
    return {**found, "regret_bound": left, "advice": advice}


def _regret_bound(complete: Sequence[FrozenTrial], study: Study) -> float | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)
            return float(RegretBoundEvaluator(seed=0).evaluate(list(complete), study.direction))
    except (ValueError, RuntimeError):
        return None  # no hyperparameter that all trials have, or a model that cannot be fitted
