from __future__ import annotations

import math

from comparison.trajectory import Point, Trajectory


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_the_incumbent_is_chosen_by_validation_alone():
    trajectory = Trajectory(100, Clock())
    trajectory.pay(10, 0.5, 0.7)
    trajectory.pay(10, 0.6, 0.1)  # a better test loss, a worse validation value
    trajectory.pay(10, 0.4, 0.9)  # a worse test loss, a better validation value
    assert trajectory.finish() == [
        Point(10, 1.0, 0.5, 0.7),
        Point(30, 2.0, 0.4, 0.9),
        Point(30, 3.0, 0.4, 0.9),
    ]


def test_epochs_of_trials_without_result_are_paid():
    trajectory = Trajectory(20, Clock())
    trajectory.pay(7)
    trajectory.pay(5, math.nan, 0.1)
    trajectory.pay(4, math.inf, 0.1)
    assert (trajectory.epochs, trajectory.left) == (16, 4)
    trajectory.pay(10)
    assert trajectory.left == 0
    (end,) = trajectory.finish()
    assert end.epochs == 26
    assert math.isnan(end.value)
    assert math.isnan(end.test)
