"""What is kept between proposals changes none of them."""

from __future__ import annotations

import pickle

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState
from threadpoolctl import threadpool_info

from hypertune.records import TUNED
from hypertune.samplers._blas import one_blas_thread
from hypertune.samplers.stn import STNSampler
from hypertune.space import SearchSpace

SPACE = SearchSpace(
    {
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "width": IntDistribution(4, 64),
        "dropout": FloatDistribution(0, 1),
    },
    self_tuned=frozenset({"dropout"}),
)


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)


def finish(study, trial):
    """Complete, prune or fail a trial by its number."""
    if trial.number % 5 == 3:
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_user_attr(TUNED, {"dropout": 0.3})
    trial.report(np.log10(trial.params["lr"]) ** 2 + trial.params["width"], 0)
    if trial.number % 5 == 2:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, np.log10(trial.params["lr"]) ** 2 + trial.params["width"])


def test_a_sampler_that_has_read_trials_proposes_what_a_fresh_one_does():
    study = optuna.create_study(sampler=STNSampler(SPACE, seed=3))
    running = []
    for number in range(14):
        used = study.sampler
        trial = study.ask(dict(SPACE.distributions))
        study.sampler = STNSampler(SPACE, seed=3)
        frozen = study._storage.get_trial(trial._trial_id)
        again = study.sampler.sample_relative(study, frozen, dict(SPACE.distributions))
        study.sampler = used
        assert again == trial.params
        running.append(trial)
        if number % 3 == 2:  # several run at once, and the youngest ends first
            while running:
                finish(study, running.pop())


def test_one_sampler_serves_two_studies():
    sampler = STNSampler(SPACE, seed=1)
    first, second = optuna.create_study(sampler=sampler), optuna.create_study(sampler=sampler)
    alone = optuna.create_study(sampler=STNSampler(SPACE, seed=1))
    for _ in range(10):
        finish(first, first.ask(dict(SPACE.distributions)))
        trial, expected = second.ask(dict(SPACE.distributions)), alone.ask(dict(SPACE.distributions))
        assert trial.params == expected.params
        second.tell(trial, trial.params["lr"])
        alone.tell(expected, expected.params["lr"])


def test_what_was_read_is_not_saved_with_a_sampler():
    study = optuna.create_study(sampler=STNSampler(SPACE, seed=0))
    for _ in range(5):
        finish(study, study.ask(dict(SPACE.distributions)))
    copy = pickle.loads(pickle.dumps(study.sampler))
    assert copy._known is None
    study.sampler = copy
    assert study.ask(dict(SPACE.distributions)).params


def test_algebra_gets_its_threads_back():
    def threads():
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    with one_blas_thread():  # finds the libraries
        pass
    before = threads()
    with one_blas_thread():
        assert set(threads()) <= {1}
    assert threads() == before
    with pytest.raises(RuntimeError, match="inside"), one_blas_thread():
        raise RuntimeError("inside")
    assert threads() == before
