"""The report of a study of 1,000 trials with 50 reports each: time to make it, its size, time to open it in Chromium."""

from __future__ import annotations

import json
import math
import random
import shutil
import statistics
import time

import pytest

from hypertune._yaml import dump_yaml
from hypertune.records import Cost, Finished, Report, Reported, Started, StudyInfo, StudyOpened, TrialResult
from hypertune.reporting.report import write_report
from hypertune.space import SearchSpace
from hypertune.tracking.journal import Journal

pytestmark = pytest.mark.bench

TRIALS, REPORTS = 1000, 50
CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "big"
    folder.mkdir()
    entries = {f"p{i}": {"type": "float", "low": 1e-4, "high": 1.0, "log": True} for i in range(7)}
    entries |= {"d": {"type": "float", "low": 0, "high": 0.9, "self_tune": True}, "k": {"choices": ["a", "b", "c"]}}
    entries["n"] = {"type": "int", "low": 1, "high": 8}
    space = SearchSpace.from_mapping(entries)
    (folder / "space.yaml").write_text(dump_yaml(space.to_mapping()))
    (folder / "config.yaml").write_text("study: {name: big}\n")
    (folder / "run.json").write_text(json.dumps({"study": "big"}))
    noise, now = random.Random(0), 1e9
    with Journal(folder / "events.jsonl") as journal:
        journal(StudyOpened(now, StudyInfo("big", "minimize", "val/loss", TRIALS, str(folder), {"sampler": "tpe"})))
        for number, params in enumerate(space.sample(TRIALS, seed=0)):
            now += 1.0
            journal(Started(number, now, params, number, f"local-{number % 4}"))
            floor, loss = math.log10(params["p0"]) ** 2 + noise.random(), 0.0
            for step in range(REPORTS):
                now += 0.1
                loss = floor + 3 * math.exp(-step / 10) + 0.05 * noise.random()
                metrics = {"val/loss": loss, "train/loss": 0.9 * loss, "val/accuracy": 1 / (1 + loss)}
                journal(Reported(number, now, Report(step, metrics, {"d": params["d"] * (1 - step / 100)})))
            result = TrialResult(loss, {"val/loss": loss}, {"d": params["d"] / 2}, Cost(REPORTS, 10 * REPORTS, 5.0))
            journal(Finished(number, now + 0.1, result))
    return folder


def test_a_report_of_a_thousand_trials(run, tmp_path, capsys):
    seconds = []
    for _ in range(3):
        before = time.process_time()
        files = write_report([run], tmp_path / "out")
        seconds.append(time.process_time() - before)
    megabytes = files.html.stat().st_size / 1e6
    with capsys.disabled():
        print(f"\nreport: {statistics.median(seconds):.1f} s of CPU time ({min(seconds):.1f} to {max(seconds):.1f})")
        print(f"page: {megabytes:.1f} MB, {files.html.stat().st_size - 4.9e6:.0f} bytes beside plotly.js")
    assert statistics.median(seconds) < 20
    assert megabytes < 10


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_the_page_opens_quickly(run, tmp_path, capsys):
    playwright = pytest.importorskip("playwright.sync_api")
    page_file = write_report([run], tmp_path / "out").html
    first, whole = [], []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1200, "height": 900})
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})  # CPU time of the page's main thread

            def spent(session=session):
                metrics = session.send("Performance.getMetrics")["metrics"]
                return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

            page.goto(page_file.as_uri(), wait_until="commit")
            page.wait_for_function("document.querySelector('.plot .main-svg')", timeout=120_000)
            first.append(spent())
            page.wait_for_function("document.documentElement.dataset.drawn === 'all'", timeout=120_000)
            whole.append(spent())
            page.close()
        browser.close()
    with capsys.disabled():
        print(
            f"\nfirst figure after {statistics.median(first):.1f} s of CPU time, all after {statistics.median(whole):.1f}"
        )
    assert statistics.median(first) < 5
