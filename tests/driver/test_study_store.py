from __future__ import annotations

import sqlite3

import optuna
import pytest
from optuna.trial import TrialState

from hypertune.driver.study_store import StudyStore, open_storage
from hypertune.errors import StorageError
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping({"x": {"type": "float", "low": 0, "high": 1}, "c": {"choices": ["a", "b"]}})


def create(url, sampler=None, pruner=None, name="s", direction="minimize"):
    return StudyStore.create(
        open_storage(url),
        name,
        direction,
        sampler or optuna.samplers.RandomSampler(seed=0),
        pruner or optuna.pruners.NopPruner(),
    )


def durable(url, name="s"):
    return optuna.load_study(study_name=name, storage=url).trials


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'sub' / 'study.db'}"


def same(live, stored):
    for mine, theirs in zip(live, stored, strict=True):
        for attribute in ("number", "state", "params", "distributions", "values", "user_attrs", "system_attrs"):
            assert getattr(mine, attribute) == getattr(theirs, attribute), attribute
        assert mine.intermediate_values == theirs.intermediate_values
        assert mine.datetime_start == theirs.datetime_start


def test_the_durable_study_is_the_live_one_after_each_flush(url):
    store = create(url)
    first = store.ask(SPACE)
    first.set_user_attr("a", 1)
    store.flush()
    same(store.trials(), durable(url))
    assert durable(url)[0].state is TrialState.RUNNING
    store.report(0, 0, 3.0)
    second = store.ask(SPACE)
    store.flush()
    same(store.trials(), durable(url))
    store.report(0, 1, 2.0)
    store.tell(0, TrialState.COMPLETE, 2.0, {"b": {"c": [1, None]}})
    store.tell(second.number, TrialState.FAIL, attributes={"why": "x"})
    store.flush()
    same(store.trials(), durable(url))
    assert durable(url)[0].user_attrs == {"a": 1, "b": {"c": [1, None]}}


def test_a_trial_that_begins_and_ends_between_flushes_is_whole(url):
    store = create(url)
    for value in (3.0, 1.0, 2.0):
        trial = store.ask(SPACE)
        store.report(trial.number, 0, value + 1)
        store.tell(trial.number, TrialState.COMPLETE, value, {"v": value})
    assert durable(url) == []
    store.flush()
    same(store.trials(), durable(url))
    assert [t.datetime_complete is not None for t in durable(url)] == [True] * 3


def test_a_pruned_trial_keeps_its_last_value(url):
    store = create(url)
    store.ask(SPACE)
    store.report(0, 0, 5.0)
    store.report(0, 1, 4.0)
    store.tell(0, TrialState.PRUNED)
    store.flush()
    assert (durable(url)[0].state, durable(url)[0].value) == (TrialState.PRUNED, 4.0)


@pytest.mark.parametrize("sampler", ["cmaes", "qmc", "tpe"])
def test_what_samplers_keep_in_the_study_survives(url, sampler):
    """A sampler with state in trial and study attributes proposes the same with and without a restart."""
    from hypertune import registry

    space = SearchSpace.from_mapping({n: {"type": "float", "low": 0, "high": 1} for n in "xy"})

    def build():
        return registry.load("sampler", sampler)(space, seed=0)

    def go(store, n):
        for _ in range(n):
            trial = store.ask(space)
            store.tell(trial.number, TrialState.COMPLETE, trial.params["x"] ** 2 + trial.params["y"])

    whole = create(url, build(), name="whole")
    go(whole, 16)
    part = create(url, build(), name="part")
    go(part, 12)
    part.flush()
    again = StudyStore(open_storage(url), "part", build(), optuna.pruners.NopPruner())
    same(part.trials(), again.trials())
    assert again.study._storage.get_study_system_attrs(again._live_id) == part._live.get_study_system_attrs(
        part._live_id
    )
    if sampler == "qmc":  # fully determined by what is stored
        go(again, 4)
        assert [t.params for t in again.trials()[12:]] == [t.params for t in whole.trials()[12:]]


def test_the_pruner_sees_reports_at_once(url):
    store = create(url, pruner=optuna.pruners.ThresholdPruner(upper=1.0))
    store.ask(SPACE)
    assert store.report(0, 0, 0.5) is False
    assert store.report(0, 1, 1.5) is True


def test_reporting_a_step_twice_is_silent(url):
    store = create(url)
    store.ask(SPACE)
    store.report(0, 0, 0.5)
    store.report(0, 0, 0.7)
    assert store.trials()[0].intermediate_values == {0: 0.5}


def test_a_queued_trial_written_by_others_is_run_and_written_back(url):
    create(url)
    study = optuna.load_study(study_name="s", storage=url)
    study.enqueue_trial({"x": 0.25, "c": "b"})
    store = StudyStore(open_storage(url), "s", optuna.samplers.RandomSampler(seed=1), optuna.pruners.NopPruner())
    trial = store.ask(SPACE)
    assert trial.params == {"x": 0.25, "c": "b"}
    store.tell(0, TrialState.COMPLETE, 1.0)
    store.flush()
    assert (durable(url)[0].state, durable(url)[0].params) == (TrialState.COMPLETE, {"x": 0.25, "c": "b"})


def test_direction_is_kept(url):
    create(url, direction="maximize")
    again = StudyStore(open_storage(url), "s", optuna.samplers.RandomSampler(), optuna.pruners.NopPruner())
    assert again.study.direction is optuna.study.StudyDirection.MAXIMIZE


def test_a_second_study_of_that_name_is_refused(url):
    create(url)
    with pytest.raises(StorageError, match=r"study\.name: .*has a study of that name already; given 's'"):
        create(url)


def test_another_writer_is_noticed(url):
    store = create(url)
    optuna.load_study(study_name="s", storage=url).ask()
    store.ask(SPACE)
    with pytest.raises(StorageError, match="another process writes to this study"):
        store.flush()


def test_a_locked_file_is_one_error(url, monkeypatch):
    open_storage(url)
    file = url.removeprefix("sqlite:///")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.1))
    holder = connect(file)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StorageError, match="database is locked.*close the program that holds the file"):
            open_storage(url)
    finally:
        holder.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a storage URL; given 'nonsense'"),
        ("postgresql://127.0.0.1:1/none", r"study\.storage: the Optuna storage fails"),
        ("sqlite:////proc/none/study.db", r"study\.storage: the Optuna storage fails"),
    ],
)
def test_urls_that_do_not_open(url, message):
    with pytest.raises(StorageError, match=message):
        open_storage(url)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "x.db").write_text("certainly no database, but long enough to be looked at as one" * 20)
    with pytest.raises(StorageError, match=r"not a database.*name another file"):
        open_storage(f"sqlite:///{tmp_path / 'x.db'}")


def test_reading_does_not_create(url, tmp_path):
    with pytest.raises(StorageError, match="is not there"):
        open_storage(url, create=False)
    assert not (tmp_path / "sub").exists()
