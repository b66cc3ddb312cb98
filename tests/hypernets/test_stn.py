from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from hypertune.hypernets.attach import attach
from hypertune.hypernets.contract import TuningOptions
from hypertune.hypernets.stn import STN
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping({"weight_decay": {"type": "float", "low": 1e-4, "high": 1.0, "log": True}})


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.mse_loss(outputs, targets, reduction="none").mean(dim=1)


def _algorithm(**options: Any) -> STN:
    torch.manual_seed(2)
    model = attach(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), SPACE, {"weight_decay": 0.01})
    return STN(model, _loss, weights=lambda parameters: SGD(parameters, lr=0.1), options=TuningOptions(**options))


def _batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, generator=generator), torch.randn(8, 2, generator=generator)


def test_a_weight_step_is_one_gradient_step_on_weights_and_response_at_perturbed_hyperparameters() -> None:
    algorithm = _algorithm()
    x, y = _batch()
    algorithm.weight_step(x, y)  # the response is no longer 0
    model = algorithm.model
    before = [p.detach().clone() for p in (*model.general_parameters(), *model.response_parameters())]
    algorithm._generator.manual_seed(5)
    perturbation = model.hyperparameters.perturb(4, generator=torch.Generator().manual_seed(5)).detach()
    perturbation = torch.cat((perturbation, -perturbation))
    values = model.hyperparameters.values(model.hyperparameters.raw + perturbation)["weight_decay"]
    losses = []
    for i in range(8):
        # Each example by itself, with a plain model made for it.
        outputs = model(x[i : i + 1], perturbation[i : i + 1])
        norm = model.squared_norm(perturbation[i : i + 1])
        losses.append(_loss(outputs, y[i : i + 1]) + 0.5 * values[i] * norm)
    wanted = torch.cat(losses).mean()
    gradients = torch.autograd.grad(wanted, [*model.general_parameters(), *model.response_parameters()])
    loss = algorithm.weight_step(x, y)
    torch.testing.assert_close(loss, wanted.detach())
    after = [*model.general_parameters(), *model.response_parameters()]
    for old, new, gradient in zip(before, after, gradients, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_when_lambda_moves_the_deployed_weights_follow_the_response() -> None:
    algorithm = _algorithm()
    x, y = _batch()
    for _ in range(5):
        algorithm.weight_step(x, y)
    assert not bool(algorithm.displacement().any())
    weights = {name: weight.clone() for name, weight in algorithm.plain_state_dict().items()}
    start = algorithm.centre.clone()
    for _ in range(3):
        algorithm.tune_step(x, y)
    moved = algorithm.displacement()
    torch.testing.assert_close(moved, algorithm.model.hyperparameters.raw.detach() - start, rtol=0, atol=0)
    assert float(moved.abs()) > 0.1
    followed = algorithm.plain_state_dict()
    torch.testing.assert_close(followed, algorithm.detach_response().state_dict())
    assert any(not torch.equal(followed[name], weights[name]) for name in weights)


def test_the_gradient_is_clipped_over_weights_and_response_together() -> None:
    algorithm = _algorithm(grad_clip=1e-3)
    algorithm.weight_step(*_batch())
    model = algorithm.model
    gradients = [p.grad for p in (*model.general_parameters(), *model.response_parameters())]
    total = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])
    torch.testing.assert_close(total.norm(), torch.tensor(1e-3), rtol=1e-3, atol=0)
