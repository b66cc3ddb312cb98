"""A study over a space with conditional hyperparameters, with each sampler that knows nothing of conditions."""

from __future__ import annotations

import warnings

import optuna
import pytest

from hypertune.driver.study_store import StudyStore, open_storage
from hypertune.registry import load as load_by_name
from hypertune.registry import names
from hypertune.samplers.contract import as_sampler
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "rate": {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True, "when": {"kind": "noisy"}},
        "kind": {"choices": ["plain", "noisy"]},
        "width": {"type": "int", "low": 1, "high": 8},
        "x": {"type": "float", "low": -1.0, "high": 1.0},
        "step": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1, "when": {"width": [1, 2, 3, 4]}},
    }
)


@pytest.mark.parametrize("name", names("sampler"))
def test_trials_have_what_exists_and_a_resumed_study_goes_on(tmp_path, name):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = as_sampler(load_by_name("sampler", name, where="sampler"), SPACE, seed=1, resumed_at=0, options={})
    store = StudyStore.create(open_storage(url), "conditional", "minimize", sampler, optuna.pruners.NopPruner())
    seen = set()
    for _ in range(25):
        trial = store.ask(SPACE)
        assert SPACE.validate(trial.params) == {n: trial.params[n] for n in SPACE.names if n in trial.params}
        seen.add(frozenset(trial.params))
        value = trial.params["x"] ** 2 + trial.params.get("rate", 0.3)
        store.tell(trial.number, optuna.trial.TrialState.COMPLETE, value)
    store.flush()
    assert len(seen) >= 2
    stored = optuna.load_study(study_name="conditional", storage=url).get_trials()
    assert [t.params for t in stored] == [t.params for t in store.trials()]
