from __future__ import annotations

from hypertune.records import Event, Pruned, Started
from hypertune.tracking.memory import MemoryTracker


def test_events_are_kept_in_order_and_by_kind() -> None:
    events: list[Event] = [Started(0, 1.0, {}, 0), Pruned(0, 2.0, "slow"), Started(1, 3.0, {}, 0)]
    tracker = MemoryTracker()
    for event in events:
        tracker(event)
    assert tracker.events == events
    assert tracker.of(Started) == [events[0], events[2]]
    assert tracker.of(Pruned) == [events[1]]
