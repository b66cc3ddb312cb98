from __future__ import annotations

import math
from dataclasses import replace

from comparison.self_tuning import self_tuning_cell, self_tuning_study
from comparison.tasks import TASKS
from optuna.samplers import RandomSampler

from hypertune.records import TUNED
from hypertune.training.self_tuning_settings import SelfTuningSettings

TASK = replace(TASKS["diabetes-mlp"], epochs=3)


def test_one_trial_of_two_full_ones_within_the_budget(tmp_path):
    points = self_tuning_cell(TASK, 0, 60, tmp_path, self_tuning=SelfTuningSettings())
    assert {point.epochs for point in points} == {6}
    assert math.isfinite(points[-1].value)
    assert math.isfinite(points[-1].test)
    again = self_tuning_cell(TASK, 0, 60, tmp_path / "again", self_tuning=SelfTuningSettings())
    assert (again[-1].value, again[-1].test) == (points[-1].value, points[-1].test)
    short = self_tuning_cell(TASK, 0, 5, tmp_path / "short", self_tuning=SelfTuningSettings())
    assert short[-1].epochs == 5


def test_a_study_tells_its_sampler_where_tuning_ended(tmp_path):
    class Seeing(RandomSampler):
        ends: list[dict[str, float]] = []  # noqa: RUF012

        def after_trial(self, study, trial, state, values):
            self.ends.append(trial.user_attrs[TUNED])

    points = self_tuning_study(TASK, 0, 5, tmp_path, sampler=Seeing(seed=0), self_tuning=SelfTuningSettings(warmup=0.0))
    assert points[-1].epochs == 5
    assert [set(end) for end in Seeing.ends] == [TASK.space.self_tuned] * 2
    assert Seeing.ends[0] != {name: TASK.start[name] for name in TASK.space.self_tuned}
