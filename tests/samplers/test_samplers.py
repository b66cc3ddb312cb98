from __future__ import annotations

import subprocess
import sys

import optuna
import pytest
from optuna.samplers import RandomSampler

from hypertune import registry
from hypertune.errors import ConfigError
from hypertune.samplers.contract import as_sampler, construct, continued_seed
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "width": {"type": "int", "low": 8, "high": 64, "step": 8},
        "act": {"choices": ["relu", "tanh"]},
    }
)
NAMES = registry.names("sampler")


def build(name, *, seed=0, resumed_at=0, **options):
    return as_sampler(registry.load("sampler", name), SPACE, seed=seed, resumed_at=resumed_at, options=options)


def propose(sampler, n=14):
    study = optuna.create_study(sampler=sampler)
    points = []
    for _ in range(n):
        trial = study.ask(dict(SPACE.distributions))
        points.append(dict(trial.params))
        study.tell(trial, trial.params["lr"] * 100 + trial.params["width"])
    return points


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_proposals_and_other_seed_others(name):
    n = 13 if name == "gp" else 25
    first = propose(build(name), n)
    assert propose(build(name), n) == first
    assert propose(build(name, seed=1), n) != first
    for params in first:
        SPACE.validate(params)


# These know where they are by the number of the trial, whether or not the study was resumed.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"data_driven", "mip", "qmc", "stn"}])
def test_a_resumed_sampler_does_not_repeat_its_first_proposals(name):
    assert propose(build(name), 3) != propose(build(name, resumed_at=5), 3)
    assert propose(build(name, resumed_at=5), 3) == propose(build(name, resumed_at=5), 3)


def test_qmc_continues_its_own_sequence_in_the_same_study():
    whole = propose(build("qmc"), 10)
    study = optuna.create_study()
    points = []
    for sampler in (build("qmc"), build("qmc", resumed_at=6)):
        study.sampler = sampler
        for _ in range(6 if not points else 4):
            trial = study.ask(dict(SPACE.distributions))
            points.append(dict(trial.params))
            study.tell(trial, 1.0)
    numeric = ("lr", "width")
    # The first trial is drawn at random in both; the sequence itself starts with the second.
    assert [{k: p[k] for k in numeric} for p in points[1:]] == [{k: p[k] for k in numeric} for p in whole[1:]]


def test_options_reach_optuna():
    assert build("tpe", n_startup_trials=3)._n_startup_trials == 3
    assert build("tpe")._multivariate is True
    assert build("tpe", multivariate=False, constant_liar=False)._multivariate is False


@pytest.mark.parametrize("name", NAMES)
def test_unknown_option_is_an_error(name):
    with pytest.raises(ConfigError, match=r"sampler\.no_such_option: .* has no such option; given 1"):
        build(name, no_such_option=1)


def test_misspelt_option_says_what_was_meant():
    with pytest.raises(ConfigError, match="did you mean 'multivariate'"):
        build("tpe", multivariat=True)


def test_refused_value_is_one_error():
    with pytest.raises(ConfigError, match="QMCSampler refuses its options.*qmc_type"):
        build("qmc", qmc_type="sudoku")


def test_a_foreign_class_gets_what_it_takes():
    class Theirs(RandomSampler):
        def __init__(self, search_space, seed, extra=0):
            super().__init__(seed=seed)
            self.given = (set(search_space), seed, extra)

    sampler = as_sampler(Theirs, SPACE, seed=4, resumed_at=0, options={"extra": 2})
    assert sampler.given == ({"lr", "width", "act"}, 4, 2)
    with pytest.raises(ConfigError, match=r"sampler\.extr: Theirs has no such option"):
        as_sampler(Theirs, SPACE, seed=4, resumed_at=0, options={"extr": 2})


@pytest.mark.parametrize("candidate", [3, lambda space, **options: "no sampler"])
def test_things_that_are_no_sampler(candidate):
    with pytest.raises(ConfigError, match=r"sampler: (not a sampler|builds no Optuna sampler)"):
        as_sampler(candidate, SPACE, seed=0, resumed_at=0, options={})


def test_continued_seed():
    assert continued_seed(7, 0) == 7
    seeds = {continued_seed(7, n) for n in range(200)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_construct_names_the_place():
    with pytest.raises(ConfigError, match=r"pruner\.x: RandomSampler has no such option"):
        construct(RandomSampler, {}, {"x": 1}, where="pruner")


def test_no_sampler_needs_torch_to_be_built():
    code = (
        "import sys; from hypertune import registry; from hypertune.space import SearchSpace;"
        "s = SearchSpace.from_mapping({'a': {'type': 'float', 'low': 0, 'high': 1}});"
        "[registry.load('sampler', n)(s, seed=0) for n in registry.names('sampler')];"
        "print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
