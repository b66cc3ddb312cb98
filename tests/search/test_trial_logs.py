from __future__ import annotations

import pytest

from hypertune import run_search
from hypertune.errors import ConfigError
from hypertune.reporting.trial_log import trial_log
from hypertune.search import load_result


def test_logs_of_a_failed_trial(objective, hypertune):
    content = objective(objective="user_code:raises", study={"n_trials": 2}, runner="local")
    assert hypertune("search", hypertune.write(content)).returncode == 3
    done = hypertune("logs", "s", "0")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "trial 0: failed: ValueError: this objective always fails"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[-1] == "ValueError: this objective always fails"
    assert hypertune("logs").stdout.startswith("trial 1: failed")
    missing = hypertune("logs", "s", "7")
    assert missing.returncode == 2
    assert "TRIAL: no such trial; given 7; expected a number from 0 to 1" in missing.stderr


def test_what_has_no_log_says_why(objective, capsys):
    run_search(objective(study={"n_trials": 1}, runner="inline"), quiet=True)
    result = load_result("s")
    assert "the inline runner prints to the terminal" in trial_log(result, 0)
    (result.folder / "trials" / "0000").mkdir(exist_ok=True)
    (result.folder / "trials" / "0000" / "log.txt").touch()
    assert trial_log(result, 0) == "trial 0: complete\n(it printed nothing)\n"
    with pytest.raises(ConfigError, match="no trial of this run has failed"):
        trial_log(result)
