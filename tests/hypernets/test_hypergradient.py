"""The gradient of a tune step against the implicit function theorem and against retraining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacrev, vmap
from torch.optim import SGD

from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.contract import BestResponse, TuningOptions
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.hypernets.stn import STN
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping({"weight_decay": {"type": "float", "low": 1e-3, "high": 1.0, "log": True}})
START = {"weight_decay": 0.2}


def _net() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def _decay(raw: Tensor) -> Tensor:
    low = torch.tensor(1e-3, dtype=torch.float64).log()
    return torch.exp(low * (1 - torch.sigmoid(raw)))


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (outputs[:, 0] - targets).square()


@dataclass
class Problem:
    """A small network trained to convergence with a fixed decay, all in one vector of weights."""

    net: nn.Module
    x: Tensor
    y: Tensor
    validation_x: Tensor
    validation_y: Tensor
    raw: Tensor

    def __post_init__(self) -> None:
        self.shapes = {name: weight.shape for name, weight in self.net.named_parameters()}
        start = torch.cat([weight.detach().flatten() for weight in self.net.parameters()])
        self.weights = self.trained(self.raw, start)

    def named(self, weights: Tensor) -> dict[str, Tensor]:
        parts = weights.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def outputs(self, weights: Tensor, x: Tensor) -> Tensor:
        made: Tensor = functional_call(self.net, self.named(weights), (x,))
        return made

    def training_loss(self, weights: Tensor, raw: Tensor) -> Tensor:
        fit = _loss(self.outputs(weights, self.x), self.y).mean()
        return fit + 0.5 * _decay(raw).sum() * weights.square().sum()

    def validation_loss(self, weights: Tensor) -> Tensor:
        return _loss(self.outputs(weights, self.validation_x), self.validation_y).mean()

    def trained(self, raw: Tensor, start: Tensor) -> Tensor:
        """Newton's method, damped until the Hessian is positive."""
        weights = start
        for step in range(200):
            gradient = grad(self.training_loss)(weights, raw)
            if float(gradient.norm()) < 1e-13:
                break
            curvature = hessian(self.training_loss)(weights, raw)
            damping = max(0.0, 1e-3 - float(torch.linalg.eigvalsh(curvature)[0]))
            move = torch.linalg.solve(curvature + damping * torch.eye(len(weights), dtype=weights.dtype), gradient)
            while step < 100 and float(self.training_loss(weights - move, raw)) > float(
                self.training_loss(weights, raw)
            ):
                move = move / 2
                if float(move.norm()) < 1e-14:
                    break
            weights = weights - move
        assert float(grad(self.training_loss)(weights, raw).norm()) < 1e-10
        assert float(torch.linalg.eigvalsh(hessian(self.training_loss)(weights, raw))[0]) > 1e-3
        return weights

    def slope(self, curvature: Tensor) -> Tensor:
        """dw*/dlambda = -H^-1 d2L_T / dw dlambda, ``(weights,)``."""
        mixed = jacrev(grad(self.training_loss), argnums=1)(self.weights, self.raw)[:, 0]
        return -torch.linalg.solve(curvature, mixed)

    def exact_curvature(self) -> Tensor:
        return hessian(self.training_loss)(self.weights, self.raw)

    def gauss_newton_curvature(self) -> Tensor:
        """The Hessian without the curvature of the network: what a model linearised in its response has."""
        jacobian = vmap(lambda x: jacrev(self.outputs)(self.weights, x[None])[0, 0])(self.x)
        identity = torch.eye(len(self.weights), dtype=torch.float64)
        return jacobian.T @ jacobian / len(self.x) + _decay(self.raw) * identity


@pytest.fixture(scope="module")
def problem() -> Problem:
    generator = torch.Generator().manual_seed(6)
    x, validation_x = torch.randn(2, 24, 3, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, 24, generator=generator, dtype=torch.float64)

    def targets(x: Tensor, noise: Tensor) -> Tensor:
        return torch.sin(2 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + 0.4 * noise

    raw = attach(_net(), SPACE, START).hyperparameters.raw.detach().double()
    return Problem(_net(), x, targets(x, noise[0]), validation_x, targets(validation_x, noise[1]), raw)


def _responding(problem: Problem, slope: Tensor | None, scale: float) -> ResponseModel:
    """A model with the trained weights, and, when given, the response that has exactly this slope."""
    model = attach(_net(), SPACE, START, rank=1, scale=scale)
    model.load_plain_state_dict(problem.named(problem.weights))
    if slope is not None:
        parts = problem.named(slope)
        with torch.no_grad():
            for path in model.treated:
                response = model.model.get_submodule(path).response
                assert isinstance(response, nn.Module)
                response.gate.fill_(1.0)  # type: ignore[operator, union-attr]
                response.direction.copy_(parts[f"{path}.weight"][None])  # type: ignore[operator, union-attr]
                response.shift.copy_(parts[f"{path}.bias"][:, None])  # type: ignore[operator, union-attr]
    return model


def _algorithm(kind: Callable[..., BestResponse], model: ResponseModel, *, lr: float = 0.0) -> BestResponse:
    return kind(
        model,
        _loss,
        weights=lambda parameters: SGD(parameters, lr=lr),
        options=TuningOptions(clip=None, tune_scale=False),
        seed=0,
    )


def _gradient(algorithm: BestResponse, problem: Problem) -> float:
    """The gradient that a tune step takes."""
    algorithm.tune_step(problem.validation_x, problem.validation_y)
    gradient = algorithm.model.hyperparameters.raw.grad
    assert gradient is not None
    return float(gradient)


@pytest.mark.parametrize("kind", [STN, DeltaSTN])
def test_the_gradient_of_a_tune_step_is_the_hypergradient(problem: Problem, kind: Callable[..., BestResponse]) -> None:
    slope = problem.slope(problem.exact_curvature())
    implicit = float(grad(problem.validation_loss)(problem.weights) @ slope)
    step = 1e-4
    ends = [
        problem.validation_loss(problem.trained(problem.raw + sign * step, problem.weights)) for sign in (1.0, -1.0)
    ]
    retrained = float(ends[0] - ends[1]) / (2 * step)
    assert abs(implicit) > 1e-3
    # Differences of this step err by a share of the order of step^2.
    assert retrained == pytest.approx(implicit, rel=1e-5)
    # lambda and its perturbations are in single precision.
    gradient = _gradient(_algorithm(kind, _responding(problem, slope, scale=1e-5)), problem)
    assert gradient == pytest.approx(implicit, rel=1e-4)


def _stationarity(problem: Problem, kind: Callable[..., BestResponse], curvature: Tensor, **options: bool) -> float:
    """The response's gradient where it has the slope that belongs to a curvature, relative to a response of 0."""
    sizes = []
    x, y = problem.x.repeat(2, 1), problem.y.repeat(2)
    for share in (1.0, 0.0):
        model = _responding(problem, share * problem.slope(curvature), scale=1e-3)
        algorithm = kind(
            model,
            _loss,
            weights=lambda parameters: SGD(parameters, lr=0.0),
            options=TuningOptions(tune_scale=False, per_example=False),
            **options,
        )
        total = [torch.zeros_like(parameter) for parameter in model.response_parameters()]
        for _ in range(40):
            algorithm.weight_step(x, y)
            for sum_, parameter in zip(total, model.response_parameters(), strict=True):
                assert parameter.grad is not None
                sum_ += parameter.grad
        # By the shifts and directions: with gates of 1 they are the weights themselves.
        sizes.append(float(torch.cat([part.flatten() for part in total]).norm()))
    return sizes[0] / sizes[1]


def test_the_response_of_stn_rests_where_the_implicit_function_theorem_puts_it(problem: Problem) -> None:
    # Perturbations of scale 0.001 leave a share of the order of sigma times what is of third order.
    assert _stationarity(problem, STN, problem.exact_curvature()) < 0.02
    assert _stationarity(problem, STN, problem.gauss_newton_curvature()) > 0.05


def test_the_linearised_response_rests_where_gauss_and_newton_put_it(problem: Problem) -> None:
    assert _stationarity(problem, DeltaSTN, problem.gauss_newton_curvature(), linearize=True) < 0.02
    assert _stationarity(problem, DeltaSTN, problem.exact_curvature(), linearize=True) > 0.05
    assert _stationarity(problem, DeltaSTN, problem.exact_curvature(), linearize=False) < 0.02
