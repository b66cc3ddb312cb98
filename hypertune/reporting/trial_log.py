"""What one trial printed, and how it ended."""

from __future__ import annotations

from hypertune.errors import ConfigError, did_you_mean
from hypertune.reporting.result import StudyResult

__all__ = ["trial_log"]


def trial_log(result: StudyResult, number: int | None = None) -> str:
    """Return what a trial printed, its traceback included, below one line on how it ended.

    Args:
        result: The study.
        number: Trial number; None for the last trial that failed.

    Raises:
        ConfigError: There is no such trial.
    """
    if number is None:
        failed = [trial.number for trial in result.trials if trial.state == "failed"]
        if not failed:
            raise ConfigError("no trial of this run has failed", where="TRIAL", fix="name a trial by its number")
        number = failed[-1]
    trial = next((trial for trial in result.trials if trial.number == number), None)
    if trial is None:
        known = [str(trial.number) for trial in result.trials]
        raise ConfigError(
            "no such trial",
            where="TRIAL",
            given=number,
            expected=f"a number from 0 to {len(known) - 1}" if known else None,
            fix=did_you_mean(number, known, fallback="see `hypertune best`, or the run's report, for the trials"),
        )
    head = f"trial {number}: {trial.state}"
    if trial.retry_of is not None:
        head += f", repeats trial {trial.retry_of}"
    if trial.reason:
        head += f": {trial.reason}"
    file = result.folder / "trials" / f"{number:04d}" / "log.txt"
    if not file.exists():
        return f"{head}\n(no log: {file} is not there; the inline runner prints to the terminal)\n"
    text = file.read_text(encoding="utf-8", errors="replace")
    return f"{head}\n{text}" if text else f"{head}\n(it printed nothing)\n"
