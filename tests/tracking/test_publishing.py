"""The publisher's loop, in this process: outages, refused events, another store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.tracking import MlflowClient

from hypertune.errors import TrackingError
from hypertune.records import (
    Event,
    Finished,
    Report,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialResult,
)
from hypertune.tracking._publishing import Publishing
from hypertune.tracking._store import open_store
from hypertune.tracking.contract import Attachments
from hypertune.tracking.journal import JOURNAL_NAME, Journal
from hypertune.tracking.status import PublisherStatus

T0 = 1_700_000_000.0


def never() -> bool:
    return False


def trial(number: int, value: float) -> list[Event]:
    begin = T0 + 10 * number
    return [
        Started(number, begin, {"lr": 0.1 * number}, number),
        Reported(number, begin + 1, Report(0, {"val/loss": value + 1})),
        Finished(number, begin + 2, TrialResult(value)),
    ]


@pytest.fixture
def journal(info: StudyInfo) -> Journal:
    journal = Journal(Path(info.folder) / JOURNAL_NAME)
    journal(StudyOpened(T0, info))
    return journal


@pytest.fixture
def publishing(store: str, info: StudyInfo, journal: Journal) -> Callable[..., Publishing]:
    def make(uri: str = store, experiment: str = "exp") -> Publishing:
        return Publishing(info.folder, uri, experiment, info, Attachments())

    return make


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypertune.tracking._publishing.time.sleep", lambda seconds: None)


def append(journal: Journal, *events: Event) -> None:
    for event in events:
        journal(event)


def test_everything_up_to_now_is_published(
    publishing: Callable[..., Publishing], journal: Journal, store: str, info: StudyInfo, read: Callable[..., Any]
) -> None:
    loop = publishing()
    assert loop.step(never)
    assert not loop.step(never)
    append(journal, *trial(0, 0.5), *trial(1, 0.4))
    assert loop.step(never)
    status = PublisherStatus.read(info.folder)
    assert (status.published, status.offset, status.state) == (True, journal.size(), "ok")
    assert status.parent_run_id == read(store, "exp").parent().info.run_id
    assert sorted(read(store, "exp").children()) == [0, 1]
    assert read(store, "exp").parent().info.start_time == int(T0 * 1000)


def test_a_later_publisher_goes_on_where_the_last_one_stopped(
    publishing: Callable[..., Publishing], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, *trial(0, 0.5))
    publishing().step(never)
    append(journal, *trial(1, 0.4))
    seen: list[Event] = []
    monkeypatch.setattr("hypertune.tracking.mlflow.MlflowWriter.apply", lambda self, events: seen.extend(events))
    publishing().step(never)
    assert seen == trial(1, 0.4)


@pytest.mark.parametrize("other", ["store", "experiment"])
def test_another_store_gets_everything_from_the_beginning(
    publishing: Callable[..., Publishing],
    journal: Journal,
    tmp_path: Path,
    store: str,
    read: Callable[..., Any],
    other: str,
) -> None:
    append(journal, *trial(0, 0.5), *trial(1, 0.4))
    publishing().step(never)
    uri = f"sqlite:///{tmp_path}/other.db" if other == "store" else store
    experiment = "other" if other == "experiment" else "exp"
    publishing(uri, experiment).step(never)
    assert sorted(read(uri, experiment).children()) == [0, 1]


def test_a_run_deleted_in_the_store_is_published_again(
    publishing: Callable[..., Publishing], journal: Journal, store: str, read: Callable[..., Any]
) -> None:
    append(journal, *trial(0, 0.5))
    loop = publishing()
    loop.step(never)
    MlflowClient(store).delete_run(loop.status.parent_run_id)
    append(journal, *trial(1, 0.4), StudyClosed(T0 + 50, True, 1, {}))
    for _ in range(3):
        try:
            if not loop.step(never):
                break
        except TrackingError as error:
            loop.down(error)
            told = loop.status.error
    assert sorted(read(store, "exp").children()) == [0, 1]
    assert "published again" in told
    assert loop.status.state == "ok"


def test_an_outage_keeps_events_and_then_publishes_them_once(
    publishing: Callable[..., Publishing],
    journal: Journal,
    store: str,
    info: StudyInfo,
    read: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = publishing()
    loop.step(never)
    append(journal, *trial(0, 0.5), *trial(1, 0.4))
    with monkeypatch.context() as outage:
        for name in ("create_run", "log_batch", "set_tag", "get_experiment_by_name"):
            outage.setattr(MlflowClient, name, _raise(INTERNAL_ERROR, "API request failed:\nConnection refused"))
        for _ in range(2):
            with pytest.raises(Exception, match="Connection refused") as caught:
                loop.step(never)
            loop.down(caught.value)
        status = PublisherStatus.read(info.folder)
        assert (status.state, status.pending_events, status.published) == ("down", 6, False)
        assert "Connection refused" in status.error
        assert "\n" not in status.error
        assert status.since > T0
        assert "6 events kept" in status.line()
    assert loop.step(never)
    status = PublisherStatus.read(info.folder)
    assert (status.state, status.error, status.published, status.skipped) == ("ok", "", True, ())
    reader = read(store, "exp")
    assert [reader.history(child, "val/loss")[0][2] for child in reader.children().values()] == [1.4, 1.5]


@pytest.mark.parametrize("code", [INVALID_PARAMETER_VALUE, INTERNAL_ERROR])
def test_an_event_that_is_refused_for_good_is_skipped_alone(
    publishing: Callable[..., Publishing],
    journal: Journal,
    store: str,
    info: StudyInfo,
    read: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    loop = publishing()
    append(journal, *trial(0, 0.5), *trial(1, 66.0), *trial(2, 0.4), StudyClosed(T0 + 50, True, 2, {}))
    original = MlflowClient.log_batch

    def picky(self: MlflowClient, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        if any(metric.key == "val/loss" and metric.value == 67.0 for metric in metrics):
            raise MlflowException("a value\nthis store hates", code)
        original(self, run_id, metrics=metrics, params=params, tags=tags)

    monkeypatch.setattr(MlflowClient, "log_batch", picky)
    assert loop.step(never)
    status = PublisherStatus.read(info.folder)
    assert status.published
    assert status.skipped == ("Reported of trial 1: a value this store hates",)
    assert "refused 1 events" in status.line()
    reader = read(store, "exp")
    assert {number: run.info.status for number, run in reader.children().items()} == dict.fromkeys(range(3), "FINISHED")
    assert reader.children()[1].data.metrics["value"] == 66.0
    assert "val/loss" not in reader.children()[1].data.metrics
    assert reader.history(reader.children()[2], "val/loss") == [(0, int(T0 * 1000) + 21_000, 1.4)]
    assert "this store hates" in reader.parent().data.tags["hypertune.note"]
    assert reader.parent().info.status == "FINISHED"


def test_a_store_that_goes_down_while_an_event_is_in_doubt_loses_nothing(
    publishing: Callable[..., Publishing], journal: Journal, info: StudyInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = publishing()
    loop.step(never)
    append(journal, *trial(0, 0.5))
    with monkeypatch.context() as outage:
        outage.setattr(MlflowClient, "log_batch", _raise(INVALID_PARAMETER_VALUE, "refused"))
        outage.setattr(MlflowClient, "set_tag", _raise(INTERNAL_ERROR, "away"))
        with pytest.raises(MlflowException, match="away"):
            loop.step(never)
    assert PublisherStatus.read(info.folder).pending_events == 3
    assert PublisherStatus.read(info.folder).skipped == ()
    loop.step(never)
    assert PublisherStatus.read(info.folder).published


def test_a_line_that_is_no_event_is_skipped(
    publishing: Callable[..., Publishing], journal: Journal, store: str, info: StudyInfo, read: Callable[..., Any]
) -> None:
    append(journal, *trial(0, 0.5))
    with journal.path.open("ab") as file:
        file.write(b"garbage\n")
    append(journal, *trial(1, 0.4))
    publishing().step(never)
    assert sorted(read(store, "exp").children()) == [0, 1]
    status = PublisherStatus.read(info.folder)
    assert status.published
    assert "not an event" in status.skipped[0]


def test_it_stops_between_batches_when_told(
    publishing: Callable[..., Publishing], journal: Journal, info: StudyInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypertune.tracking._publishing._BATCH", 3)
    append(journal, *trial(0, 0.5), *trial(1, 0.4), *trial(2, 0.3))  # ten events with the first
    answers = iter([False, False, True])
    publishing().step(lambda: next(answers))
    assert PublisherStatus.read(info.folder).pending_events == 4


def test_passwords_are_written_nowhere(
    info: StudyInfo, journal: Journal, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://me:secret@127.0.0.1:9"
    with pytest.raises(TrackingError) as caught:
        Publishing(info.folder, uri, "exp", info, Attachments())
    assert "secret" not in str(caught.value)
    monkeypatch.setattr(
        "hypertune.tracking.mlflow.open_store", lambda uri, *args, **options: open_store(store, *args, **options)
    )
    loop = Publishing(info.folder, uri, "exp", info, Attachments())
    loop.down(ValueError(f"no answer from {uri}/api"))
    status = (Path(info.folder) / "published.json").read_text()
    assert "secret" not in status
    assert "me:***@127.0.0.1" in status


def _raise(code: int, text: str) -> Callable[..., Any]:
    def failing(*args: object, **options: object) -> None:
        raise MlflowException(text, code)

    return failing
