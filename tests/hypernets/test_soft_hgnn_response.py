"""The family soft_hgnn under self-tuning: everything in it responds, example by example."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hypertune.families.soft_hgnn import FAMILY
from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.records import Assignment, TaskSpec
from hypertune.space import SearchSpace
from hypertune.tasks.digits import digits
from hypertune.training.family_binding import bound_paths
from hypertune.training.fit import fit
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial

SPEC = TaskSpec("digits", "classification", (1, 8, 8), 10)
SMALL = {"width": 16, "depth": 2, "hyperedges": 6, "top_k": 3, "fixed_hyperedges": 2, "insertion": "after_each"}
RATES = {"dropout": 0.3, "hyperedge_dropout": 0.2}
KINDS = pytest.mark.parametrize(
    ("backbone", "selection"), [("vit", "dense"), ("vit", "sparse"), ("cnn", "dense"), ("cnn", "sparse")]
)


class _Case:
    """A small model, the hyperparameters that made it, and those of them to tune."""

    def __init__(self, backbone: str, selection: str) -> None:
        self.tuned = RATES | ({"load_balance": 0.1} if selection == "sparse" else {})
        self.params = {**SMALL, **self.tuned, "backbone": backbone, "selection": selection}
        self.model = FAMILY.build(self.params, SPEC).double().eval()


def _attached(case: _Case, *, rank: int = 0, gates: float = 0.0) -> ResponseModel:
    ranges = {name: {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True} for name in case.tuned}
    space = SearchSpace.from_mapping(ranges)
    bind = bound_paths(FAMILY, case.params, SPEC, space, list(ranges))
    made = attach(case.model, space, case.tuned, bind=bind, rank=rank).double()
    with torch.no_grad():
        for parameter in made.response_parameters():
            parameter.add_(gates * torch.randn_like(parameter))
    return made.train(case.model.training)


def _inputs() -> Tensor:
    return torch.randn(5, 1, 8, 8, dtype=torch.float64)


def _displacements(made: ResponseModel) -> Tensor:
    return torch.randn(5, len(made.hyperparameters.names), dtype=torch.float64)


@KINDS
def test_without_a_response_it_is_the_plain_model(backbone: str, selection: str) -> None:
    case = _Case(backbone, selection)
    model = case.model
    made, x = _attached(case, gates=0.1), _inputs()
    assert torch.equal(made(x), model(x))
    at_zero = made(x, torch.zeros_like(_displacements(made)))
    torch.testing.assert_close(at_zero, model(x), rtol=1e-10, atol=1e-11)
    zero_gates = _attached(case)
    moved = zero_gates(x, _displacements(made))
    torch.testing.assert_close(moved, model(x), rtol=1e-10, atol=1e-11)


@KINDS
@pytest.mark.parametrize("rank", [0, 1])
def test_each_example_has_the_weights_of_its_displacement(backbone: str, selection: str, rank: int) -> None:
    made, x = _attached(_Case(backbone, selection), rank=rank, gates=0.2), _inputs()
    displacements = _displacements(made)
    outputs = made(x, displacements)
    assert not torch.allclose(outputs, made(x))
    for index, displacement in enumerate(displacements):
        plain = made.detach_response(displacement).eval()
        torch.testing.assert_close(outputs[index : index + 1], plain(x[index : index + 1]), rtol=1e-9, atol=1e-10)


@KINDS
def test_all_layers_respond_and_what_is_no_layer_is_named(backbone: str, selection: str) -> None:
    made = _attached(_Case(backbone, selection))
    blocks = {"stages.1.hypergraph", "stages.3.hypergraph"}  # b_v stays what it is
    assert set(made.untreated) == blocks | ({""} if backbone == "vit" else set())  # the positions of a vit
    assert made.bindings.paths["dropout"]["hyperedge_dropout"] == tuple(sorted(f"{path}.dropout" for path in blocks))


@pytest.mark.parametrize("backbone", ["vit", "cnn"])
def test_each_example_pays_for_the_load_balance_at_its_own_weight(backbone: str) -> None:
    made, x = _attached(_Case(backbone, "sparse"), gates=0.2).train(), _inputs()
    displacements = _displacements(made)

    def penalty(weights: Tensor) -> Tensor:
        values = {name: torch.zeros(5, dtype=torch.float64) for name in RATES} | {"load_balance": weights}
        made_penalty = made.outputs_and_penalties(x, displacements, values)[1]
        assert made_penalty is not None
        return made_penalty

    weights = torch.rand(5, dtype=torch.float64)
    once, weighted = penalty(torch.ones_like(weights)), penalty(weights)
    assert once.shape == (5,)
    assert ((once > 2 * 0.3) & (once < 2 * 6 / 3)).all()  # two blocks, at most hyperedges / top_k each
    torch.testing.assert_close(weighted, weights * once)
    once.mean().backward()
    gates = [parameter.grad for name, parameter in made.named_parameters() if name.endswith("context.response.gate")]
    assert len(gates) == 2
    assert all(gate is not None and gate.abs().max() > 0 for gate in gates)


# Torch's own, at the first use of forward mode.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("algorithm", ["stn", "delta_stn"])
@pytest.mark.parametrize(("backbone", "selection"), [("vit", "sparse"), ("cnn", "dense")])
def test_a_self_tuned_trial_runs(tmp_path: Path, backbone: str, selection: str, algorithm: str) -> None:
    params = {**SMALL, **RATES, "backbone": backbone, "selection": selection, "weight_decay": 1e-4, "lr": 1e-2}
    params |= {"dropout": 0.1, "input_noise": 0.1, "shift": 0.05, "patch_size": 4, "load_balance": 0.05}
    reports: list[Any] = []
    trial = Trial(Assignment(0, params, 0, str(tmp_path / "trial")), lambda report: bool(reports.append(report)))
    tuning = SelfTuningSettings(algorithm=algorithm, train_steps=2, warmup=0.0)
    settings = TrainingSettings(device="cpu", epochs=3, batch_size=16, self_tuning=tuning)
    task = digits(n_train=192, n_val=128, n_test=64)
    result = fit(trial, FAMILY, task, settings, space=SearchSpace.load("soft_hgnn"))
    assert math.isfinite(result.value)
    assert result.value < math.log(10)  # a uniform guess
    start, end = reports[0].tuned, reports[-1].tuned
    expected = {"dropout", "hyperedge_dropout", "weight_decay", "input_noise", "shift"}
    assert set(end) == expected | ({"load_balance"} if selection == "sparse" else set())
    assert all(end[name] != params[name] for name in end)
    assert all(end[name] != start[name] for name in ("dropout", "hyperedge_dropout"))
