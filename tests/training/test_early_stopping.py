from __future__ import annotations

import math

import pytest

from hypertune.training.early_stopping import EarlyStopping


@pytest.mark.parametrize(
    ("direction", "values", "best"),
    [
        ("minimize", [3.0, 1.0, 1.0, 2.0], 1),  # the first of two equals
        ("maximize", [3.0, 1.0, 4.0, 4.0], 2),
        ("minimize", [math.nan, 2.0, -math.inf, 3.0], 1),
        ("maximize", [-math.inf, math.nan], None),
    ],
)
def test_best_epoch(direction: str, values: list[float], best: int | None) -> None:
    stopping = EarlyStopping(direction)  # type: ignore[arg-type]
    improved = [stopping.update(epoch, value) for epoch, value in enumerate(values)]
    assert stopping.best_epoch == best
    assert not stopping.should_stop
    if best is not None:
        assert stopping.best_value == values[best]
        assert improved[best]
        assert not any(improved[best + 1 :])


def test_patience_counts_epochs_in_a_row() -> None:
    stopping = EarlyStopping("minimize", patience=2)
    stops = []
    for epoch, value in enumerate([5.0, 6.0, 4.0, 4.0, math.nan]):
        stopping.update(epoch, value)
        stops.append(stopping.should_stop)
    assert stops == [False, False, False, False, True]
