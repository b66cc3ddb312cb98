"""What the study's run says in words and numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hypertune.records import StudyInfo
from hypertune.tracking._note import closed_note, running_note
from hypertune.tracking._summary import summary_metrics

INFO = StudyInfo("a study", "minimize", "val/loss", 10, "/runs/a", {"family": "mlp", "task": "wine", "sampler": "stn"})


def trial(state: str, epochs: int, reason: str = "") -> dict[str, Any]:
    return {"state": state, "cost": {"epochs": epochs}, "reason": reason}


RESULT: dict[str, Any] = {
    "best": {
        "number": 3,
        "value": 0.123456789,
        "params": {"lr": 0.01, "act": "relu"},
        "tuned": {"dropout": 0.25},
        "metrics": {"test/accuracy": 0.9, "test/accuracy_standard_error": 0.1, "val/loss": 0.2},
    },
    "counts": {"complete": 3, "pruned": 1, "failed": 0},
    "cost": {"epochs": 1234, "gradient_steps": 10, "seconds": 3600.0},
    "trials": [trial("complete", 10), trial("complete", 8), trial("complete", 10), trial("pruned", 2)],
    "certificate": {"value": 0.7, "estimate": 0.8, "delta": 0.05, "n": 40, "vacuous": False, "kind": "betting"},
    "selection": {"statement": "val/loss is optimistic", "advice": "stop", "bound": 0.3, "nested": {"n": 5}},
}


def test_what_won_comes_first() -> None:
    note = closed_note(INFO, RESULT, finished=True, best_run="#/experiments/1/runs/abc")
    assert note.startswith("**Trial 3 won: val/loss 0.12346.**")
    for said in (
        "a search of mlp on wine, sampler stn, to minimize val/loss",
        "[trial 3](#/experiments/1/runs/abc)",
        "| test/accuracy | 0.9 |",
        "3 complete, 1 pruned",
        "1,234 epochs, 60 min of training in all",
        "with probability 0.95 the winner's mean utility on new tasks is at least 0.7; it was 0.8 on 40 tasks",
        "val/loss is optimistic",
        "| lr | 0.01 |  |",
        "| dropout |  | 0.25 |",
    ):
        assert said in note, said
    assert "standard_error" not in note
    assert "resume" in closed_note(INFO, RESULT, finished=False)


def test_an_empty_study_and_one_where_all_failed_say_so() -> None:
    assert "No trial was run" in closed_note(INFO, {"best": None, "trials": []}, finished=False)
    failed = {"best": None, "counts": {"failed": 3}, "trials": [trial("failed", 0, "ValueError: a|b\nx")] * 3}
    note = closed_note(INFO, failed, finished=True)
    assert "No trial is complete" in note
    assert r"- ValueError: a\|b (3 trials)" in note
    assert "nothing won" in closed_note(INFO, {"trials": [trial("pruned", 1)]}, finished=True)
    assert "running" in running_note(INFO)


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b`c*d_e[f](g)", "é🙂 \n# x", "'\"/\\..", "x" * 500])
def test_names_show_as_text(name: str) -> None:
    best = {**RESULT["best"], "params": {name: name}, "tuned": {}, "metrics": {f"test/{name}": 1.0}}
    note = closed_note(replace(INFO, name=name, metric=name), {**RESULT, "best": best}, finished=True)
    assert "<script" not in note
    rows = [line for line in note.splitlines() if line.startswith("|")]
    # Every row has the columns of its table: no name opened another one, or broke a line.
    assert {line.replace(r"\|", "").count("|") for line in rows} == {3}
    assert max(map(len, rows)) < 600
    assert not any(line.startswith("#") for line in note.splitlines())


def test_passwords_do_not_get_into_a_note() -> None:
    failed = {"trials": [trial("failed", 0, "cannot connect to postgresql://me:hunter@host/db")]}
    assert "hunter" not in closed_note(INFO, failed, finished=True)


def test_the_numbers_of_a_study() -> None:
    assert summary_metrics(RESULT) == {
        "cost/epochs": 1234.0,
        "cost/gradient_steps": 10.0,
        "cost/seconds": 3600.0,
        "speedup/pruning": 40 / 30,  # four trials of ten epochs for the price of 30
        "certificate/value": 0.7,
        "certificate/estimate": 0.8,
        "certificate/delta": 0.05,
        "certificate/n": 40.0,
        "certificate/vacuous": 0.0,
        "selection/bound": 0.3,
        "selection/nested/n": 5.0,
    }


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [trial("complete", 10)],
        [trial("pruned", 3)],
        [trial("complete", 0), trial("pruned", 0)],
        [trial("failed", 9), trial("complete", 9)],
    ],
)
def test_nothing_is_saved_where_nothing_was_pruned(trials: list[Any]) -> None:
    assert "speedup/pruning" not in summary_metrics({"trials": trials})


def test_numbers_that_are_none_are_left_out() -> None:
    assert summary_metrics({}) == {}
    assert summary_metrics({"certificate": {"value": None, "margin": float("inf"), "n": 3}}) == {"certificate/n": 3.0}
