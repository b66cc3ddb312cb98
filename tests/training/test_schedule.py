from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertune.errors import StorageError, TrialError
from hypertune.training.schedule import Schedule


def made(*entries: tuple[int, float, float]) -> Schedule:
    schedule = Schedule(["dropout", "shift"])
    for step, dropout, shift in entries:
        schedule.record(step, {"shift": shift, "dropout": dropout})
    return schedule


def test_values_hold_until_the_next_entry() -> None:
    schedule = made((0, 0.1, 0.2), (10, 0.3, 0.4), (15, 0.5, 0.6))
    assert schedule.at(0) == schedule.at(9) == {"dropout": 0.1, "shift": 0.2}
    assert schedule.at(10) == schedule.at(14) == {"dropout": 0.3, "shift": 0.4}
    assert schedule.at(15) == schedule.at(10**9) == {"dropout": 0.5, "shift": 0.6}
    assert (len(schedule), schedule.steps) == (3, (0, 10, 15))
    assert made((5, 0.1, 0.2)).at(0) == {"dropout": 0.1, "shift": 0.2}


def test_a_step_recorded_again_replaces_what_came_after_it() -> None:
    schedule = made((0, 0.1, 0.2), (10, 0.3, 0.4), (15, 0.5, 0.6))
    schedule.record(10, {"dropout": 1, "shift": 2})
    assert schedule.entries() == [(0, {"dropout": 0.1, "shift": 0.2}), (10, {"dropout": 1.0, "shift": 2.0})]
    schedule.truncate(10)
    assert schedule.steps == (0,)
    schedule.truncate(0)
    assert len(schedule) == 0


def test_a_value_that_is_missing_leaves_the_schedule_as_it_was() -> None:
    schedule = made((0, 0.1, 0.2))
    with pytest.raises(KeyError):
        schedule.record(3, {"dropout": 0.1})
    assert schedule.steps == (0,)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=3, unique=True
    ).filter(lambda names: "step" not in names),
    steps=st.sets(st.integers(0, 10**12), min_size=1, max_size=5),
    data=st.data(),
)
def test_files_keep_every_digit(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], steps: set[int], data: st.DataObject
) -> None:
    schedule = Schedule(names)
    for step in sorted(steps):
        schedule.record(step, {name: data.draw(numbers) for name in names})
    path = tmp_path_factory.mktemp("schedule") / "schedule.csv"
    schedule.save(path)
    loaded = Schedule.load(path)
    assert loaded.names == schedule.names
    assert loaded.entries() == schedule.entries()
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_plain_csv(tmp_path: Path) -> None:
    made((0, 0.1, 3), (5, 0.25, 1e-7)).save(tmp_path / "schedule.csv")
    assert (tmp_path / "schedule.csv").read_text() == "step,dropout,shift\n0,0.1,3.0\n5,0.25,1e-07\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n0,0.1\n",
        b"step\n0\n",
        b"step,dropout\n",
        b"epoch,dropout\n0,0.1\n",
        b"step,dropout,dropout\n0,0.1,0.2\n",
        b"step,dropout\n0\n",
        b"step,dropout\n0,0.1,0.2\n",
        b"step,dropout\n\n0,0.1\n",
        b"step,dropout\n0.5,0.1\n",
        b"step,dropout\n-1,0.1\n",
        b"step,dropout\n0,much\n",
        b"step,dropout\n0,nan\n",
        b"step,dropout\n0,inf\n",
        b"step,dropout\n5,0.1\n5,0.2\n",
        b"step,dropout\n5,0.1\n4,0.2\n",
        b"\xff\xfe\x00\x01",
        b"\x00" * 50,
    ],
)
def test_a_file_that_is_no_schedule_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "schedule.csv"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"schedule\.csv of a self-tuned trial") as caught:
        Schedule.load(path)
    assert caught.value.where == "trial.self_tuning.replay"
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(StorageError, match="not a readable schedule"):
            Schedule.load(path)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "schedule.csv"
    made((0, 0.1, 0.2)).save(path)
    before = path.read_bytes()
    (tmp_path / f"schedule.csv.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(TrialError, match="cannot be written") as caught:
        made((0, 0.3, 0.4)).save(path)
    assert caught.value.where == "trial.schedule"
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before
    made((0, 0.3, 0.4)).save(path)
    assert Schedule.load(path).at(0) == {"dropout": 0.3, "shift": 0.4}
