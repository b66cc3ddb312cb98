from __future__ import annotations

import optuna
import pytest

from hypertune import registry
from hypertune.errors import ConfigError
from hypertune.samplers.contract import as_pruner
from hypertune.samplers.pruners.racing import RacingPruner

EXPECTED = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "successive_halving": optuna.pruners.SuccessiveHalvingPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
    "racing": RacingPruner,
    "patient": optuna.pruners.PatientPruner,
}


def build(name, epochs=20, **options):
    return as_pruner(registry.load("pruner", name), epochs=epochs, options=options)


def test_every_name_builds_its_pruner():
    assert set(EXPECTED) == set(registry.names("pruner"))
    for name, kind in EXPECTED.items():
        assert type(build(name)) is kind


def run(pruner, curves):
    """Report curves one after another; return how many steps each lived."""
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    lived = []
    for curve in curves:
        trial = study.ask()
        steps = 0
        for step, value in enumerate(curve):
            trial.report(value, step)
            steps += 1
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, curve[-1])
        lived.append(steps)
    return lived


GOOD = [[1.0 - 0.01 * s for s in range(20)] for _ in range(6)]
BAD = [5.0 + 0.1 * s for s in range(20)]
LATE = [5.0 - 0.2 * s for s in range(20)]


@pytest.mark.parametrize("name", ["median", "patient", "hyperband", "successive_halving"])
def test_good_trials_live_and_bad_ones_do_not(name):
    lived = run(build(name), [*GOOD, BAD, BAD, BAD, BAD])
    assert max(lived[:6]) == 20
    assert min(lived[6:]) < 20


def test_median_waits_a_tenth_of_the_epochs():
    assert run(build("median", epochs=20), [*GOOD, BAD])[-1] == 3
    assert run(build("median", epochs=20, n_warmup_steps=8), [*GOOD, BAD])[-1] == 9


def test_patient_spares_a_trial_that_still_improves():
    assert run(build("median"), [*GOOD, LATE])[-1] < 20
    assert run(build("patient"), [*GOOD, LATE])[-1] == 20


def test_none_never_prunes():
    assert run(build("none"), [*GOOD, BAD])[-1] == 20


def test_hyperband_ends_at_the_epochs():
    assert build("hyperband", epochs=81)._max_resource == 81


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_unknown_option_is_an_error(name):
    with pytest.raises(ConfigError, match=r"pruner\.no_such_option"):
        build(name, no_such_option=1)


def test_patient_wraps_known_pruners_only():
    with pytest.raises(ConfigError, match=r"pruner\.wrapped.*did you mean 'median'"):
        build("patient", wrapped="mediann")
    assert build("patient", wrapped=None)._wrapped_pruner is None


def test_a_foreign_class():
    pruner = as_pruner(optuna.pruners.ThresholdPruner, epochs=3, options={"upper": 1.0})
    assert isinstance(pruner, optuna.pruners.ThresholdPruner)
    with pytest.raises(ConfigError, match="builds no Optuna pruner"):
        as_pruner(lambda epochs: 3, epochs=3, options={})
