"""What is published of a run and what is not, as the publisher leaves it in ``published.json``."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from hypertune.tracking.journal import JOURNAL_NAME, Journal

__all__ = ["STATUS_NAME", "PublisherStatus"]

STATUS_NAME = "published.json"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """How far the publisher is.

    Attributes:
        published: Whether the store has every event of the journal.
        pending_events: Number of events that the store does not have yet.
        error: Why not, as one line; empty when nothing is wrong.
        state: ``ok``, or ``down`` while the store cannot be written.
        since: Unix seconds when the state last changed.
        offset: Bytes of the journal that are published.
        store: The tracking URI without passwords, and the experiment's name, that the offset holds for.
        parent_run_id: MLflow's id of the study's run; empty before it is known.
        experiment_id: MLflow's id of the experiment; empty before it is known.
        skipped: One line for each event that the store refuses for good.
        activity: What longer piece of work the publisher is at; empty for none.
    """

    published: bool = False
    pending_events: int = 0
    error: str = ""
    state: Literal["ok", "down"] = "ok"
    since: float = 0.0
    offset: int = 0
    store: tuple[str, str] = ("", "")
    parent_run_id: str = ""
    experiment_id: str = ""
    skipped: tuple[str, ...] = ()
    activity: str = ""

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> PublisherStatus:
        """Read the status of a run; of a run that was never published, all its events are pending."""
        status = cls()
        try:
            content = json.loads((Path(folder) / STATUS_NAME).read_bytes())
            content["store"], content["skipped"] = tuple(content["store"]), tuple(content["skipped"])
            status = cls(**content)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there, or not ours: publishing again from the beginning is harmless
        journal = Journal(Path(folder) / JOURNAL_NAME)
        if status.offset > journal.size():
            status = replace(status, offset=0)  # another journal than the one that was published
        pending = _count_lines(journal.path, status.offset)
        return replace(status, pending_events=pending, published=pending == 0)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the status, the old or the new whole, whatever happens."""
        content = asdict(self)
        del content["published"], content["pending_events"]  # a matter of the journal, which grows
        path = Path(folder) / STATUS_NAME
        fresh = path.with_suffix(".json.tmp")
        fresh.write_text(json.dumps(content), encoding="utf-8")
        fresh.replace(path)

    def line(self) -> str:
        """Return one line for a progress display; empty when nothing is wrong."""
        parts = []
        if self.state == "down":
            clock = time.strftime("%H:%M:%S", time.localtime(self.since))
            parts.append(f"MLflow is not reachable since {clock} ({self.error}); {self.pending_events} events kept")
        if self.skipped:
            parts.append(f"MLflow refused {len(self.skipped)} events, the last: {self.skipped[-1]}")
        return "; ".join(parts)


def _count_lines(path: Path, offset: int) -> int:
    count = 0
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while block := file.read(_BLOCK):
                count += block.count(b"\n")
    except OSError:
        return 0
    return count
