from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.contract import TuningOptions
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.space import SearchSpace

RANGES: dict[str, dict[str, Any]] = {
    "weight_decay": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    "activation_penalty": {"type": "float", "low": 1e-3, "high": 2.0, "log": True},
    "dropout": {"type": "float", "low": 0.0, "high": 0.9},
    "input_noise": {"type": "float", "low": 0.0, "high": 1.0},
    "weight_noise": {"type": "float", "low": 0.0, "high": 0.5},
}
START = {"weight_decay": 0.1, "activation_penalty": 0.3, "dropout": 0.3, "input_noise": 0.2, "weight_noise": 0.1}


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.mse_loss(outputs, targets, reduction="none").mean(dim=1)


def _respond(model: ResponseModel) -> ResponseModel:
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for parameter in model.response_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.2 * noise.to(parameter.dtype))
    return model


def _algorithm(net: nn.Module, *names: str, lr: float = 0.1, **options: Any) -> DeltaSTN:
    space = SearchSpace.from_mapping({name: RANGES[name] for name in names})
    model = _respond(attach(net, space, {name: START[name] for name in names}))
    linearize = options.pop("linearize", True)
    return DeltaSTN(
        model,
        _loss,
        weights=lambda parameters: SGD(parameters, lr=lr),
        options=TuningOptions(**options),
        linearize=linearize,
    )


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(8, 2, generator=generator, dtype=torch.float64)


def _response_gradients(make: Callable[[], nn.Module], *names: str, linearize: bool) -> list[Tensor]:
    torch.manual_seed(0)
    algorithm = _algorithm(make(), *names, linearize=linearize, lr=0.0)
    torch.manual_seed(3)
    algorithm.weight_step(*_batch())
    gradients = [parameter.grad for parameter in algorithm.model.response_parameters()]
    assert all(gradient is not None for gradient in gradients)
    return [gradient for gradient in gradients if gradient is not None]


@pytest.mark.parametrize(
    "names",
    [("weight_decay",), ("activation_penalty",), ("weight_decay", "activation_penalty", "input_noise")],
    ids="+".join,
)
def test_where_the_model_is_linear_in_its_response_linearising_changes_nothing(names: tuple[str, ...]) -> None:
    linear, full = (
        _response_gradients(lambda: nn.Sequential(nn.Linear(3, 2)).double(), *names, linearize=linearize)
        for linearize in (True, False)
    )
    for a, b in zip(linear, full, strict=True):
        assert float(a.abs().sum()) > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_where_it_is_not_the_response_trains_on_its_tangent() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()

    gradients = _response_gradients(make, "weight_decay", linearize=True)
    # By differences: f(0) + (f(t eps) - f(-t eps)) / 2t.
    torch.manual_seed(0)
    algorithm = _algorithm(make(), "weight_decay")
    model = algorithm.model
    perturbation = algorithm._perturbation(8).detach()
    x, y = _batch()
    t = 1e-4
    tangent = model(x) + (model(x, t * perturbation) - model(x, -t * perturbation)) / (2 * t)
    values = model.hyperparameters.values(model.hyperparameters.raw + perturbation)["weight_decay"]
    loss = (_loss(tangent, y) + 0.5 * values * model.squared_norm(perturbation)).mean()
    wanted = torch.autograd.grad(loss, list(model.response_parameters()))
    # Perturbations are in single precision, which the small step makes felt.
    for a, b in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)
    full = _response_gradients(make, "weight_decay", linearize=False)
    assert any(not torch.allclose(a, b, rtol=1e-2) for a, b in zip(gradients, full, strict=True))


def test_the_weights_train_at_the_unperturbed_hyperparameters() -> None:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    algorithm = _algorithm(net, "weight_decay")
    x, y = _batch()
    optimizer = SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        loss = _loss(net(x), y).mean()
        decay = algorithm.tuned()["weight_decay"]
        assert isinstance(decay, float)
        total = loss + 0.5 * decay * torch.stack([w.square().sum() for w in net.parameters()]).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        torch.testing.assert_close(algorithm.weight_step(x, y), total.detach(), rtol=1e-6, atol=0)
    trained: Mapping[str, Tensor] = algorithm.plain_state_dict()
    for name, weight in net.state_dict().items():
        torch.testing.assert_close(trained[name], weight, rtol=1e-6, atol=1e-9)


def test_the_centre_follows_lambda_exactly() -> None:
    algorithm = _algorithm(nn.Linear(3, 2).double(), "weight_decay", "input_noise")
    x, y = _batch()
    for _ in range(20):
        algorithm.weight_step(x, y)
        algorithm.tune_step(x, y)
    assert torch.equal(algorithm.displacement(), torch.zeros(2))


def test_the_statistics_of_batch_normalization_belong_to_the_weight_step() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()
    algorithm = _algorithm(net, "weight_decay")
    twin = net[:2]
    x, y = _batch()
    algorithm.weight_step(x, y)
    twin(x)
    norm = algorithm.detach_response().get_submodule("1")
    assert isinstance(norm, nn.BatchNorm1d)
    assert int(norm.num_batches_tracked or 0) == 1
    torch.testing.assert_close(norm.running_mean, net[1].running_mean)
    torch.testing.assert_close(norm.running_var, net[1].running_var)


def test_everything_that_acts_in_a_model_can_be_linearised() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv1d(1, 4, 2)
            self.norm = nn.BatchNorm1d(4)
            self.drop = nn.Dropout1d(0.2)
            self.gru = nn.GRU(4, 3, batch_first=True)
            self.head = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            made = self.drop(torch.relu(self.norm(self.convolution(x[:, None]))))
            outputs: Tensor = self.head(self.gru(made.transpose(1, 2))[0][:, -1])
            return outputs

    torch.manual_seed(6)
    for per_example in (True, False):
        algorithm = _algorithm(Net().double(), *RANGES, per_example=per_example)
        x, y = _batch()
        first = algorithm.weight_step(x, y)
        for _ in range(12):
            last = algorithm.weight_step(x, y)
            algorithm.tune_step(x, y)
        assert bool(torch.isfinite(last))
        assert float(last) < float(first)
        assert algorithm.rollbacks == 0
