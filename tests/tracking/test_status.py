from __future__ import annotations

import json
from pathlib import Path

from hypertune.records import Started
from hypertune.tracking.journal import JOURNAL_NAME, Journal
from hypertune.tracking.status import STATUS_NAME, PublisherStatus


def journal(folder: Path, count: int) -> list[int]:
    """Write events and return the offset behind each."""
    ends = []
    with Journal(folder / JOURNAL_NAME) as file:
        for number in range(count):
            file(Started(number, 0.0, {}, 0))
            ends.append(file.size())
    return ends


def test_what_was_written_is_read(tmp_path: Path) -> None:
    ends = journal(tmp_path, 5)
    PublisherStatus(
        offset=ends[1], state="down", error="refused", since=3.0, store=("uri", "exp"), skipped=("a", "b")
    ).write(tmp_path)
    status = PublisherStatus.read(tmp_path)
    assert (status.offset, status.state, status.error, status.since) == (ends[1], "down", "refused", 3.0)
    assert (status.store, status.skipped) == (("uri", "exp"), ("a", "b"))
    assert (status.pending_events, status.published) == (3, False)
    PublisherStatus(offset=ends[-1]).write(tmp_path)
    assert PublisherStatus.read(tmp_path).published


def test_a_torn_last_line_is_not_pending(tmp_path: Path) -> None:
    ends = journal(tmp_path, 2)
    with (tmp_path / JOURNAL_NAME).open("ab") as file:
        file.write(b'{"event":"Sta')
    PublisherStatus(offset=ends[1]).write(tmp_path)
    assert PublisherStatus.read(tmp_path).published


def test_a_run_that_was_never_published_has_everything_pending(tmp_path: Path) -> None:
    assert PublisherStatus.read(tmp_path) == PublisherStatus(published=True)
    journal(tmp_path, 3)
    assert PublisherStatus.read(tmp_path).pending_events == 3
    for content in ("", "[]", "{}", "not json", json.dumps({"offset": 1}), json.dumps({"unknown": 1})):
        (tmp_path / STATUS_NAME).write_text(content)
        assert PublisherStatus.read(tmp_path).pending_events == 3


def test_an_offset_behind_the_end_belongs_to_another_journal(tmp_path: Path) -> None:
    ends = journal(tmp_path, 3)
    PublisherStatus(offset=ends[-1] + 1).write(tmp_path)
    status = PublisherStatus.read(tmp_path)
    assert (status.offset, status.pending_events) == (0, 3)


def test_the_line_says_what_is_wrong() -> None:
    assert PublisherStatus().line() == ""
    down = PublisherStatus(state="down", error="Connection refused", since=0.0, pending_events=7).line()
    assert "not reachable since" in down
    assert "(Connection refused); 7 events kept" in down
    assert "refused 2 events, the last: b" in PublisherStatus(skipped=("a", "b")).line()
