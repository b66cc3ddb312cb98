"""Run folders written by hand, event by event, so that every report is about a study that is known exactly."""

from __future__ import annotations

import json
import os

import pytest

from hypertune._yaml import dump_yaml
from hypertune.records import (
    Cost,
    Failed,
    Finished,
    Pruned,
    Report,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialResult,
)
from hypertune.run_folder import RunFolder
from hypertune.tracking.journal import Journal

SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "doc": "step size"},
    "dropout": {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True},
    "units": {"type": "int", "low": 4, "high": 64, "unit": "units"},
    "kind": {"type": "categorical", "choices": ["relu", "tanh", None, True]},
    "slope": {"type": "float", "low": 0.0, "high": 1.0, "when": {"kind": "relu"}},
    "fixed": {"type": "categorical", "choices": [3]},
}


class Run:
    """A run folder in the making; time goes on by one second with each event."""

    def __init__(self, path, name="s", *, space=None, metric="val/loss", direction="minimize", n_trials=10, tags=None):
        path.mkdir(parents=True)
        self.folder, self.path, self.now = RunFolder(path), path, 1_000_000.0
        self.folder.write_json(self.folder.identity, {"study": name})
        self.folder.write_text(self.folder.space, dump_yaml(SPACE if space is None else space))
        study = {"name": name, "metric": metric, "direction": direction, "n_trials": n_trials}
        self.folder.write_text(self.folder.config, dump_yaml({"study": study}))
        self.journal = Journal(self.folder.journal)
        self.info = StudyInfo(name, direction, metric, n_trials, str(path), tags or {"sampler": "tpe"})
        self.opened()

    def emit(self, event):
        self.journal(event)
        self.now += 1.0

    def opened(self):
        self.emit(StudyOpened(self.now, self.info))

    def start(self, number, worker="local-0", **params):
        self.emit(Started(number, self.now, params, number, worker))

    def report(self, number, step, metrics, tuned=None):
        self.emit(Reported(number, self.now, Report(step, metrics, tuned or {})))

    def finish(self, number, value, metrics=None, tuned=None, epochs=2):
        cost = Cost(epochs, 10 * epochs, 1.5)
        self.emit(Finished(number, self.now, TrialResult(value, metrics or {}, tuned or {}, cost)))

    def fail(self, number, reason, interrupted=False):
        self.emit(Failed(number, self.now, reason, "", interrupted, Cost(1, 5, 0.5)))

    def prune(self, number, reason="cannot win", tuned=None):
        self.emit(Pruned(number, self.now, reason, Cost(1, 5, 0.5), tuned or {}))

    def close(self, finished=True, **found):
        content = {"finished": finished, "versions": {"hypertune": "0"}, **found}
        self.folder.write_text(self.folder.result, json.dumps(content))
        os.utime(self.folder.result, (self.now, self.now))
        self.emit(StudyClosed(self.now, finished, None, content))
        return self


@pytest.fixture
def make_run(tmp_path):
    return lambda name="s", **options: Run(tmp_path / f"run-{len(list(tmp_path.iterdir()))}", name, **options)


@pytest.fixture
def ordinary(make_run):
    """Twelve complete trials with curves and self-tuning, one pruned, one failed, one running; trial 5 wins."""
    run = make_run()
    for number in range(12):
        kind = ["relu", "tanh", None, True][number % 4]
        slope = {"slope": number / 12} if kind == "relu" else {}
        run.start(
            number, f"local-{number % 2}", lr=10 ** (-4 + number / 4), dropout=0.6, units=4 + number, kind=kind,
            fixed=3, **slope,
        )  # fmt: skip
        value = 1.0 + abs(number - 5)
        for step in range(3):
            run.report(number, step, {"val/loss": value + 2 - step, "val/accuracy": 0.5}, {"dropout": 0.6 - 0.1 * step})
        run.finish(number, value, {"test/loss": value + 0.25}, {"dropout": 0.4})
    run.start(12, "local-0", lr=0.05, dropout=0.1, units=5, kind="tanh", fixed=3)
    run.report(12, 0, {"val/loss": 9.5}, {"dropout": 0.1})
    run.prune(12, tuned={"dropout": 0.1})
    run.start(13, "local-1", lr=0.05, dropout=0.1, units=5, kind="tanh", fixed=3)
    run.fail(13, "ValueError: no")
    run.start(14, "local-0", lr=0.05, dropout=0.1, units=5, kind="tanh", fixed=3)
    return run


@pytest.fixture
def racing(make_run):
    """Three candidates over four tasks: 0 stopped after two, 2 wins."""
    run = make_run("race", metric="val/accuracy", direction="maximize")
    utilities = {0: [0.1, 0.3], 1: [0.5, 0.5, 0.7, 0.7], 2: [0.6, 0.8, 0.7, 0.9]}
    for number, values in utilities.items():
        run.start(number, lr=0.001 * (number + 1), dropout=0.1, units=8, kind="tanh", fixed=3)
        for task, value in enumerate(values):
            run.report(number, task, {"val/accuracy": value, "tasks/failed": 0})
    run.prune(0)
    run.finish(1, 0.6, {"hold_out/mean": 0.55, "hold_out/certified": 0.3, "hold_out/tasks": 20.0})
    run.finish(2, 0.75, {"hold_out/mean": 0.7, "hold_out/certified": 0.5, "hold_out/tasks": 20.0})
    certificate = {"value": 0.25, "estimate": 0.75, "delta": 0.05, "n": 4, "vacuous": False}
    return run.close(survivors=[1, 2], certificate=certificate)
