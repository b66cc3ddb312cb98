"""Shared by the tests of racing: utilities of candidates on tasks, and a study that takes them one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState


@pytest.fixture
def utilities() -> Callable[..., np.ndarray]:
    """``(tasks, candidates)`` in [0, 1]: hard and easy tasks, candidates with given means."""

    def make(means, tasks: int, *, seed: int = 0, noise: float = 0.1) -> np.ndarray:
        rng = np.random.default_rng(seed)
        hardness = rng.uniform(-0.2, 0.2, (tasks, 1))
        return np.clip(np.asarray(means) + hardness + rng.uniform(-noise, noise, (tasks, len(means))), 0, 1)

    return make


@pytest.fixture
def take_in_turn() -> Callable[..., list[int]]:
    """Evaluate candidates one after the other; return how many tasks each saw."""

    def run(study: optuna.Study, table: np.ndarray) -> list[int]:
        lived = []
        for column in table.T:
            trial = study.ask()
            for step, value in enumerate(column):
                trial.report(float(value), step)
                if trial.should_prune():
                    study.tell(trial, state=TrialState.PRUNED)
                    break
            else:
                study.tell(trial, float(np.nanmean(column)))
            lived.append(step + 1)
        return lived

    return run
