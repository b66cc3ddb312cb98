"""The note of a study's run: the Markdown text that a person reads first in the MLflow UI."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hypertune._secrets import redact
from hypertune.records import EXAMPLES, STANDARD_ERROR, StudyInfo

__all__ = ["closed_note", "running_note"]

_LONGEST = 120
_MOST_PARAMS = 24
_MOST_REASONS = 3
_HELD_OUT = ("test/", "hold_out/", "reserved/")  # metrics that chose nothing
_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def running_note(info: StudyInfo) -> str:
    """Return the note of a study that goes on."""
    wanted = "" if info.n_trials is None else f" It wants {info.n_trials} trials."
    return (
        f"{_subject(info)}\n\nThe study is **running**, or its driver was killed.{wanted} "
        "`best/value` is the best so far; each nested run is one trial."
    )


def closed_note(info: StudyInfo, result: Mapping[str, Any], *, finished: bool, best_run: str = "") -> str:
    """Return the note of a study that ended.

    Args:
        info: The study.
        result: Content of result.json.
        finished: Whether the study reached its end; False when it was stopped and can be resumed.
        best_run: Link to the winner's run; empty for none.
    """
    end = "finished" if finished else "stopped before its end; `hypertune resume` continues it"
    best = result.get("best")
    # MLflow folds a long note after a few lines: what won comes first.
    won = ""
    if isinstance(best, Mapping):
        won = f"**Trial {best.get('number')} won: {_text(info.metric)} {_number(best.get('value'))}.** "
    parts = [f"{won}{_subject(info)} The study is **{end}**."]
    rows = _rows(info, result, best if isinstance(best, Mapping) else None, best_run)
    if rows:
        parts.append("\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]))
    if isinstance(best, Mapping):
        parts.append(_hyperparameters(best))
    else:
        parts.append(_nothing(result))
    parts.append(
        "Each nested run is one trial. Its parameters are where the trial started, `hp/...` is what it tuned while it "
        "trained, `value` is what the study compares. The winner has the tag `hypertune.winner`. "
        "The report, when there is one, is under *Artifacts*, `report/`."
    )
    return "\n\n".join(part for part in parts if part)


def _subject(info: StudyInfo) -> str:
    tags = info.tags
    what = tags.get("objective") or " on ".join(tags[name] for name in ("family", "task") if tags.get(name))
    trains = f" of {_text(what)}" if what else ""
    sampler = f", sampler {_text(tags['sampler'])}" if tags.get("sampler") else ""
    pruner = f", pruner {_text(tags['pruner'])}" if tags.get("pruner", "none") != "none" else ""
    return f"**{_text(info.name)}**: a search{trains}{sampler}{pruner}, to {info.direction} {_text(info.metric)}."


def _rows(
    info: StudyInfo, result: Mapping[str, Any], best: Mapping[str, Any] | None, best_run: str
) -> list[tuple[str, str]]:
    rows = []
    if best is not None:
        trial = f"trial {best.get('number')}"
        trial = f"[{trial}]({best_run})" if best_run else trial
        rows.append((f"best {_text(info.metric)}", f"**{_number(best.get('value'))}** ({trial})"))
        rows += [
            (_text(name), _number(value))
            for name, value in (best.get("metrics") or {}).items()
            if name.startswith(_HELD_OUT) and not name.endswith((STANDARD_ERROR, f"/{EXAMPLES}"))
        ]
    counts = {state: count for state, count in (result.get("counts") or {}).items() if count}
    if counts:
        rows.append(("trials", ", ".join(f"{count} {state}" for state, count in counts.items())))
    cost = result.get("cost") or {}
    if cost:
        spent = f"{cost.get('epochs', 0):,} epochs, {_seconds(float(cost.get('seconds', 0.0)))} of training in all"
        rows.append(("cost", spent))
    return rows + [("how far to trust it", _text(said, 400)) for said in _trust(result)]


def _trust(result: Mapping[str, Any]) -> list[str]:
    said = []
    certificate, selection = result.get("certificate"), result.get("selection") or {}
    if isinstance(certificate, Mapping):
        said.append(
            f"with probability {1 - certificate['delta']:g} the winner's mean utility on new tasks is at least "
            f"{certificate['value']:.3g}; it was {certificate['estimate']:.3g} on {certificate['n']} tasks"
            + (" (this says no more than the range of the utility)" if certificate.get("vacuous") else "")
        )
    said += [str(selection[name]) for name in ("statement", "advice") if selection.get(name)]
    for content in (result, selection):
        if content.get("not_certified"):
            said.append(f"not certified: {content['not_certified']}")
    return said


def _hyperparameters(best: Mapping[str, Any]) -> str:
    params, tuned = best.get("params") or {}, best.get("tuned") or {}
    names: Sequence[str] = [*params, *(name for name in tuned if name not in params)]
    if not names:
        return ""
    columns = ["hyperparameter", "start", "tuned to"] if tuned else ["hyperparameter", "value"]
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines = []
    for name in names[:_MOST_PARAMS]:
        start = _number(params[name]) if name in params else ""
        end = [_number(tuned[name]) if name in tuned else ""] if tuned else []
        lines.append(f"| {' | '.join([_text(name), start, *end])} |")
    more = f"\n\nand {len(names) - _MOST_PARAMS} more" if len(names) > _MOST_PARAMS else ""
    return "\n".join([*head, *lines]) + more


def _nothing(result: Mapping[str, Any]) -> str:
    """Say why there is no winner."""
    trials = [trial for trial in result.get("trials") or () if isinstance(trial, Mapping)]
    if not trials:
        return "No trial was run: there is nothing to compare yet."
    reasons = Counter(str(trial.get("reason") or "").partition("\n")[0] for trial in trials if trial.get("reason"))
    said = [f"- {_text(reason, 300)} ({count} trials)" for reason, count in reasons.most_common(_MOST_REASONS)]
    return (
        "\n".join(["No trial is complete, so nothing won. Why the trials ended:", "", *said])
        if said
        else ("No trial is complete, so nothing won.")
    )


def _text(text: str, longest: int = _LONGEST) -> str:
    """Return a text that Markdown and HTML show as it is, on one line."""
    line = " ".join(redact(text).split())
    line = line if len(line) <= longest else line[: longest - 1] + "…"
    return _SPECIAL.sub(r"\\\1", html.escape(line, quote=False))


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return _text(str(value))


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
