"""The report on the kernels, and that the one in ``docs/`` is of these kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypertune import kernels
from hypertune.kernels import report
from hypertune.kernels._compile import TARGETS, Artefact

pytest.importorskip("triton")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "compile_case", lambda case, target: Artefact(10, 0, 2048, 1, 2, 3, 4, 5))


def test_every_case_and_every_workload_has_a_row() -> None:
    text = report.report()
    for kernel in map(kernels.load, kernels.names()):
        for workload in kernel.workloads:
            assert f"| {kernel.name} | {workload.label} |" in text
        for case in kernel.compiled():
            label = case.label if case.default else f"{case.label} (not default)"
            for target in TARGETS:
                launched = not case.targets or target in case.targets
                assert (f"| {label} | {target} |" in text) == launched
    assert "| 10 | 0 | 2.05 kB | 1 of 2 | 3 of 4 | 5 |" in text


def test_the_file_is_written(tmp_path: Path) -> None:
    assert report.main([str(tmp_path / "new" / "kernels.md")]) == 0
    assert (tmp_path / "new" / "kernels.md").read_text(encoding="utf-8") == report.report()


def test_the_report_in_docs_has_the_cases_of_today() -> None:
    def labels(text: str) -> list[list[str]]:
        rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
        # What is compiled and predicted; the numbers are Triton's, and change with it.
        return [row[:2] for row in rows]

    assert labels((ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")) == labels(report.report())
