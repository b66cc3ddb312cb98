"""Objectives that worker processes import by name."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import numpy as np

from hypertune import TrialResult
from hypertune.records import Cost
from hypertune.training.trial import TrialPruned


def quadratic(trial):
    return (trial.params["x"] - 0.3) ** 2


def reporting(trial):
    for step in range(5):
        trial.report(step, {"val/loss": trial.params["x"] + step, "val/accuracy": 0.5}, {"dropout": 0.1 * step})
        if trial.should_prune():
            raise TrialPruned(f"pruned at {step}", Cost(epochs=step, seconds=1.0))
    return TrialResult(trial.params["x"], {"test/loss": 2.0}, {"dropout": 0.4}, Cost(5, 50, 1.5))


def draws(trial):
    return random.random() + np.random.rand()


def says_where(trial):
    print("hello from the trial")
    print("and from its errors", file=sys.stderr)
    (trial.folder / "pid.txt").write_text(f"{os.getpid()} {os.environ['OMP_NUM_THREADS']} {trial.worker}")
    return 0.0


def mixed(trial):
    """Do something different, mostly bad, in each trial."""
    return BEHAVIOURS[trial.number](trial)


def returns_none(trial):
    return None


def returns_nan(trial):
    return float("nan")


def returns_text(trial):
    return "0.3"


def returns_bool(trial):
    return True


def returns_infinite_result(trial):
    return TrialResult(float("inf"))


def raises(trial):
    raise ZeroDivisionError("one by zero")


def raises_connection_error(trial):
    raise ConnectionResetError("their database went away")


def exits(trial):
    sys.exit(3)


def dies_at_once(trial):
    os._exit(7)


def is_killed(trial):
    os.kill(os.getpid(), signal.SIGKILL)


def segfaults(trial):
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(trial):
    time.sleep(600)


def reports_badly(trial):
    trial.report(0, {"val/loss": "high"})


def prunes_with_optuna(trial):
    import optuna

    raise optuna.TrialPruned("theirs")


def is_fine(trial):
    return 1.5


def numpy_scalar(trial):
    return np.float32(0.25)


BEHAVIOURS = [
    is_fine,
    returns_none,
    returns_nan,
    returns_text,
    returns_bool,
    returns_infinite_result,
    raises,
    raises_connection_error,
    exits,
    reports_badly,
    prunes_with_optuna,
    numpy_scalar,
    dies_at_once,
    is_killed,
    segfaults,
    is_fine,
]


def slow(trial):
    for step in range(200):
        time.sleep(0.05)
        trial.report(step, {"val/loss": 1.0})
    return 1.0
