from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import psutil
import pytest

from hypertune import registry
from hypertune.errors import ConfigError, HypertuneError
from hypertune.objectives import UserObjective
from hypertune.records import Assignment, Cost, TrialResult
from hypertune.runners.inline import InlineRunner
from hypertune.runners.local import LocalRunner

HERE = Path(__file__).parent


def recipe(name):
    return UserObjective(f"objectives_under_test:{name}", HERE)


def run(runner, name, n, folder, *, prunes=False, on_report=lambda number, report: False, params=None):
    """Run n trials; return how each ended, by number."""
    ended, submitted = {}, 0
    runner.start(recipe(name), on_report, folder=str(folder), prunes=prunes)
    try:
        runner.check()
        while len(ended) < n:
            while submitted < n and runner.free():
                chosen = params or {"x": submitted / 10}
                runner.submit(Assignment(submitted, chosen, 100 + submitted, str(folder / "trials" / str(submitted))))
                submitted += 1
            for end in runner.wait(5.0):
                ended[end.number] = end
    finally:
        runner.close()
    return ended


RUNNERS = [InlineRunner, LocalRunner]


@pytest.fixture(params=RUNNERS, ids=["inline", "local"])
def runner(request):
    return request.param()


def test_results_come_back(runner, tmp_path):
    ended = run(runner, "quadratic", 4, tmp_path)
    assert {n: e.result.value for n, e in ended.items()} == pytest.approx({n: (n / 10 - 0.3) ** 2 for n in range(4)})
    assert all(e.how == "finished" for e in ended.values())


def test_reports_arrive_in_order_and_a_prune_is_obeyed(runner, tmp_path):
    seen = []

    def on_report(number, report):
        seen.append((number, report.step, dict(report.metrics), dict(report.tuned)))
        return number == 1 and report.step == 2

    ended = run(runner, "reporting", 2, tmp_path, prunes=True, on_report=on_report)
    assert [s[:2] for s in seen] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (1, 1), (1, 2)]
    assert seen[4][2:] == ({"val/loss": 4.0, "val/accuracy": 0.5}, {"dropout": 0.4})
    assert ended[0].result == TrialResult(0.0, {"test/loss": 2.0}, {"dropout": 0.4}, Cost(5, 50, 1.5))
    assert (ended[1].how, ended[1].reason, ended[1].cost) == ("pruned", "pruned at 2", Cost(epochs=2, seconds=1.0))


def test_without_a_pruner_a_trial_does_not_wait_for_answers(tmp_path):
    ended = run(LocalRunner(), "reporting", 1, tmp_path, prunes=False, on_report=lambda number, report: True)
    assert ended[0].how == "finished"


def test_each_trial_draws_from_its_own_seed(runner, tmp_path):
    first = {n: e.result.value for n, e in run(runner, "draws", 3, tmp_path).items()}
    again = {n: e.result.value for n, e in run(LocalRunner(workers=2), "draws", 3, tmp_path).items()}
    assert first == again
    assert len(set(first.values())) == 3


def test_whatever_an_objective_does_the_others_go_on(tmp_path):
    ended = run(LocalRunner(workers=2), "mixed", 16, tmp_path)
    expected = {
        1: "the objective returned no number; given None; expected a finite float or a TrialResult",
        2: "the objective's value is not finite; given nan",
        3: "the objective returned no number; given '0.3'",
        4: "the objective returned no number; given True",
        5: "the objective's value is not finite; given inf",
        6: "ZeroDivisionError: one by zero",
        7: "ConnectionResetError: their database went away",
        8: "SystemExit: 3",
        9: "trial.report.metrics.val/loss: value is not a number; given 'high'",
        12: "ended by itself with exit code 7",
        13: "killed by SIGKILL, perhaps by the kernel for lack of memory",
        14: "killed by SIGSEGV",
    }
    for number, text in expected.items():
        assert ended[number].how == "failed", number
        assert text in ended[number].reason, number
    assert (ended[10].how, ended[10].reason) == ("pruned", "theirs")
    assert [ended[n].result.value for n in (0, 11, 15)] == [1.5, 0.25, 1.5]
    assert "ZeroDivisionError" in ended[6].traceback
    assert "in raises" in (tmp_path / "trials" / "6" / "log.txt").read_text()


def test_a_trial_that_hangs_is_killed_and_the_worker_replaced(tmp_path):
    runner = LocalRunner(timeout=1.0)
    begun = time.monotonic()
    runner.start(recipe("hangs"), lambda number, report: False, folder=str(tmp_path), prunes=False)
    try:
        runner.check()
        runner.submit(Assignment(0, {}, 0, str(tmp_path / "0")))
        (end,) = runner.wait(30.0)
        assert (end.how, end.reason) == ("failed", "trial 0: timed out after 1 s (trial.timeout)")
        assert time.monotonic() - begun < 20
        runner.check()
        assert runner.free() == 1
    finally:
        runner.close()


def test_what_a_trial_prints_goes_to_its_log(tmp_path, capfd):
    run(LocalRunner(threads=3), "says_where", 2, tmp_path)
    for number in range(2):
        text = (tmp_path / "trials" / str(number) / "log.txt").read_text()
        assert text.count("hello from the trial") == text.count("and from its errors") == 1
        pid, threads, worker = (tmp_path / "trials" / str(number) / "pid.txt").read_text().split()
        assert (threads, worker) == ("3", "0")
        assert int(pid) != os.getpid()
    assert "hello" not in "".join(capfd.readouterr())


def test_a_worker_is_used_again(tmp_path):
    run(LocalRunner(), "says_where", 3, tmp_path)
    pids = {(tmp_path / "trials" / str(n) / "pid.txt").read_text().split()[0] for n in range(3)}
    assert len(pids) == 1


def test_stop_all_interrupts_what_runs(tmp_path):
    runner = LocalRunner(workers=2)
    runner.start(recipe("hangs"), lambda number, report: False, folder=str(tmp_path), prunes=False)
    try:
        for number in range(2):
            while not runner.free():
                runner.wait(0.1)
            runner.submit(Assignment(number, {}, 0, str(tmp_path / str(number))))
        assert runner.wait(0.2) == []
        assert sorted((e.number, e.how) for e in runner.stop_all()) == [(0, "interrupted"), (1, "interrupted")]
    finally:
        runner.close()
    assert multiprocessing.active_children() == []


def test_close_leaves_no_process_behind(tmp_path):
    run(LocalRunner(workers=2), "quadratic", 2, tmp_path)
    assert [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())] == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_function", "has no 'no_such_function'"),
        ("BEHAVIOURS", "not a function"),
        ("os.getcwd", "cannot be called as train"),
    ],
)
def test_an_objective_that_cannot_be_made_is_one_error(runner, tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        run(runner, name, 1, tmp_path)


def test_a_worker_that_dies_on_start_is_one_error(tmp_path):
    runner = LocalRunner()
    runner.start(
        UserObjective("dies_on_import:train", HERE), lambda number, report: False, folder=str(tmp_path), prunes=False
    )
    with pytest.raises(HypertuneError, match=r"a worker process does not start: .*exit code 9.*worker-0\.log"):
        runner.check()
    runner.close()


def test_a_lambda_does_not_reach_a_worker(tmp_path):
    with pytest.raises(ConfigError, match=r"does not reach a worker process.*my_module:train"):
        LocalRunner().start(lambda: None, lambda number, report: False, folder=str(tmp_path), prunes=False)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("local", {"workers": 0}, r"runner\.workers: not a number"),
        ("local", {"workers": "2"}, r"runner\.workers: not a number"),
        ("local", {"threads": True}, r"runner\.threads: not a number"),
        ("local", {"wrokers": 2}, r"runner\.wrokers: .*did you mean 'workers'"),
        ("inline", {"workers": 2}, r"runner\.workers: inline has no such option"),
        ("inline", {"timeout": 3.0}, r"trial\.timeout: the inline runner cannot stop"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ConfigError, match=message):
        registry.load("runner", name)(**options)


def test_workers_leave_when_their_driver_is_killed(tmp_path):
    import subprocess
    import sys

    code = f"""
import sys, time
from pathlib import Path
from hypertune.records import Assignment
from hypertune.runners.local import LocalRunner
from hypertune.objectives import UserObjective
if __name__ == "__main__":
    runner = LocalRunner()
    runner.start(UserObjective("objectives_under_test:hangs", Path({str(HERE)!r})), lambda n, r: False, folder={str(tmp_path)!r}, prunes=False)
    runner.check()
    runner.submit(Assignment(0, {{}}, 0, {str(tmp_path / "0")!r}))
    print(runner._pool[0].process.pid, flush=True)
    time.sleep(600)
"""
    script = tmp_path / "driver.py"
    script.write_text(code)
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(driver.stdout.readline()))
    driver.kill()
    driver.wait()
    driver.stdout.close()
    _, alive = psutil.wait_procs([worker], timeout=10)
    assert not alive
