"""A trial whose machine was lost is repeated, by the same loop, with the same parameters and seed."""

from __future__ import annotations

from collections import Counter

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from hypertune.driver.ask_tell import AskTell
from hypertune.driver.study_store import StudyStore
from hypertune.records import Failed, Finished, Started, TrialResult
from hypertune.runners.contract import Ended
from hypertune.space import SearchSpace

SPACE = SearchSpace.load({"x": {"type": "float", "low": 0, "high": 1}})


class Unreliable:
    """Loses the trials it is told to; ends what runs all at once."""

    executing = False

    def __init__(self, lost, stop_after=None, workers=2):
        self.workers = workers
        self.lost, self.assignments, self.running, self.stop_after, self.loop = lost, [], [], stop_after, None

    def start(self, *_, **__): ...

    def check(self): ...

    def close(self): ...

    def free(self):
        return self.workers - len(self.running)

    def submit(self, assignment):
        self.assignments.append(assignment)
        self.running.append(assignment)
        return "somewhere"

    def wait(self, timeout):
        running, self.running = self.running, []
        if self.stop_after is not None and len(self.assignments) >= self.stop_after:
            self.loop.stop.level = 1
        return [
            Ended(a.number, "interrupted", reason="lost")
            if a.number in self.lost
            else Ended(a.number, "finished", TrialResult(float(a.params["x"])))
            for a in running
        ]

    def stop_all(self):
        return []


def search(runner, tmp_path, n_trials, sampler=None):
    events, storage = [], InMemoryStorage()
    sampler = sampler or optuna.samplers.RandomSampler(seed=0)
    store = StudyStore.create(storage, "s", "minimize", sampler, optuna.pruners.NopPruner())
    loop = AskTell(
        store=store,
        runner=runner,
        space=SPACE,
        metric="value",
        folder=tmp_path,
        emit=events.append,
        trial_seed=lambda number: 1000 + number,
        n_trials=n_trials,
    )
    runner.loop = loop
    finished = loop.run(lambda: None, prunes=False)
    return finished, events, storage.get_all_trials(storage.get_study_id_from_name("s"))


@pytest.mark.parametrize("lost", [{0}, {0, 1}, {1, 2, 3}, {4}])
def test_exactly_n_trials_finish(lost, tmp_path):
    runner = Unreliable(lost)
    finished, events, trials = search(runner, tmp_path, 5)
    assert finished
    assert Counter(type(e) for e in events if isinstance(e, (Finished, Failed))) == {Finished: 5, Failed: len(lost)}
    assert [trial.state for trial in trials if trial.number in lost] == [TrialState.FAIL] * len(lost)
    retries = {a.retry_of: a for a in runner.assignments if a.retry_of is not None}
    assert set(retries) == lost
    by_number = {a.number: a for a in runner.assignments}
    for number, retry in retries.items():
        assert (retry.params, retry.seed) == (by_number[number].params, by_number[number].seed)
    assert {e.number: e.retry_of for e in events if isinstance(e, Started)} == {
        a.number: a.retry_of for a in runner.assignments
    }
    assert len({a.params["x"] for a in runner.assignments}) == 5


def test_a_sampler_that_has_nothing_left_is_not_asked_for_a_repetition(tmp_path):
    grid = optuna.samplers.GridSampler({"x": [0.1, 0.5, 0.9]}, seed=0)
    runner = Unreliable({2}, workers=1)
    _, events, _ = search(runner, tmp_path, None, grid)
    assert sorted(e.result.value for e in events if isinstance(e, Finished)) == [0.1, 0.5, 0.9]


def test_a_stopped_search_repeats_nothing(tmp_path):
    runner = Unreliable({0, 1}, stop_after=2)
    finished, _, trials = search(runner, tmp_path, 5)
    assert not finished
    assert [trial.state for trial in trials] == [TrialState.FAIL, TrialState.FAIL]


def test_a_search_waits_for_the_worker_that_replaces_its_last_one(tmp_path):
    class Slow(Unreliable):
        pause = 0

        def free(self):
            return 0 if self.pause else super().free()

        def wait(self, timeout):
            self.pause = 3 if self.pause == 0 and self.running else max(0, self.pause - 1)
            return super().wait(timeout)

    runner = Slow({0}, workers=1)
    finished, events, _ = search(runner, tmp_path, 3)
    assert finished
    assert sum(isinstance(event, Finished) for event in events) == 3
