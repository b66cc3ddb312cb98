"""Run one assignment and turn whatever happens into an `Ended`; shared by every runner."""

from __future__ import annotations

import gc
import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hypertune._secrets import redact
from hypertune.errors import HypertuneError
from hypertune.records import Assignment, Cost, Report
from hypertune.runners.contract import Ended
from hypertune.training.trial import Diverged, Objective, Trial, TrialPruned, checked_result

__all__ = ["execute"]


def execute(objective: Objective, assignment: Assignment, send: Callable[[Report], bool], *, worker: int) -> Ended:
    """Run one trial.

    Args:
        objective: What to run.
        assignment: The trial's number, parameters, seed and folder; the folder is made.
        send: Sends a report to the driver and returns whether to prune.
        worker: Index of the worker that runs it.

    Returns:
        How it ended; only ``KeyboardInterrupt`` gets out.
    """
    number = assignment.number
    try:
        Path(assignment.folder).mkdir(parents=True, exist_ok=True)
        _seed(assignment.seed)
        result = checked_result(objective(Trial(assignment, send, worker=worker)))
        return Ended(number, "finished", result)
    except (Exception, SystemExit) as error:
        return _ended_by(number, error)
    finally:
        _release_memory()


def _ended_by(number: int, error: BaseException) -> Ended:
    if isinstance(error, (TrialPruned, *_foreign_pruned())):
        cost = error.cost if isinstance(error, TrialPruned) else Cost()
        return Ended(number, "pruned", reason=redact(str(error)) or "pruned", cost=cost)
    if isinstance(error, HypertuneError):
        cost = error.cost if isinstance(error, Diverged) else Cost()
        return Ended(number, "failed", reason=str(error), cost=cost)
    reason = redact(f"{type(error).__name__}: {error}")
    return Ended(number, "failed", reason=reason, traceback=redact(traceback.format_exc()))


def _foreign_pruned() -> tuple[type[BaseException], ...]:
    # An objective written for Optuna raises Optuna's own exception; without optuna imported it cannot.
    optuna = sys.modules.get("optuna")
    return (optuna.TrialPruned,) if optuna is not None else ()


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # user code draws from the global generator
    torch = sys.modules.get("torch")  # not imported for objectives that do not use it
    if torch is not None:
        torch.manual_seed(seed)


def _release_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
