from __future__ import annotations

import itertools

import optuna
import pytest
from optuna.trial import TrialState

from hypertune.driver.attributes import INTERRUPTED, RETRY_OF, SEED, trial_records
from hypertune.driver.recovery import recover, requeue
from hypertune.driver.study_store import StudyStore, open_storage
from hypertune.errors import StorageError
from hypertune.records import Cost, Failed, Finished, Pruned, Report, Reported, Started, TrialResult
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping({"x": {"type": "float", "low": 0, "high": 1}})
RESULT = TrialResult(1.0, {"test/loss": 2.0}, {"x": 0.5}, Cost(3, 30, 4.0), "w.pt")


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path / 'study.db'}")


def store_of(storage):
    return StudyStore(storage, "s", optuna.samplers.RandomSampler(seed=5), optuna.pruners.NopPruner())


def killed(storage, *, flushed, told):
    """A driver that asked three trials, flushed some of them, told some, and died."""
    store = StudyStore.create(
        storage, "s", "minimize", optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    )
    journal = []
    for number in range(3):
        trial = store.ask(SPACE)
        trial.set_user_attr(SEED, 70 + number)
        journal.append(Started(number, 10.0 + number, dict(trial.params), 70 + number))
        if number < flushed:
            store.flush()
    for number in range(told):
        journal.append(Finished(number, 20.0, RESULT))
        store.tell(number, TrialState.COMPLETE, 1.0)
    return journal


@pytest.mark.parametrize(("flushed", "told"), list(itertools.product([0, 1, 3], [0, 1, 3])))
def test_nothing_is_lost_wherever_the_driver_died(storage, flushed, told):
    journal = killed(storage, flushed=flushed, told=told)
    params = [dict(event.params) for event in journal[:3]]
    missing = recover(storage, "s", journal, SPACE.distributions)
    assert [(type(e), e.number, e.interrupted) for e in missing] == [(Failed, n, True) for n in range(told, 3)]
    store = store_of(storage)
    records = trial_records(store.trials())
    assert [r.state for r in records] == ["complete"] * told + ["interrupted"] * (3 - told)
    assert [r.params for r in records] == params
    assert [r.seed for r in records] == [70, 71, 72]
    for record in records[:told]:
        assert (record.value, record.metrics, record.tuned) == (1.0, {"test/loss": 2.0}, {"x": 0.5})
        assert (record.cost, record.checkpoint) == (Cost(3, 30, 4.0), "w.pt")
    # The interrupted ones come again first, with their parameters and seeds.
    assert requeue(store) == list(range(told, 3))
    for number in range(told, 3):
        trial = store.ask(SPACE)
        assert trial.params == params[number]
        assert (trial.user_attrs[RETRY_OF], trial.user_attrs[SEED]) == (number, 70 + number)


def test_recovery_twice_changes_nothing(storage):
    journal = killed(storage, flushed=2, told=1)
    journal += recover(storage, "s", journal, SPACE.distributions)
    before = storage.get_all_trials(storage.get_study_id_from_name("s"))
    assert recover(storage, "s", journal, SPACE.distributions) == []
    assert storage.get_all_trials(storage.get_study_id_from_name("s")) == before


def test_a_driver_killed_again_before_repeating_queues_each_trial_once(storage):
    journal = killed(storage, flushed=3, told=0)
    journal += recover(storage, "s", journal, SPACE.distributions)
    store = store_of(storage)
    assert requeue(store) == [0, 1, 2]
    first = store.ask(SPACE)
    store.flush()  # and killed: trial 3 repeats trial 0; 1 and 2 were only queued in memory
    journal.append(Started(first.number, 30.0, dict(first.params), 70, retry_of=0))
    missing = recover(storage, "s", journal, SPACE.distributions)
    assert [e.number for e in missing] == [3]
    again = store_of(storage)
    assert requeue(again) == [1, 2, 3]


def test_pruned_and_failed_ends_are_told(storage):
    journal = killed(storage, flushed=3, told=0)
    journal += [
        Reported(0, 15.0, Report(0, {"val/loss": 4.0})),
        Pruned(0, 20.0, "too bad", Cost(seconds=2.0)),
        Failed(1, 21.0, "crashed"),
    ]
    recover(storage, "s", journal, SPACE.distributions)
    records = trial_records(store_of(storage).trials())
    assert [r.state for r in records] == ["pruned", "failed", "interrupted"]
    assert (records[0].reason, records[0].cost.seconds, records[1].reason) == ("too bad", 2.0, "crashed")


def test_what_the_journal_lacks_is_told_from_the_storage(storage):
    store = StudyStore.create(
        storage, "s", "minimize", optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner()
    )
    for number, state in enumerate([TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]):
        trial = store.ask(SPACE)
        trial.set_user_attr(SEED, 1)
        store.tell(number, state, 0.5 if state is TrialState.COMPLETE else None)
    store.ask(SPACE)
    store.flush()
    missing = recover(storage, "s", [], SPACE.distributions)
    assert [(type(e).__name__, e.number) for e in missing] == [
        ("Started", 0), ("Finished", 0), ("Started", 1), ("Failed", 1), ("Started", 2), ("Pruned", 2),
        ("Started", 3), ("Failed", 3),
    ]  # fmt: skip
    assert missing[1].result.value == 0.5


def test_a_journal_of_another_study_is_refused(storage):
    killed(storage, flushed=3, told=0)
    alien = [Started(n, 1.0, {"x": 0.5}, 0) for n in (0, 7)]
    with pytest.raises(StorageError, match="journal has trial 7, its Optuna study only 3 trials"):
        recover(storage, "s", alien, SPACE.distributions)


def test_an_interrupted_trial_is_marked_in_optuna(storage):
    journal = killed(storage, flushed=3, told=0)
    recover(storage, "s", journal, SPACE.distributions)
    for trial in storage.get_all_trials(storage.get_study_id_from_name("s")):
        assert trial.state is TrialState.FAIL
        assert trial.user_attrs[INTERRUPTED] is True
