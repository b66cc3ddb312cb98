"""Best responses of complex layers, and self-tuned trials of complex networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hypertune.families.cmusenet import FAMILY as CMUSENET
from hypertune.families.complex_cnn import FAMILY as COMPLEX_CNN
from hypertune.families.contract import Family, build_model
from hypertune.hypernets.attach import attach
from hypertune.records import Assignment, Params, Report, TaskSpec
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task
from hypertune.tasks.digits_fourier import digits_fourier
from hypertune.tasks.rf_spectrum import rf_spectrum
from hypertune.training.fit import fit
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial

SPACE = SearchSpace.from_mapping(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True},
        "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-2, "log": True, "self_tune": True},
        "input_noise": {"type": "float", "low": 0.0, "high": 0.5, "self_tune": True},
    }
)
START: Params = {"dropout": 0.2, "weight_decay": 1e-4, "input_noise": 0.1}
SPECTRA = TaskSpec("spectra", "classification", (1, 8, 8), 10, "complex64")
BINS = TaskSpec("bins", "regression", (1, 64), 64, "complex64")


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize(("family", "spec"), [(COMPLEX_CNN, SPECTRA), (CMUSENET, BINS)])
@pytest.mark.parametrize("rank", [0, 1])
def test_without_displacement_the_responding_model_is_the_plain_one(
    family: Family, spec: TaskSpec, rank: int, norm: str
) -> None:
    torch.manual_seed(0)
    model = build_model(family, {"width": 4, "depth": 1, "norm": norm}, spec).eval()
    responding = attach(model, SPACE, start=START, rank=rank, bind={"dropout": "*dropout"}).eval()
    x = torch.randn(3, *spec.input_shape, dtype=torch.complex64)
    torch.testing.assert_close(responding(x), model(x), rtol=0, atol=0)
    nothing = torch.zeros(3, len(SPACE.names))
    torch.testing.assert_close(responding(x, displacement=nothing), model(x))
    kinds = {type(module).__name__ for module in model.modules() if next(module.parameters(False), None) is not None}
    assert kinds <= {"ComplexConv1d", "ComplexConv2d", "ComplexBatchNorm", "ComplexLayerNorm", "Linear"}
    assert not responding.untreated


def test_modrelu_stays_plain_and_says_so() -> None:
    model = build_model(COMPLEX_CNN, {"width": 4, "depth": 1, "activation": "modrelu"}, SPECTRA)
    responding = attach(model, SPACE, start=START)
    assert all("ModReLU" in reason for reason in responding.untreated.values())
    assert responding.untreated


def test_tuned_dropout_drops_both_parts() -> None:
    model = nn.Sequential(build_model(CMUSENET, {"width": 4, "depth": 1, "dropout": 0.1}, BINS))
    responding = attach(model, SPACE, start=START).train()
    dropout = responding.get_submodule("model.0.dropout")
    z = torch.full((400, 4, 8), 1 + 2j)
    with responding.context.using(None, {"dropout": torch.full((400,), 0.3)}):
        made = dropout(z)
    dropped = made == 0
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(made[~dropped], (z / 0.7)[~dropped])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("family", "params"),
    [
        (COMPLEX_CNN, {"head": "modulus"}),
        (COMPLEX_CNN, {"head": "parts", "norm": "layer", "activation": "cardioid"}),
        (CMUSENET, {"activation": "modrelu"}),
    ],
)
def test_the_linearised_model_is_torchs_derivative(family: Family, params: Params, rank: int) -> None:
    """And running statistics move once, by the values."""
    torch.manual_seed(0)
    spec = SPECTRA if family is COMPLEX_CNN else BINS
    plain = build_model(family, {"width": 4, "depth": 1, **params}, spec)
    model = attach(plain, SPACE, start=START, rank=rank, bind={"dropout": "*dropout"}).train()
    for weight in model.response_parameters():
        nn.init.normal_(weight, std=0.3)
    for weight in model.general_parameters():
        weight.requires_grad_(False)
    x = torch.randn(5, *spec.input_shape, dtype=torch.complex64)
    perturbation = torch.randn(5, len(SPACE.names))
    values = {"dropout": torch.zeros(5), "weight_decay": torch.zeros(5), "input_noise": torch.zeros(5)}
    start = {name: buffer.clone() for name, buffer in model.named_buffers()}

    def call(displacement: torch.Tensor) -> torch.Tensor:
        return model.outputs_and_penalized(x, displacement, values)[0]

    at, slope = torch.func.jvp(call, (torch.zeros_like(perturbation),), (perturbation,))
    model.load_state_dict(start, strict=False)
    outputs = model.linearized_outputs_and_penalized(x, perturbation, values)[0]
    torch.testing.assert_close(outputs, at + slope, rtol=1e-3, atol=1e-4)
    assert (outputs - at).detach().abs().max() > 0.01
    weights = list(model.response_parameters())
    probe = torch.randn_like(outputs)
    ours, theirs = (
        torch.autograd.grad((made * probe).abs().sum(), weights, allow_unused=True) for made in (outputs, at + slope)
    )
    for mine, reference in zip(ours, theirs, strict=True):
        if mine is not None and reference is not None:
            torch.testing.assert_close(mine, reference, rtol=2e-3, atol=1e-3)
    moved = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.load_state_dict(start, strict=False)
    model.outputs_and_penalized(x, None, values)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(moved[name], buffer)


def _small(task: Task) -> tuple[Family, Params]:
    family = COMPLEX_CNN if task.spec.kind == "classification" else CMUSENET
    return family, {**START, "width": 4, "depth": 1, "lr": 0.02}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("algorithm", ["stn", "delta_stn"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: digits_fourier(n_train=64, n_val=40, n_test=20), id="digits_fourier"),
        pytest.param(lambda: rf_spectrum(n_train=32, n_val=32, n_test=8, length=64, snr_low=0), id="rf_spectrum"),
    ],
)
def test_a_self_tuned_trial_runs(tmp_path: Path, make: Callable[[], Task], algorithm: str) -> None:
    task = make()
    family, params = _small(task)
    reports: list[Report] = []

    def send(report: Report) -> bool:
        reports.append(report)
        return False

    tuning: dict[str, Any] = {"train_steps": 2, "warmup": 0.25, "algorithm": algorithm}
    settings = TrainingSettings(
        device="cpu", epochs=4, batch_size=16, dtype="float32", self_tuning=SelfTuningSettings(**tuning)
    )
    result = fit(Trial(Assignment(0, params, 0, str(tmp_path)), send), family, task, settings, space=SPACE)
    assert len(reports) == 4
    assert set(result.tuned) == set(SPACE.names)
    assert result.tuned["dropout"] != pytest.approx(0.2, abs=1e-4)
    assert reports[-1].metrics["train/loss"] < reports[0].metrics["train/loss"]
    model = build_model(family, params, task.spec)
    assert result.checkpoint is not None
    content = torch.load(result.checkpoint, weights_only=True)
    assert set(content["model"]) == set(model.state_dict())
