"""The page is parsed, not searched: what is text must be text, and what is shown must be what the study says."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hypertune.errors import HypertuneError
from hypertune.reporting._markdown import markdown_text
from hypertune.reporting._study import read_study
from hypertune.reporting._summary import facts, sentences, winner_rows
from hypertune.reporting._text import duration, number, shorten
from hypertune.reporting.report import write_report

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" 'single' a/b\\c ../.. %{x} {{ 7*7 }} "
    "</script> &amp; `code` | # *bold* [link](javascript:alert(3)) $x$ 😀 "
)
LONG = HOSTILE + "x" * (500 - len(HOSTILE))
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """A parsed page: tags, attributes, visible text, scripts; complains of tags that do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.scripts, self.cells, self.rows = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in {"td", "th"}:
            self.cells.append("")
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in {"td", "th"}:
            self.rows[-1].append(self.cells[-1])

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)
            if self.cells and ("td" in self.open or "th" in self.open):
                self.cells[-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self):
        return json.loads(self.scripts[0])


def report(*runs, out, **options):
    files = write_report([run.path for run in runs], out, **options)
    text = files.html.read_text(encoding="utf-8")
    return files, Page(text), text


def test_the_page_says_what_was_tried_what_won_and_what_it_cost(ordinary, tmp_path):
    files, page, _ = report(ordinary, out=tmp_path / "out")
    assert "15 trials of 10 planned with tpe, over 6 hyperparameters, to minimize val/loss" in page.text
    assert "not ended: it runs, or was killed" in page.text
    assert "Trial 5 won with val/loss 1; test/loss 1.25." in page.text
    assert "12 trials complete, 1 pruned, 1 failed, 1 running." in page.text
    assert "26 epochs" in page.text
    winner = {row[0]: row for row in page.rows if row}
    assert winner["dropout"][1:3] == ["0.6", "0.4"]
    assert winner["units"][1] == "9"
    assert winner["ValueError: no"] == ["ValueError: no", "failed", "1", "13"]
    trials = [row for row in page.rows if len(row) > 8 and row[0].isdigit()]
    assert [row[0] for row in trials] == [
        "5",
        "4",
        "6",
        "3",
        "7",
        "2",
        "8",
        "1",
        "9",
        "0",
        "10",
        "11",
        "12",
        "13",
        "14",
    ]
    assert trials[0][page.rows[[r[0] for r in page.rows].index("trial")].index("dropout")] == "0.6 → 0.4"
    marked = [attrs for tag, attrs in page.tags if tag == "tr" and attrs.get("class") == "winner"]
    assert [attrs["id"] for attrs in marked] == ["trial-0-5"]
    assert files.images
    assert all(image.stat().st_size > 5000 for image in files.images)


def test_every_figure_of_the_dashboard_is_drawn_or_left_out_with_a_reason(ordinary, tmp_path):
    _, page, _ = report(ordinary, out=tmp_path / "out")
    sections = [attrs for tag, attrs in page.tags if tag == "section" and "data-figure" in attrs]
    assert [attrs["data-figure"] for attrs in sections] == [str(i) for i in range(len(page.data["figures"]))]
    assert len(sections) == 8
    for missing in (
        "How far to trust it: nothing is certified",
        "Predicted against real: no model",
        "The race over tasks",
    ):
        assert missing in page.text


def test_the_page_asks_nobody_for_anything(ordinary, tmp_path):
    _, page, _ = report(ordinary, out=tmp_path / "out")
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in {"src", "href"}:
                assert value == "data:,", (tag, value)
    own = page.scripts[-1]
    for way in ("fetch(", "XMLHttpRequest", "localStorage", "sessionStorage", "document.cookie", "eval(", "http"):
        assert way not in own


def test_hostile_names_show_as_text_everywhere(make_run, tmp_path):
    space = {
        LONG: {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True, "doc": LONG, "unit": LONG},
        "c": {"type": "categorical", "choices": [LONG, "b"]},
    }
    run = make_run(LONG, space=space, metric=f"val/{HOSTILE}", tags={"sampler": HOSTILE, "family": LONG, "task": LONG})
    for i in range(12):
        run.start(i, HOSTILE, **{LONG: i / 12, "c": [LONG, "b"][i % 2]})
        for step in range(2):
            run.report(i, step, {f"val/{HOSTILE}": float(i), LONG: 1.0}, {LONG: 0.5 - 0.1 * step})
        if i == 11:
            run.fail(i, LONG)
        else:
            run.finish(i, float(i), {f"test/{HOSTILE}": 1.0}, {LONG: 0.4})
    files, page, text = report(run, out=tmp_path / "out")
    allowed = {"html", "head", "meta", "title", "link", "style", "body", "main", "header", "p", "h1", "h2", "div", "dl"}
    allowed |= {"dt", "dd", "section", "span", "i", "button", "table", "thead", "tbody", "tr", "th", "td", "input"}
    assert {tag for tag, _ in page.tags} <= allowed | {"noscript", "ul", "li", "footer", "script"}
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert text.count("<script>alert") == 0
    squeezed = " ".join(LONG.split())
    assert squeezed in page.text  # the heading, whole
    assert any(cell == LONG for cell in page.cells)  # a name in the winner's table
    assert next(attrs["title"] for tag, attrs in page.tags if tag == "td" and "title" in attrs) == LONG  # the reason
    # plotly reads a little HTML in its strings.
    strings = json.dumps(page.data["hovers"]) + json.dumps(page.data["figures"])
    for panel in (panel for views in page.data["figures"] for panels in views.values() for panel in panels):
        for annotation in panel["layout"]["annotations"]:
            assert not re.search(r"<(?!br>)", annotation["text"])
        for trace in panel["data"]:
            assert not any(re.search(r"<(?!br>)", hover) for hover in trace.get("hovertext", []))
        for axis in ("xaxis", "yaxis"):
            assert not re.search(r"<(?!br>)", panel["layout"][axis]["title"]["text"])
            assert not any(re.search(r"<(?!br>)", label) for label in panel["layout"][axis].get("ticktext", []))
    assert "alert" in strings
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == sorted(
        ["images", "report.html", "report.md", *(image.name for image in files.images)]
    )
    markdown = files.markdown.read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert "<img" not in markdown


def test_markdown_shows_text_as_it_is():
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    for text in (" ".join(HOSTILE.split()), "1 | 2", "# no heading", "- no list", "a_b_c", "x *y* z", "<b>", "&lt;"):
        shown = parser.render(f"{markdown_text(text)}\n")
        assert html.unescape(re.sub(r"^<p>|</p>$", "", shown.strip())) == text
    rendered = parser.render(f"| a |\n| --- |\n| {markdown_text('1 | 2')} |\n")
    assert "<td>1 | 2</td>" in rendered


def test_the_short_form_links_images_that_are_there(ordinary, tmp_path):
    files, _, _ = report(ordinary, out=tmp_path / "out")
    markdown = files.markdown.read_text()
    linked = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", markdown)
    assert [files.markdown.parent / link for link in linked] == list(files.images)
    assert "| dropout | 0.6 → 0.4 |" in markdown
    assert "5 further rows are in report.html." in markdown
    report(ordinary, out=tmp_path / "out", dashboard="faults")
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == [
        "learning_curves.png",
        "workers.png",
    ]


@pytest.mark.parametrize("what", ["empty", "all failed", "running"])
def test_a_study_without_a_winner_gives_a_useful_page(what, make_run, tmp_path):
    run = make_run()
    if what != "empty":
        run.start(0, lr=0.01)
        run.start(1, lr=0.02)
    if what == "all failed":
        run.fail(0, "RuntimeError: out of memory")
        run.fail(1, "RuntimeError: out of memory")
        run.close()
    _, page, _ = report(run, out=tmp_path / "out")
    said = {
        "empty": "No trial has started yet.",
        "all failed": "Every trial that ended failed (2), so nothing won. The last reason: RuntimeError: out of memory",
        "running": "No trial is complete yet: 2 running.",
    }
    assert said[what] in page.text
    assert "Best value against cost: no trial has a value yet" in page.text
    if what == "all failed":
        assert ["RuntimeError: out of memory", "failed", "2", "0, 1"] in page.rows


def test_several_studies_side_by_side(ordinary, racing, tmp_path):
    files, page, _ = report(ordinary, racing, out=tmp_path / "out")
    assert "2 studies side by side" in page.text
    table = [row for row in page.rows if row and row[0] in {"study", "s", "race"}]
    assert [row[:4] for row in table[:3]] == [
        ["study", "sampler", "goal", "best value"],
        ["s", "tpe", "minimize val/loss", "1"],
        ["race", "tpe", "maximize val/accuracy", "0.75"],
    ]
    assert len(page.data["figures"]) == 1
    assert [image.name for image in files.images] == ["comparison.png"]
    files, page, _ = report(ordinary, racing, out=tmp_path / "out", dashboard="many_tasks")
    studies = {panel["study"] for views in page.data["figures"] for panels in views.values() for panel in panels}
    assert studies == {0, 1}
    assert {image.name for image in files.images} > {"1-slices.png"}


def test_what_certificates_say_is_in_words(racing):
    said = " ".join(sentences(read_study(racing.path)))
    assert "With 95% confidence its mean utility on new tasks is at least 0.25; it was 0.75 on 4 tasks." in said
    assert [fact.value for fact in facts(read_study(racing.path)) if fact.label == "guaranteed utility"] == ["0.25"]


def test_selection_is_told_as_the_search_told_it(make_run):
    run = make_run()
    run.start(0, lr=0.01)
    run.finish(0, 0.5, {"test/loss": 0.6, "test/examples": 100, "test/loss_standard_error": 0.1})
    selection = {"statement": "val/loss 0.5 is fine", "advice": "more trials may help", "bound": 0.8, "delta": 0.1}
    run.close(selection=selection)
    study = read_study(run.path)
    assert sentences(study)[-2:] == ["val/loss 0.5 is fine.", "More trials may help."]
    assert "at most 0.8" in [fact.value for fact in facts(study)]
    assert not [fact for fact in facts(study) if "examples" in fact.label or "standard_error" in fact.label]


def test_the_winners_table_says_where_in_its_range_a_value_lies(make_run):
    run = make_run()
    run.start(0, lr=1e-4, dropout=0.4, units=64, kind=True, fixed=3)
    run.finish(0, 1.0, tuned={"dropout": 0.795})
    rows = {row.name: row for row in winner_rows(read_study(run.path))}
    assert (rows["lr"].share, rows["lr"].edge) == (0.0, "low")
    assert (rows["units"].share, rows["units"].edge) == (1.0, "high")
    assert rows["dropout"].share == pytest.approx(0.795 / 0.8)
    assert rows["dropout"].edge == "high"
    assert (rows["kind"].start, rows["kind"].share) == ("true", None)
    assert rows["lr"].range == "0.0001 to 0.1, log"


def test_credentials_do_not_reach_the_report(make_run, tmp_path):
    run = make_run()
    run.folder.write_text(run.folder.config, "tracking: {password: hunter2hunter2}\n")
    run.start(0, lr=0.01)
    run.fail(0, "cannot log in with hunter2hunter2 at https://user:swordfish@mlflow.example/")
    files, page, text = report(run, out=tmp_path / "out")
    for secret in ("hunter2hunter2", "swordfish"):
        assert secret not in text
        assert secret not in files.markdown.read_text()
    assert "cannot log in with ***" in page.text


def test_a_report_needs_neither_mlflow_nor_torch(ordinary, tmp_path):
    code = (
        "import sys; from pathlib import Path; from hypertune.reporting.report import write_report;"
        f"write_report([{str(ordinary.path)!r}], Path({str(tmp_path / 'out')!r}), dashboard='faults');"
        "print([m for m in ('mlflow', 'torch', 'ray', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_no_run_and_no_place_are_one_clear_error(ordinary, tmp_path):
    with pytest.raises(HypertuneError, match=r"run\.json cannot be read"):
        write_report([tmp_path], tmp_path / "out")
    with pytest.raises(HypertuneError, match="no run"):
        write_report([], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(HypertuneError, match="the report cannot be written"):
        write_report([ordinary.path], tmp_path / "file" / "out")
    with pytest.raises(HypertuneError, match="did you mean 'study'"):
        write_report([ordinary.path], tmp_path / "out", dashboard="studdy")
    assert not (tmp_path / "out").exists()


def test_a_hundred_trials_make_a_small_page(make_run, tmp_path):
    run = make_run()
    for trial in range(100):
        run.start(trial, lr=0.01, dropout=trial / 200, units=5, kind="tanh", fixed=3)
        for step in range(20):
            run.report(trial, step, {"val/loss": 1.0 / (1 + step) + trial}, {"dropout": 0.5})
        run.finish(trial, float(trial), tuned={"dropout": 0.5})
    files, _, _ = report(run, out=tmp_path / "out")
    plotly = 4.9e6
    assert files.html.stat().st_size < plotly + 1e6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (42.4, "42 s"), (60, "1 min"), (200, "3 min 20 s"), (7260, "2 h 1 min"), (90000, "1 d 1 h")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_numbers_and_long_names_read_well():
    assert [number(v) for v in (None, 12345.0, 0.000012345, float("nan"), float("-inf"), 1.0)] == [
        *("\N{EN DASH}", "12,345", "1.234e-05", "NaN", "-inf", "1")
    ]
    assert shorten("a\nb   c") == "a b c"
    assert shorten("  ") == "(blank)"
    short = shorten("x" * 300 + "end", 20)
    assert len(short) == 20
    assert short.endswith("end")


def test_page_files_ship_with_the_package():
    import hypertune.reporting

    folder = Path(hypertune.reporting.__file__).parent
    assert all((folder / name).exists() for name in ("_page.css", "_page.js", "_page.html.jinja"))
