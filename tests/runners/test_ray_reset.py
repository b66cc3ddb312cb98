"""What one trial leaves behind, the next one does not find; in the worker process that runs both."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypertune.objectives import UserObjective
from hypertune.records import Assignment
from hypertune.runners._ray_reset import Resetting
from hypertune.runners.local import LocalRunner

HERE = Path(__file__).parent


def run(recipe, n, folder):
    runner, ended = LocalRunner(), []
    runner.start(recipe, lambda number, report: False, folder=str(folder), prunes=False)
    try:
        for number in range(n):
            runner.check()
            runner.submit(Assignment(number, {"x": 0.0}, number, str(folder / str(number))))
            while len(ended) <= number:
                ended += runner.wait(10.0)
    finally:
        runner.close()
    assert [end.how for end in ended] == ["finished"] * n, ended
    return [end.result for end in ended]


def test_a_plain_worker_shows_every_trace(tmp_path):
    """Otherwise the next test could not fail."""
    first, second = run(UserObjective("ray_objectives:leaves_traces", HERE), 2, tmp_path)
    assert (first.value, second.value) == (0.0, 9.0)


def test_a_resetting_worker_shows_none(tmp_path):
    results = run(Resetting(UserObjective("ray_objectives:leaves_traces", HERE)), 3, tmp_path)
    assert [result.value for result in results] == [0.0, 0.0, 0.0]
    assert len({result.metrics["pid"] for result in results}) == 1


@pytest.mark.parametrize("module", ["ray_torch_first", "ray_torch_later"])
def test_torch_has_its_settings_again(module, tmp_path):
    """Whether torch is there when the worker starts, or the first trial imports it."""
    body = """
    found = [torch.get_default_dtype() != torch.float32, torch.get_num_threads() != 1, not torch.is_grad_enabled(),
             torch.are_deterministic_algorithms_enabled(), torch.get_default_device().type != "cpu",
             torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision() != "highest"]
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_default_device("meta")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return sum(found)
"""
    first = module.endswith("first")
    text = f"{'import torch' if first else ''}\ndef train(trial):\n    {'' if first else 'import torch'}\n{body}"
    (tmp_path / f"{module}.py").write_text(text)
    results = run(Resetting(UserObjective(f"{module}:train", tmp_path)), 2, tmp_path)
    assert [result.value for result in results] == [0.0, 0.0]
