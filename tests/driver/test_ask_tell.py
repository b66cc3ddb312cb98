from __future__ import annotations

import math
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from hypertune.driver.ask_tell import AskTell, Stop
from hypertune.driver.attributes import trial_records
from hypertune.driver.study_store import StudyStore, open_storage
from hypertune.errors import ConfigError
from hypertune.objectives import UserObjective
from hypertune.records import Cost, Failed, Finished, Pruned, Reported, Started
from hypertune.runners.inline import InlineRunner
from hypertune.runners.local import LocalRunner
from hypertune.space import SearchSpace

OBJECTIVES = Path(__file__).parent.parent / "runners"
SPACE = SearchSpace.from_mapping({"x": {"type": "float", "low": 0, "high": 1}})


def drive(
    tmp_path,
    name,
    *,
    runner=None,
    n_trials=4,
    pruner=None,
    stop=None,
    on_event=None,
    store=None,
    metric="val/loss",
    name_of_study="s",
    **keywords,
):
    events = []

    def emit(event):
        events.append(event)
        if on_event is not None:
            on_event(event)

    if store is None:
        store = StudyStore.create(
            open_storage(f"sqlite:///{tmp_path / 'study.db'}"),
            name_of_study,
            "minimize",
            optuna.samplers.RandomSampler(seed=0),
            pruner or optuna.pruners.NopPruner(),
        )
    loop = AskTell(
        store=store,
        runner=runner or InlineRunner(),
        space=SPACE,
        metric=metric,
        folder=tmp_path,
        emit=emit,
        trial_seed=lambda number: 1000 + number,
        n_trials=n_trials,
        stop=stop or Stop(),
        **keywords,
    )
    finished = loop.run(UserObjective(f"objectives_under_test:{name}", OBJECTIVES), prunes=pruner is not None)
    return finished, events, store


@pytest.mark.parametrize("runner", [InlineRunner, LocalRunner])
def test_events_study_and_runner_agree(tmp_path, runner):
    finished, events, store = drive(tmp_path, "reporting", runner=runner(), n_trials=3)
    assert finished
    assert Counter(type(e) for e in events) == {Started: 3, Reported: 15, Finished: 3}
    for number in range(3):
        mine = [e for e in events if e.number == number]
        assert [type(e) for e in mine] == [Started, *[Reported] * 5, Finished]
        assert mine[0].seed == 1000 + number
        assert mine[-1].result.tuned == {"dropout": 0.4}
        assert [e.time for e in mine] == sorted(e.time for e in mine)
    records = trial_records(store.trials())
    assert [r.state for r in records] == ["complete"] * 3
    assert [r.value for r in records] == [r.params["x"] for r in records]
    assert records[0].metrics == {"test/loss": 2.0}
    assert records[0].cost == Cost(5, 50, 1.5)
    assert store.trials()[1].intermediate_values == pytest.approx({s: records[1].params["x"] + s for s in range(5)})


def test_the_durable_study_is_complete_at_the_end(tmp_path):
    drive(tmp_path, "quadratic", n_trials=7)
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 7


def test_one_worker_and_inline_give_the_same_study(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, _, inline = drive(tmp_path / "a", "quadratic", n_trials=5)
    _, _, local = drive(tmp_path / "b", "quadratic", n_trials=5, runner=LocalRunner())
    assert [(t.params, t.values) for t in inline.trials()] == [(t.params, t.values) for t in local.trials()]


def test_exactly_n_trials_finish_with_many_workers(tmp_path):
    finished, events, store = drive(tmp_path, "quadratic", n_trials=11, runner=LocalRunner(workers=3))
    assert finished
    assert len(store.trials()) == 11
    assert sorted(e.number for e in events if isinstance(e, Started)) == list(range(11))


def test_the_pruner_prunes_and_the_cost_is_kept(tmp_path):
    finished, events, store = drive(
        tmp_path, "reporting", n_trials=2, pruner=optuna.pruners.ThresholdPruner(upper=2.5), runner=LocalRunner()
    )
    ends = [e for e in events if isinstance(e, Pruned)]
    assert finished
    assert len(ends) == 2
    for record in trial_records(store.trials()):
        assert record.state == "pruned"
        assert record.cost.epochs in (2, 3)
        assert record.reason.startswith("pruned at")


def test_failures_count_as_finished_and_keep_their_reason(tmp_path):
    finished, events, store = drive(tmp_path, "mixed", n_trials=12)
    assert finished
    states = Counter(r.state for r in trial_records(store.trials()))
    assert states == {"complete": 2, "failed": 9, "pruned": 1}
    failed = next(e for e in events if isinstance(e, Failed) and e.number == 6)
    assert failed.reason == "ZeroDivisionError: one by zero"
    assert "raise ZeroDivisionError" in failed.traceback


def test_seconds_are_measured_when_the_objective_gives_none(tmp_path):
    _, events, store = drive(tmp_path, "quadratic", n_trials=1)
    assert 0 < trial_records(store.trials())[0].cost.seconds < 5
    assert 0 < events[-1].result.cost.seconds < 5


def test_first_wish_to_stop_lets_running_trials_finish(tmp_path):
    stop = Stop()

    def on_event(event):
        if isinstance(event, Started) and event.number == 2:
            stop.level = 1

    finished, _, store = drive(tmp_path, "quadratic", n_trials=10, stop=stop, on_event=on_event)
    assert not finished
    assert [r.state for r in trial_records(store.trials())] == ["complete"] * 3


def test_second_wish_interrupts_them(tmp_path):
    stop = Stop()

    def on_event(event):
        if isinstance(event, Reported):
            stop.level = 2

    begun = time.monotonic()
    finished, events, store = drive(
        tmp_path, "slow", n_trials=10, stop=stop, on_event=on_event, runner=LocalRunner(workers=2)
    )
    assert not finished
    assert time.monotonic() - begun < 15
    assert {r.state for r in trial_records(store.trials())} == {"interrupted"}
    assert all(e.interrupted for e in events if isinstance(e, Failed))


def test_deadline_starts_no_new_trial(tmp_path):
    finished, _, store = drive(tmp_path, "slow", n_trials=None, deadline=time.monotonic() + 5.0)
    assert finished
    assert [r.state for r in trial_records(store.trials())] == ["complete"]


def test_nothing_is_started_when_enough_is_there(tmp_path):
    _, _, store = drive(tmp_path, "quadratic", n_trials=3)
    finished, events, _ = drive(tmp_path, "no_such_objective", n_trials=3, store=store)
    assert finished
    assert events == []


def test_an_objective_that_cannot_be_made_starts_no_trial(tmp_path):
    with pytest.raises(ConfigError):
        drive(tmp_path, "no_such_objective", runner=LocalRunner())
    assert optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}").trials == []


def test_a_long_trial_is_visible_in_the_storage_while_it_runs(tmp_path):
    seen = []

    def on_event(event):
        if isinstance(event, Reported) and event.report.step == 40:
            study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}")
            seen.append((study.trials[0].state, len(study.trials[0].intermediate_values)))

    drive(tmp_path, "slow", n_trials=1, runner=LocalRunner(), on_event=on_event, deadline=math.inf)
    assert seen[0][0] is TrialState.RUNNING
    assert seen[0][1] > 10


def test_a_pruner_with_nothing_to_judge_is_one_error_after_the_first_trial(tmp_path):
    with pytest.raises(
        ConfigError, match=r"study\.metric: .*never reported it; given 'val/loss'; expected trial\.report"
    ):
        drive(tmp_path, "quadratic", pruner=optuna.pruners.MedianPruner())
    with pytest.raises(ConfigError, match=r"expected one of val/accuracy, val/loss\. Fix: did you mean 'val/loss'"):
        drive(tmp_path, "reporting", pruner=optuna.pruners.MedianPruner(), metric="val/los", name_of_study="other")
    study = optuna.load_study(study_name="other", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert [t.state for t in study.trials] == [TrialState.COMPLETE]
