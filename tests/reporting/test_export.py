from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from hypertune.errors import ConfigError, StorageError
from hypertune.records import Cost, TrialRecord
from hypertune.reporting.export import export_trials
from hypertune.reporting.result import StudyResult


def result(*trials):
    return StudyResult("s <b>", Path("f"), "minimize", "val/loss", True, trials)


def test_nested_names_are_flattened_and_kinds_stand_together():
    frame = result(
        TrialRecord(0, "complete", {"lr": 0.1, "kind": "a"}, 1.0, {"val/loss": 1.0}, {"lr": 0.2}, Cost(1, 2, 3.0), 7),
        TrialRecord(1, "failed", {"lr": 0.3, "slope": None}, reason="no", time_start=1.5),
    ).to_frame()
    assert list(frame.columns) == [
        "number", "state", "value", "params.lr", "params.kind", "params.slope", "tuned.lr", "metrics.val/loss",
        "epochs", "gradient_steps", "seconds", "seed", "retry_of", "reason", "checkpoint", "time_start", "time_end",
    ]  # fmt: skip
    assert frame["params.lr"].tolist() == [0.1, 0.3]
    assert frame.loc[0, "metrics.val/loss"] == 1.0
    assert math.isnan(frame.loc[1, "value"])
    assert frame.loc[1, "params.kind"] is None or pd.isna(frame.loc[1, "params.kind"])
    assert frame["seed"].dtype == "Int64"
    assert frame.loc[1, "time_start"] == pd.Timestamp(1.5, unit="s", tz="UTC")


def test_an_empty_study_has_the_fixed_columns():
    frame = result().to_frame()
    assert len(frame) == 0
    assert {"number", "state", "value", "epochs"} <= set(frame.columns)


@pytest.fixture
def odd(make_run):
    run = make_run(space={"k": {"choices": [True, "a", 2, None]}, "lr": {"type": "float", "low": 0, "high": 1}})
    for number, choice in enumerate([True, "a", 2, None]):
        run.start(number, k=choice, lr=1 / 3)
        run.finish(number, [math.inf, 0.1, 1e-300, 1.0][number], {'a "b", c': 1.0})
    run.start(4, k="a", lr=0.5)
    run.fail(4, "line\nbreak, comma")
    return run


def test_csv_reads_back(odd):
    path = export_trials(odd.path)
    assert path == odd.path / "trials.csv"
    frame = pd.read_csv(path)
    assert frame["value"].tolist()[:4] == [math.inf, 0.1, 1e-300, 1.0]
    assert frame["params.lr"].tolist() == [1 / 3] * 4 + [0.5]
    assert frame['metrics.a "b", c'].tolist()[:4] == [1.0] * 4
    assert frame["reason"].tolist()[4] == "line\nbreak, comma"


def test_parquet_reads_back_and_a_column_of_mixed_choices_is_text(odd, tmp_path):
    frame = pd.read_parquet(export_trials(odd.path, tmp_path / "deep" / "x.parquet"))
    assert frame["value"].tolist()[:4] == [math.inf, 0.1, 1e-300, 1.0]
    assert frame["params.k"].tolist()[:3] == ["true", "a", "2"]
    assert frame["number"].tolist() == [0, 1, 2, 3, 4]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.parquet"]


def test_json_is_strict_and_exact(odd, tmp_path):
    def refuse(text):
        raise AssertionError(text)

    path = export_trials(odd.path, tmp_path / "out.txt.json")
    rows = json.loads(path.read_text(), parse_constant=refuse)
    assert [row["value"] for row in rows] == [None, 0.1, 1e-300, 1.0, None]
    assert [row["params.k"] for row in rows] == [True, "a", 2, None, "a"]
    assert rows[0]["params.lr"] == 1 / 3
    assert rows[0]["time_start"].startswith("1970-01-12T")


def test_the_format_is_what_is_asked_for_then_what_the_file_is_called(odd, tmp_path):
    assert json.loads(export_trials(odd.path, tmp_path / "x.csv", format="json").read_text())
    assert export_trials(odd.path, format="parquet").name == "trials.parquet"
    with pytest.raises(ConfigError, match="no such format; given 'xls'"):
        export_trials(odd.path, format="xls")
    with pytest.raises(ConfigError, match="no such format; given 'xlsx'"):
        export_trials(odd.path, tmp_path / "x.xlsx")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="the export cannot be written"):
        export_trials(odd.path, tmp_path / "file" / "x.csv")


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += f"{data} "


def test_a_notebook_shows_the_winner_and_the_best_trials():
    trials = [
        TrialRecord(i, "complete", {"lr <i>": i, "name": "<script>"}, float(10 - i), {}, {"lr <i>": 0.5})
        for i in range(10)
    ]
    shown = result(*trials, TrialRecord(10, "failed", {}))._repr_html_()
    page = Tags(shown)
    assert set(page.tags) == {"div", "b", "svg", "polyline", "table", "thead", "tbody", "tr", "th", "td"}
    assert page.tags.count("tr") == 9  # the heading and the best eight
    assert "trial 9: 1" in page.text
    assert "10 complete, 1 failed" in page.text
    assert "9 → 0.5" in page.text
    assert "s <b>" in page.text
    assert "no trial is complete" in Tags(result(TrialRecord(0, "failed", {}))._repr_html_()).text


def test_a_value_that_is_no_number_wins_nothing():
    trials = [TrialRecord(0, "complete", {}, math.nan), TrialRecord(1, "complete", {}, 2.0)]
    assert result(*trials).best.number == 1
