"""A study in plain words and a few numbers: what was tried, what won, what it cost, how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypertune.records import EXAMPLES, STANDARD_ERROR, TrialRecord
from hypertune.reporting._study import Study
from hypertune.reporting._text import duration, number, plural, shorten, value_text
from hypertune.reporting.figures._shared import HyperparameterAxis

__all__ = ["Fact", "WinnerRow", "facts", "sentences", "winner_rows"]

_ENDS = 0.02  # share of a range that counts as its end
_STATES = {"finished": "finished", "stopped": "stopped before its end", "open": "not ended: it runs, or was killed"}


@dataclass(frozen=True, slots=True)
class Fact:
    """One number to read first."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class WinnerRow:
    """One hyperparameter of the winner.

    Attributes:
        name: Its name.
        start: Value the trial started with.
        tuned: Value that in-trial tuning ended with; empty when it is not self-tuned.
        range: Its range in words.
        share: Where the final value lies in the range, from 0 to 1; None when it has no place.
        edge: ``low`` or ``high`` when that is an end of the range of a number.
        doc: What it is.
        unit: Its unit.
    """

    name: str
    start: str
    tuned: str
    range: str
    share: float | None
    edge: str
    doc: str
    unit: str


def sentences(study: Study) -> list[str]:
    """Return the study in sentences."""
    result, best = study.result, study.result.best
    counts = {state: count for state, count in result.counts.items() if count}
    tags = result.tags
    sampler, family, task = (
        shorten(tags[name], 60) if tags.get(name) else "" for name in ("sampler", "family", "task")
    )
    way = f" with {sampler}" if sampler else ""
    on = f" of {family} on {task}" if family and task else ""
    wanted = f" of {study.n_trials:,} planned" if study.n_trials and study.n_trials != len(result.trials) else ""
    said = [
        f"{plural(len(result.trials), 'trial')}{wanted}{on}{way}, over {plural(len(study.names), 'hyperparameter')}, "
        f"to {result.direction} {shorten(result.metric, 60)}; {_STATES[study.state]}."
    ]
    if best is None:
        said.append(_nothing(study, counts))
    else:
        said.append(f"Trial {best.number} won with {shorten(result.metric, 60)} {number(best.value)}{_chosen(study)}.")
    others = [f"{count:,} {state}" for state, count in counts.items() if state != "complete"]
    if best is not None and others:
        said.append(f"{plural(counts.get('complete', 0), 'trial')} complete, {', '.join(others)}.")
    return [*said, *_trust(study)]


def facts(study: Study) -> list[Fact]:
    """Return the numbers to read first."""
    result, best = study.result, study.result.best
    found = []
    if best is not None:
        found.append(Fact(f"best {shorten(result.metric)}", number(best.value), f"trial {best.number}"))
        found += [
            Fact(shorten(name), number(value), "test split of the winner")
            for name, value in best.metrics.items()
            if name.startswith("test/") and not _is_detail(name)
        ][:2]
        found += [
            Fact("held-out tasks", number(best.metrics["hold_out/mean"]), "mean of the winner")
            for name in best.metrics
            if name == "hold_out/mean"
        ]
    epochs = sum(trial.cost.epochs for trial in result.trials)
    spent = int(float(study.hypernetwork.get("epochs") or 0))
    if epochs or spent:
        note = f"and {spent:,} of the hypernetwork" if spent else "of all trials"
        found.append(Fact("cost", plural(epochs, "epoch"), note))
    work = sum(trial.cost.seconds for trial in result.trials)
    last = max([*study.ends.values(), *study.reports["clock"].tolist()], default=0.0)
    if last:
        found.append(Fact("wall-clock", duration(last), f"{duration(work)} of trials" if work else ""))
    certified = _certified(study)
    return [*found, certified] if certified is not None else found


def winner_rows(study: Study) -> list[WinnerRow]:
    """Return the winner's hyperparameters in the order of the space; empty when there is no winner."""
    best = study.result.best
    return [] if best is None else [_row(study, best, name) for name in study.names if name in best.params]


def _row(study: Study, best: TrialRecord, name: str) -> WinnerRow:
    axis = HyperparameterAxis.of(study, name)
    start, tuned = best.params[name], best.tuned.get(name)
    share = axis.share(start if tuned is None else tuned)
    edge = ""
    if not axis.choices and not axis.constant and share is not None:
        edge = "low" if share <= _ENDS else "high" if share >= 1 - _ENDS else ""
    if axis.choices:
        shown = ", ".join(shorten(value_text(choice), 20) for choice in axis.choices[:6])
        shown += f", and {len(axis.choices) - 6} more" if len(axis.choices) > 6 else ""
        share = None
    else:
        shown = f"{number(axis.low)} to {number(axis.high)}{', log' if axis.log else ''}"
    return WinnerRow(
        name, value_text(start), "" if tuned is None else number(tuned), shown, share, edge, axis.doc, axis.unit
    )


def _chosen(study: Study) -> str:
    best = study.result.best
    assert best is not None
    test = [(name, value) for name, value in best.metrics.items() if name.startswith("test/") and not _is_detail(name)]
    words = ", ".join(f"{shorten(name)} {number(value)}" for name, value in test[:3])
    return f"; {words}" if words else ""


def _is_detail(name: str) -> bool:
    """Whether a metric describes another one: its standard error, or a number of examples."""
    return name.endswith((STANDARD_ERROR, EXAMPLES))


def _nothing(study: Study, counts: Mapping[str, int]) -> str:
    if not counts:
        return "No trial has started yet."
    if study.result.all_failed:
        reasons = [trial.reason for trial in study.result.trials if trial.reason]
        why = f" The last reason: {shorten(reasons[-1], 200)}" if reasons else ""
        return f"Every trial that ended failed ({counts['failed']:,}), so nothing won.{why}"
    return f"No trial is complete yet: {', '.join(f'{count:,} {state}' for state, count in counts.items())}."


def _trust(study: Study) -> list[str]:
    said = []
    found = study.findings.get("certificate")
    if isinstance(found, Mapping) and {"delta", "value", "estimate", "n"} <= found.keys():
        empty = " That is no more than its range says: more tasks are needed." if found.get("vacuous") else ""
        said.append(
            f"With {1 - float(found['delta']):.0%} confidence its mean utility on new tasks is at least "
            f"{number(found['value'])}; it was {number(found['estimate'])} on {found['n']} tasks.{empty}"
        )
    elif study.findings.get("not_certified"):
        said.append(f"No certificate: {shorten(str(study.findings['not_certified']), 300)}.")
    selection = study.findings.get("selection")
    if isinstance(selection, Mapping):
        said += [f"{_sentence(str(selection[key]))}" for key in ("statement", "advice") if selection.get(key)]
        if selection.get("not_certified"):
            said.append(f"How optimistic its value is, is not known: {shorten(str(selection['not_certified']), 300)}.")
    return said


def _certified(study: Study) -> Fact | None:
    found = study.findings.get("certificate")
    if isinstance(found, Mapping) and "value" in found and "delta" in found:
        return Fact("guaranteed utility", number(found["value"]), f"on new tasks, {1 - float(found['delta']):.0%} sure")
    selection = study.findings.get("selection")
    if isinstance(selection, Mapping) and "bound" in selection and "delta" in selection:
        side = "at least" if study.result.direction == "maximize" else "at most"
        return Fact(
            f"expected {shorten(study.result.metric)}",
            f"{side} {number(selection['bound'])}",
            f"on new examples, {1 - float(selection['delta']):.0%} sure",
        )
    return None


def _sentence(text: str) -> str:
    text = text.strip()
    first = text.partition(" ")[0]
    # A sentence may begin with the name of a metric, which has no capital.
    begin = first.capitalize() if first.rstrip(":,").isalpha() else first
    return f"{begin}{text[len(first) :]}{'' if text.endswith('.') else '.'}"
