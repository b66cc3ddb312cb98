"""``memory``: keeps events in a list, for tests and notebooks."""

from __future__ import annotations

from typing import TypeVar

from hypertune.records import Event

__all__ = ["MemoryTracker"]

EventT = TypeVar("EventT", bound=Event)


class MemoryTracker:
    """A listener that keeps every event.

    Attributes:
        events: The events in the order they came.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)

    def of(self, kind: type[EventT]) -> list[EventT]:
        """Return the events of one class, for example ``of(Finished)``."""
        return [event for event in self.events if isinstance(event, kind)]
