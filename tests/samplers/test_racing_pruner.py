from __future__ import annotations

import time

import numpy as np
import optuna
import pytest

from hypertune.bounds.betting import betting_lower
from hypertune.bounds.candidates import CandidateSet
from hypertune.errors import ConfigError, TaskError
from hypertune.samplers import DataDrivenSampler, RacingPruner
from hypertune.samplers._race import Race, refuted_by_others


def study(pruner, direction="maximize", sampler=None):
    return optuna.create_study(
        direction=direction, pruner=pruner, sampler=sampler or optuna.samplers.RandomSampler(seed=0)
    )


def test_it_stops_exactly_when_the_paired_lower_bound_says_so(utilities, take_in_turn):
    table = utilities([0.6, 0.45, 0.5, 0.62], 120)
    lived = take_in_turn(study(RacingPruner(candidates=4)), table)
    level = CandidateSet.of(range(4), 0.05, open=True).pair_level(0, 1)

    def first_refuted(rivals, loser):
        for n in range(2, 121):
            pairs = (table[:n, rivals] - table[:n, [loser]] + 1) / 2
            if (betting_lower(pairs, level) >= 0.5).any():
                return n
        return 120

    assert lived == [120, first_refuted([0], 1), first_refuted([0], 2), 120]
    assert lived[1] < lived[2] < 120  # a larger gap is seen earlier


def test_minimizing_is_the_mirror_image(utilities, take_in_turn):
    table = utilities([0.6, 0.45, 0.5, 0.62], 80)
    up = take_in_turn(study(RacingPruner(candidates=4)), table)
    assert take_in_turn(study(RacingPruner(candidates=4), "minimize"), 1 - table) == up
    scaled = RacingPruner(candidates=4, low=-3.0, high=7.0)
    assert take_in_turn(study(scaled, "minimize"), 7 - 10 * table) == up


def test_the_first_trial_and_equal_ones_see_all_tasks(utilities, take_in_turn):
    table = np.repeat(utilities([0.5], 60), 3, axis=1)
    assert take_in_turn(study(RacingPruner(candidates=3)), table) == [60, 60, 60]


def test_a_failed_task_counts_for_neither_side(utilities, take_in_turn):
    table = utilities([0.6, 0.3], 60)
    kept = np.delete(table, [3, 4, 20], axis=0)
    holes = table.copy()
    holes[[3, 20], 0] = np.nan
    holes[4, 1] = np.nan
    seen = take_in_turn(study(RacingPruner(candidates=2)), holes)[1]
    without = take_in_turn(study(RacingPruner(candidates=2)), kept)[1]
    assert seen == without + sum(step < seen for step in (3, 4, 20))
    assert seen < 60


def test_levels_are_those_of_the_candidate_set():
    race = Race(5, 0.1)
    members = CandidateSet.of(range(5), 0.1, open=True)
    for number in range(5, 9):
        members = members.add(number, 0)
    for worse in range(9):
        others = [number for number in range(9) if number != worse]
        expected = [members.pair_level(better, worse) for better in others]
        np.testing.assert_allclose(race.pair_levels(others, worse), expected, rtol=1e-12)
    closed = Race(5, 0.1, open=False).pair_levels([1], 0)
    assert Race(5, 0.1, open=False).pair_levels([1], 6)[0] < 1e-300
    assert closed[0] == pytest.approx(CandidateSet.of(range(5), 0.1).pair_level(1, 0))


def test_options_come_from_the_sampler_unless_given():
    sampler = DataDrivenSampler(candidates=7, delta=0.2, low=-1, high=2, refinements=0)
    assert RacingPruner().race(study(None, sampler=sampler)) == sampler.race
    assert RacingPruner(delta=0.01).race(study(None, sampler=sampler)) == Race(7, 0.01, -1, 2, open=False)
    assert RacingPruner().race(study(None)) == Race()


def test_another_process_goes_on_where_the_first_was(utilities):
    table = utilities([0.6, 0.45], 100)
    shared = study(RacingPruner(candidates=2))
    first = shared.ask()
    for step, value in enumerate(table[:, 0]):
        first.report(value, step)
    shared.tell(first, 0.6)
    trial = shared.ask()
    for step, value in enumerate(table[:, 1]):
        trial.report(value, step)
        frozen = shared.get_trials()[trial.number]
        fresh = RacingPruner(candidates=2).prune(shared, frozen)
        assert trial.should_prune() == fresh
        if fresh:
            break
    assert fresh


def test_mistakes_are_as_rare_as_promised():
    # 8 equal candidates: each stop is a mistake. 120 studies in one table of pairs each.
    rng = np.random.default_rng(5)
    wrong = sum(
        refuted_by_others(rng.integers(0, 2, (150, 8)).astype(float), range(8), Race(8, 0.2, open=False)).any()
        for _ in range(120)
    )
    assert wrong / 120 <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / 120)


def test_a_look_costs_little(utilities):
    table = utilities([0.5] * 12, 600)
    pruner, seconds = RacingPruner(candidates=64), []
    shared = study(pruner)
    for column in table.T:
        trial = shared.ask()
        for step, value in enumerate(column):
            trial.report(value, step)
            frozen = shared.get_trials(deepcopy=False)[trial.number]
            begun = time.process_time()
            pruner.prune(shared, frozen)
            seconds.append(time.process_time() - begun)
        shared.tell(trial, 0.5)
    assert np.median(seconds[-600:]) < 300e-6
    assert np.median(seconds[-100:]) < 3 * np.median(seconds[-600:-500])


@pytest.mark.parametrize(
    ("options", "where"),
    [({"delta": 0.0}, "delta"), ({"delta": 1.5}, "delta"), ({"candidates": 1}, "candidates"), ({"low": 2.0}, "low")],
)
def test_options_out_of_range(options, where):
    with pytest.raises(ConfigError, match=where):
        RacingPruner(**options)


def test_values_without_limits_must_be_utilities():
    shared = study(RacingPruner())
    trial = shared.ask()
    trial.report(1.7, 0)
    with pytest.raises(TaskError, match=r"(?s)outside \[0, 1\].*low and high.*clipped"):
        trial.should_prune()
