"""Ask a study for its next trial of a search space, conditional hyperparameters included."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import Trial

from hypertune.space import SearchSpace

__all__ = ["ask"]


def ask(study: Study, space: SearchSpace) -> Trial:
    """Sample the next trial, conditional hyperparameters after what they depend on; a queued one comes first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        trial = study.ask(dict(space.unconditional))
        for name in space.order:
            if name in space.conditions and space.exists(name, trial.params):
                _suggest(trial, name, space.distributions[name])
    return trial


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
        return
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    suggest: Callable[..., object] = (
        trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    )
    suggest(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
