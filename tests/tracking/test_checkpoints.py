from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from hypertune.errors import ConfigError
from hypertune.records import Direction, Event, Finished, StudyInfo, StudyOpened, TrialResult
from hypertune.tracking.checkpoints import KeepBestCheckpoint


def opened(folder: Path) -> StudyOpened:
    return StudyOpened(0.0, StudyInfo("s", "minimize", "m", None, str(folder)))


def finished(folder: Path, number: int, value: float) -> Finished:
    path = folder / f"trials/{number}/best.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(number))
    return Finished(number, 0.0, TrialResult(value, checkpoint=str(path)))


def left(folder: Path) -> list[int]:
    return sorted(int(path.read_text()) for path in folder.rglob("*.pt"))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(8))
def test_only_the_best_of_any_order_stays(tmp_path: Path, direction: Direction, seed: int) -> None:
    rng = random.Random(seed)
    values = [rng.choice([0.0, 1.0, 2.0, math.nan, math.inf, -math.inf]) for _ in range(12)]
    order = rng.sample(range(12), 12)
    keeper = KeepBestCheckpoint(direction)
    keeper(opened(tmp_path))
    for seen, number in enumerate(order, start=1):
        keeper(finished(tmp_path, number, values[number]))
        pick = min if direction == "minimize" else max
        candidates = [other for other in sorted(order[:seen]) if not math.isnan(values[other])]
        expected = [pick(candidates, key=lambda other: values[other])] if candidates else []  # the first of equals
        assert left(tmp_path) == expected
        assert [keeper.best] == (expected or [None])


def test_a_resumed_search_goes_on_with_the_best_of_before(tmp_path: Path) -> None:
    events: list[Event] = [opened(tmp_path), finished(tmp_path, 0, 1.0), finished(tmp_path, 1, 0.5)]
    keeper = KeepBestCheckpoint("minimize")
    for event in events:
        keeper(event)
    keeper(finished(tmp_path, 2, 0.7))
    assert left(tmp_path) == [1]
    keeper(finished(tmp_path, 3, 0.1))
    assert left(tmp_path) == [3]


@pytest.mark.parametrize(("keep", "expected"), [("all", [0, 1, 2]), ("none", []), ("best", [1])])
def test_what_is_kept(tmp_path: Path, keep: str, expected: list[int]) -> None:
    keeper = KeepBestCheckpoint("minimize", keep)  # type: ignore[arg-type]
    keeper(opened(tmp_path))
    for number, value in enumerate([0.3, 0.1, 0.2]):
        keeper(finished(tmp_path, number, value))
    assert left(tmp_path) == expected


def test_files_outside_the_run_folder_are_never_deleted(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    keeper = KeepBestCheckpoint("minimize")
    keeper(finished(outside, 0, 9.0))  # before the run folder is known
    keeper(opened(run))
    keeper(finished(outside, 1, 3.0))
    keeper(finished(outside, 2, 2.0))
    sneaky = run / ".." / "outside" / "trials" / "2" / "best.pt"
    keeper(Finished(3, 0.0, TrialResult(5.0, checkpoint=str(sneaky))))
    (run / "link.pt").symlink_to(outside / "trials" / "1" / "best.pt")
    keeper(Finished(4, 0.0, TrialResult(5.0, checkpoint=str(run / "link.pt"))))
    assert left(outside) == [0, 1, 2]


def test_a_checkpoint_that_is_gone_or_none_is_no_error(tmp_path: Path) -> None:
    keeper = KeepBestCheckpoint("minimize")
    keeper(opened(tmp_path))
    keeper(Finished(0, 0.0, TrialResult(1.0, checkpoint=str(tmp_path / "gone.pt"))))
    keeper(Finished(1, 0.0, TrialResult(0.5)))
    keeper(finished(tmp_path, 2, 0.7))
    assert keeper.best == 1
    assert left(tmp_path) == []


def test_an_unknown_choice_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"trial\.keep_checkpoints.*did you mean 'best'\?"):
        KeepBestCheckpoint("minimize", "bset")  # type: ignore[arg-type]
