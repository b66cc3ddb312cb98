from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypertune.errors import StorageError
from hypertune.records import (
    Cost,
    Event,
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
from hypertune.tracking.journal import Journal, decode, encode

number = st.integers(0, 10**9)
moment = st.floats(0, 4e9)
text = st.text(st.characters(), max_size=12)
floats = st.dictionaries(text, st.floats(), max_size=3)
param = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | text
cost = st.builds(Cost, number, number, st.floats(0, 1e9))
result = st.builds(TrialResult, st.floats(), floats, floats, cost, st.none() | text)
info = st.builds(StudyInfo, text, st.just("maximize"), text, st.none() | number, text, st.dictionaries(text, text))
plain = st.recursive(param, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(StudyOpened, moment, info),
    st.builds(Started, number, moment, st.dictionaries(text, param), number, text, st.none() | number),
    st.builds(Reported, number, moment, st.builds(Report, number, floats, floats)),
    st.builds(Finished, number, moment, result),
    st.builds(Pruned, number, moment, text, cost),
    st.builds(Failed, number, moment, text, text, st.booleans(), cost),
    st.builds(StudyClosed, moment, st.booleans(), st.none() | number, st.dictionaries(text, plain, max_size=3)),
)

SAMPLE: list[Event] = [
    Started(0, 1.0, {"lr": 1e-3, "n": 2, "name": "ä\n[x]", "flag": True, "none": None}, 7, "local-0", retry_of=None),
    Reported(0, 2.0, Report(0, {"val/loss": math.inf}, {"dropout": 0.25})),
    Finished(0, 3.0, TrialResult(0.5, {"test/loss": -math.inf}, {"dropout": 0.5}, Cost(1, 2, 3.0), "a/b.pt")),
]


@settings(max_examples=300, deadline=None)
@given(events)
def test_every_event_survives_the_round_trip(event: Event) -> None:
    line = encode(event)
    again = decode(line)
    assert "\n" not in line
    assert type(again) is type(event)
    assert repr(again) == repr(event)  # repr tells nan from nan, 1 from 1.0 and 0.0 from -0.0; == does not


def test_numpy_scalars_become_numbers() -> None:
    np = pytest.importorskip("numpy")
    event = Started(1, 2.0, {"a": np.float64(0.1), "b": np.int64(3), "c": np.float32(0.5), "d": np.bool_(True)}, 0)
    assert decode(encode(event)) == Started(1, 2.0, {"a": 0.1, "b": 3, "c": 0.5, "d": True}, 0)


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "events.jsonl")
    assert journal.read() == ([], 0)
    journal(SAMPLE[0])
    first, offset = journal.read()
    journal(SAMPLE[1])
    journal(SAMPLE[2])
    second, end = journal.read(offset)
    assert first + second == SAMPLE
    assert journal.read(end) == ([], end)
    assert end == journal.size() == journal.path.stat().st_size


def test_a_limit_cuts_between_lines(tmp_path: Path) -> None:
    with Journal(tmp_path / "events.jsonl") as journal:
        for event in SAMPLE:
            journal(event)
    found: list[Event] = []
    offset = 0
    while True:
        some, offset = journal.read(offset, limit=1)
        if not some:
            break
        assert len(some) == 1
        found += some
    assert found == SAMPLE


def test_a_line_torn_at_any_byte_is_repaired(tmp_path: Path) -> None:
    whole = "".join(encode(event) + "\n" for event in SAMPLE).encode()
    keep = whole.rindex(b"\n", 0, -1) + 1  # where the last line begins
    for cut in range(keep, len(whole)):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        journal = Journal(path)
        before, offset = journal.read()
        assert before == SAMPLE[:2]
        assert path.read_bytes() == whole[:cut], "reading must not write"
        journal(SAMPLE[0])
        journal.close()
        after, _ = journal.read(offset)
        # Only the newline was missing: then the event is complete and kept.
        assert after == ([SAMPLE[2], SAMPLE[0]] if cut == len(whole) - 1 else [SAMPLE[0]])


def test_a_torn_line_longer_than_a_block_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode(SAMPLE[0]).encode() + b"\n" + b'{"event":"' + b"x" * 200_000)
    with Journal(path) as journal:
        journal(SAMPLE[1])
        assert journal.read()[0] == SAMPLE[:2]


def test_a_file_of_garbage_without_a_newline_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\x00" * 5000)  # what a power cut can leave
    with Journal(path) as journal:
        journal(SAMPLE[0])
        assert journal.read()[0] == SAMPLE[:1]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1]",
        b"3",
        b'{"event":"Nonsense"}',
        b'{"event":"Started"}',
        b'{"event":"Reported","number":1,"time":1.0,"report":3}',
        b"\xff",
        b'{"event":["a"]}',
    ],
)
def test_a_line_that_is_no_event_names_the_file(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(StorageError, match=r"events\.jsonl, before byte \d+: .*not an event"):
        Journal(path).read()


def test_a_full_disk_names_the_file() -> None:
    with pytest.raises(StorageError, match=r"No space left.*'/dev/full'.*Fix: free disk space"):
        Journal("/dev/full").append(SAMPLE[0])


def test_a_folder_that_cannot_be_made_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/events\.jsonl"):
        Journal(tmp_path / "file" / "events.jsonl").append(SAMPLE[0])


def test_after_a_partial_write_the_next_event_has_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = f"""
import resource, signal
from hypertune.errors import StorageError
from hypertune.records import Started
from hypertune.tracking.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal({str(path)!r})
journal(Started(0, 0.0, {{}}, 0))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size() + 10, hard))
try:
    journal(Started(1, 0.0, {{}}, 0))
except StorageError as error:
    print("refused, size", journal.size())
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
journal(Started(2, 0.0, {{}}, 0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first = len(encode(Started(0, 0.0, {}, 0))) + 1
    assert done.stdout == f"refused, size {first + 10}\n"  # ten bytes of the second event were written
    assert [event.number for event in Journal(path).read()[0] if isinstance(event, Started)] == [0, 2]


def test_killing_the_writer_leaves_whole_lines_and_at_most_one_torn(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = f"""
from hypertune.records import Report, Reported
from hypertune.tracking.journal import Journal
journal = Journal({str(path)!r})
number = 0
while True:
    journal(Reported(number, 0.0, Report(0, {{"m": 1.0}})))
    number += 1
"""
    rng = random.Random(0)
    expected = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code])
        deadline = time.monotonic() + 20
        size = path.stat().st_size if path.exists() else 0
        while (path.stat().st_size if path.exists() else 0) == size and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.wait()
        events, _ = Journal(path).read()
        assert len(events) > expected
        expected = len(events)
    numbers = [event.number for event in events if isinstance(event, Reported)]
    starts = [position for position, value in enumerate(numbers) if value == 0]
    assert len(starts) == 3
    for begin, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        assert numbers[begin:end] == list(range(end - begin))  # every event that a later one follows is there


def test_the_driver_side_imports_neither_mlflow_nor_torch() -> None:
    code = (
        "import sys, hypertune.tracking.journal, hypertune.tracking.publisher, hypertune.tracking.console, "
        "hypertune.tracking.memory, hypertune.tracking.checkpoints, hypertune.tracking.status\n"
        "print([name for name in ('mlflow', 'torch', 'sqlalchemy', 'pandas', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.bench
def test_appending_is_cheap(tmp_path: Path) -> None:
    event = Reported(
        3, 1.7e9, Report(5, {"train/loss": 0.123, "val/loss": 1.23, "val/accuracy": 0.9}, {"dropout": 0.3})
    )
    with Journal(tmp_path / "events.jsonl") as journal:
        begin = time.perf_counter()
        for _ in range(50_000):
            journal(event)
        seconds = time.perf_counter() - begin
    print(f"journal: {seconds / 50_000 * 1e6:.1f} µs per event")
    assert seconds / 50_000 < 40e-6


def test_an_interrupt_in_the_middle_of_a_line_tears_no_later_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    events = [Started(n, 1.0, {"x": 0.5}, n) for n in range(3)]
    journal.append(events[0])
    file = journal._file
    assert file is not None

    class Interrupted:
        def write(self, line: memoryview) -> int:
            file.write(line[:20])
            raise KeyboardInterrupt

        def close(self) -> None:
            file.close()

    journal._file = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        journal.append(events[1])
    journal.append(events[2])
    assert journal.read()[0] == [events[0], events[2]]
