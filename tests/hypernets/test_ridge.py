"""Ridge regression, where the best response, its slope and the best hyperparameters are known exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.optim import SGD

from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.contract import BestResponse, TuningOptions
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.hypernets.stn import STN
from hypertune.space import SearchSpace

FEATURES = 3
EXAMPLES = 32
STEPS = 600
AVERAGED = STEPS // 2
START = 0.1
BEST = torch.tensor([0.2, 0.4, 0.8], dtype=torch.float64)


class Additive(nn.Module):
    """``y = sum_j w_j x_j``, each weight in a layer of its own, so that each has a decay and gates of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(FEATURES)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([layer(x[:, j : j + 1]) for j, layer in enumerate(self.features)]).sum(dim=0)


@dataclass
class Ridge:
    """Training and validation data whose best decays per feature are `BEST`, with zero validation loss there."""

    x: Tensor
    y: Tensor
    validation_x: Tensor
    validation_y: Tensor

    def weights(self, decays: Tensor) -> Tensor:
        """w*(lambda) = (X'X/n + diag(decays))^-1 X'y/n."""
        gram = self.x.T @ self.x / len(self.x)
        return torch.linalg.solve(gram + torch.diag(decays), self.x.T @ self.y / len(self.x))

    def validation_loss(self, decays: Tensor) -> Tensor:
        residual: Tensor = self.validation_x @ self.weights(decays) - self.validation_y
        return 0.5 * residual.square().mean()


@pytest.fixture
def ridge() -> Ridge:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    mixing = torch.eye(FEATURES, dtype=torch.float64) + 0.3 * draw(FEATURES, FEATURES)
    x = draw(EXAMPLES, FEATURES) @ mixing
    y = x @ torch.tensor([1.5, -1.2, 1.8], dtype=torch.float64) + 0.3 * draw(EXAMPLES)
    validation_x = draw(EXAMPLES, FEATURES) @ mixing
    made = Ridge(x, y, validation_x, torch.zeros(0))
    made.validation_y = validation_x @ made.weights(BEST)
    return made


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return 0.5 * (outputs[:, 0] - targets).square()


def _space(*names: str) -> SearchSpace:
    return SearchSpace.from_mapping(
        {name: {"type": "float", "low": 1e-3, "high": 10.0, "log": True, "self_tune": True} for name in names}
    )


def _per_feature(scale: float) -> ResponseModel:
    names = [f"decay_{j}" for j in range(FEATURES)]
    bind = {name: {"weight_decay": f"features.{j}"} for j, name in enumerate(names)}
    return attach(Additive().double(), _space(*names), dict.fromkeys(names, 0.3), bind=bind, scale=scale)


def _learned_direction(scale: float) -> ResponseModel:
    model = nn.Linear(FEATURES, 1, bias=False).double()
    return attach(model, _space("weight_decay"), {"weight_decay": START}, rank=1, scale=scale)


def _decays(model: ResponseModel, raw: Tensor) -> Tensor:
    """The decay of each feature, with gradient: the stretched sigmoid of a logarithmic range, written out."""
    low, high = torch.tensor(1e-3).double().log(), torch.tensor(10.0).double().log()
    decays = torch.exp(low + (high - low) * torch.sigmoid(raw))
    return decays.expand(FEATURES) if len(raw) == 1 else decays


def _row(model: ResponseModel, displacement: Tensor) -> Tensor:
    state = model.plain_state_dict(displacement)
    return torch.cat([weight.flatten() for weight in state.values()]).double()


def _slope(model: ResponseModel, displacement: Tensor) -> Tensor:
    """Learned dw/dlambda, ``(features, h)``: exact by differences, because weights are linear in lambda."""
    steps = torch.eye(len(displacement), dtype=displacement.dtype)
    return torch.stack([(_row(model, displacement + s) - _row(model, displacement - s)) / 2 for s in steps], dim=1)


def _train(case: Case, model: ResponseModel, ridge: Ridge, *, per_example: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return lambda, weights and slope averaged over the last half of the steps."""
    algorithm = case.kind(
        model,
        _loss,
        weights=lambda parameters: SGD(parameters, lr=0.3),
        response=lambda parameters: SGD(parameters, lr=case.response_lr, momentum=case.momentum),
        hyperparameters=lambda parameters: SGD(parameters, lr=0.4),
        options=TuningOptions(tune_scale=False, clip=None, per_example=per_example),
        seed=1,
    )
    # Each example twice: then an antithetic pair shares its example, and first-order noise cancels.
    x, y = ridge.x.repeat(2, 1), ridge.y.repeat(2)
    validation_x, validation_y = ridge.validation_x.repeat(2, 1), ridge.validation_y.repeat(2)
    kept = []
    for step in range(STEPS):
        algorithm.weight_step(x, y)
        if step > STEPS // 10:
            algorithm.tune_step(validation_x, validation_y)
        if step >= STEPS - AVERAGED and step % 3 == 0:
            d = algorithm.displacement()
            kept.append((model.hyperparameters.raw.detach().clone(), _row(model, d), _slope(model, d)))
    raw, weights, slope = (torch.stack(column).double().mean(dim=0) for column in zip(*kept, strict=True))
    return raw, weights, slope


@dataclass(frozen=True)
class Case:
    """An algorithm with the learning rate of its response, for which the curvature of the loss is about sigma^2."""

    kind: Callable[..., BestResponse]
    scale: float
    response_lr: float
    momentum: float = 0.0

    @property
    def bias(self) -> float:
        """E[f(lambda + eps)] - f(lambda) = sigma^2 f''/2, relative to f.

        A decay grows by a factor of at most exp(2.31) per unit of lambda. The slopes of both algorithms have it; the
        weights, and with them lambda, those of STN alone.
        """
        return 0.5 * (2.31 * self.scale) ** 2

    def noise(self, per_example: bool) -> float:
        """Three standard deviations of the mean of the averaged iterates' gradient, relative.

        Three, because in the slope the noise is multiplied by (X'X/n + decays)^-1, whose eigenvalues differ.

        One draw for all: f''/2 eps^3 against f' eps^2, with a root mean square of sqrt(15) sigma^3. A draw for each
        example: the weight eps^2 / sigma^2 of each example, which fluctuates by sqrt(2).
        """
        draw = 2**0.5 / EXAMPLES**0.5 if per_example else 0.5 * 2.31 * 15**0.5 * self.scale
        return 3 * draw / AVERAGED**0.5


CASES = [
    pytest.param(Case(STN, 0.1, 1.0, 0.9), id="STN"),
    pytest.param(Case(DeltaSTN, 0.05, 25.0), id="DeltaSTN"),
]


def _agrees(model: ResponseModel, ridge: Ridge, case: Case, noise: float, made: tuple[Tensor, Tensor, Tensor]) -> None:
    """Hold weights and slope to the closed form at lambda."""
    raw, weights, slope = made
    torch.testing.assert_close(
        weights, ridge.weights(_decays(model, raw)), rtol=0.01 if case.kind is DeltaSTN else case.bias + noise, atol=0
    )
    wanted = torch.autograd.functional.jacobian(lambda r: ridge.weights(_decays(model, r)), raw)
    assert isinstance(wanted, Tensor)
    error = float((slope - wanted).norm() / wanted.norm())
    assert error < case.bias + noise


@pytest.mark.parametrize("case", CASES)
def test_decays_of_each_feature_reach_their_optimum_and_the_response_its_slope(ridge: Ridge, case: Case) -> None:
    model = _per_feature(case.scale)
    made = _train(case, model, ridge, per_example=True)
    noise = case.noise(True)
    _agrees(model, ridge, case, noise, made)
    best = _decays(model, made[0])
    torch.testing.assert_close(best, BEST, rtol=2.31 * (case.bias + noise), atol=0)


@pytest.mark.parametrize("case", CASES)
def test_one_decay_reaches_its_optimum_along_a_learned_direction(ridge: Ridge, case: Case) -> None:
    model = _learned_direction(case.scale)
    made = _train(case, model, ridge, per_example=False)
    noise = case.noise(False)
    _agrees(model, ridge, case, noise, made)
    start = model.hyperparameters.unconstrained({"weight_decay": START}).double()
    best = minimize(
        lambda r: float(ridge.validation_loss(_decays(model, torch.from_numpy(r)))), start.detach().numpy(), tol=1e-10
    )
    optimum = _decays(model, torch.from_numpy(best.x))[0]
    assert float(ridge.validation_loss(_decays(model, start))) > 1.2 * best.fun
    torch.testing.assert_close(_decays(model, made[0])[0], optimum, rtol=2.31 * (case.bias + noise), atol=0)
