from __future__ import annotations

import io
import time

import pytest

from hypertune.records import (
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
from hypertune.tracking.console import Console

INFO = StudyInfo("a [bold]study[/bold]", "minimize", "val/loss", 4, "runs/x")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def plain(*events: Event, info: StudyInfo = INFO, n_trials: int | None = 4, now: float = 110.0) -> list[str]:
    stream, clock = io.StringIO(), Clock()
    with Console(info, n_trials, 2, stream, clock=clock) as console:
        clock.now = now
        for event in events:
            console(event)
    return stream.getvalue().splitlines()


def test_one_line_per_ended_trial() -> None:
    lines = plain(
        StudyOpened(100.0, INFO),
        Started(0, 100.0, {"lr": 0.1}, 1),
        Started(1, 100.0, {"lr": 0.2}, 1),
        Reported(1, 101.0, Report(3, {"val/loss": 0.75})),
        Finished(1, 105.0, TrialResult(0.25)),
        Finished(0, 106.0, TrialResult(0.5)),
        Started(2, 106.0, {}, 1),
        Reported(2, 107.0, Report(0, {"val/loss": 0.9})),
        Pruned(2, 107.0, "cannot win"),
        Failed(3, 108.0, "ValueError: [red]no[/red]\nmore", "Traceback"),
    )
    # Ten seconds are over in each line: with one of four trials ended, three more take thirty.
    assert lines == [
        "trial 1  complete  val/loss 0.2500  best 0.2500 (trial 1)  1/4  left 0:30",
        "trial 0  complete  val/loss 0.5000  best 0.2500 (trial 1)  2/4  left 0:10",
        "trial 2  pruned  val/loss 0.9000  best 0.2500 (trial 1)  3/4  left 0:03",
        "trial 3  failed  ValueError: [red]no[/red]  best 0.2500 (trial 1)  4/4  left 0:00",
    ]


def test_maximize_and_no_number_of_trials() -> None:
    info = StudyInfo("s", "maximize", "acc", None, "x")
    lines = plain(
        Finished(0, 1.0, TrialResult(0.5)),
        Finished(1, 1.0, TrialResult(0.7)),
        Finished(2, 1.0, TrialResult(float("nan"))),
        info=info,
        n_trials=None,
    )
    assert lines[1] == "trial 1  complete  acc 0.7000  best 0.7000 (trial 1)  2"
    assert lines[2] == "trial 2  complete  acc nan  best 0.7000 (trial 1)  3"


def test_earlier_sessions_count_but_not_for_the_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    with Console(INFO, 4, 1, stream, clock=clock) as console:
        console(StudyOpened(0.0, INFO))
        console(Finished(0, 5.0, TrialResult(0.5)))
        console(Failed(1, 6.0, "the driver died", interrupted=True))
        console(StudyClosed(50.0, False, 0, {}))
        console(StudyOpened(100.0, INFO))
        clock.now = 107.0
        console(Finished(2, 107.0, TrialResult(0.6)))
    assert stream.getvalue().splitlines()[1:] == [
        "trial 1  interrupted  the driver died  best 0.5000 (trial 0)  1/4  left 5:00",
        "trial 2  complete  val/loss 0.6000  best 0.5000 (trial 0)  2/4  left 0:14",
    ]


def test_numbers_keep_their_meaning() -> None:
    values = [1e-9, 12345.678, 1e12, 0.0, -0.5]
    lines = plain(*[Finished(number, 1.0, TrialResult(value)) for number, value in enumerate(values)])
    assert [line.split("  ")[2] for line in lines] == [
        "val/loss 1e-09",
        "val/loss 12345.6780",
        "val/loss 1e+12",
        "val/loss 0.0000",
        "val/loss -0.5000",
    ]


def test_notes_and_status_are_lines_off_a_terminal() -> None:
    stream = io.StringIO()
    warnings = iter(["", "MLflow is away [x]"])
    console = Console(INFO, 4, 1, stream, status=lambda: next(warnings))
    console(Started(0, 1.0, {}, 0))
    console._asked = -1e9
    console(Started(1, 1.0, {}, 0))
    console(Started(2, 1.0, {}, 0))
    console.note("Ctrl-C: finishing 2 [running] trials")
    assert stream.getvalue().splitlines() == ["MLflow is away [x]", "Ctrl-C: finishing 2 [running] trials"]


def test_a_terminal_gets_a_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream, clock = Terminal(), Clock()
    with Console(INFO, 4, 2, stream, status=lambda: "MLflow is away [x]", clock=clock) as console:
        clock.now = 165.0
        console(Started(7, 100.0, {"lr": 0.12345678, "act[i]": "relu", "c": 1, "d": 2, "e": 3}, 0, "local-1"))
        console(Reported(7, 101.0, Report(12, {"val/loss": 0.4321})))
        console(Finished(6, 102.0, TrialResult(0.25)))
        console.note("press [again]")
    shown = stream.getvalue()
    table = shown[shown.rindex("a [bold]study[/bold]") :]
    for part in ("1/4", "1 complete", "best 0.2500 (trial 6)", "elapsed 1:05", "left 3:15"):
        assert part in table
    row = next(line for line in table.splitlines() if "local-1" in line)
    for part in ("7", "12", "0.4321", "lr=0.123 act[i]=relu c=1 d=2 …"):
        assert part in row
    assert "MLflow is away [x]" in table
    assert "press [again]" in table


def test_a_narrow_terminal_and_many_workers_do_not_break_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    with Console(INFO, None, 30, stream) as console:
        for number in range(30):
            console(Started(number, 1.0, {"learning_rate": 0.1, "text": "x" * 200}, 0, f"local-{number}"))
    assert "and 14 more of 30 workers" in stream.getvalue()


def test_an_event_costs_less_than_a_millisecond() -> None:
    # The median: the display's own thread may hold the interpreter now and then.
    with Console(INFO, None, 2, Terminal()) as console:
        costs = []
        for number in range(500):
            for event in (
                Started(number, 1.0, {"lr": 0.1}, 0, "w"),
                Reported(number, 1.0, Report(0, {"val/loss": 1.0})),
                Finished(number, 1.0, TrialResult(1.0)),
            ):
                begin = time.perf_counter()
                console(event)
                costs.append(time.perf_counter() - begin)
    assert sorted(costs)[len(costs) // 2] < 1e-3
