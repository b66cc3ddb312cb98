"""What both algorithms hold to: resuming, rollbacks, scales, draws, evaluation mode."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD

from hypertune.errors import TrialError
from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.contract import BestResponse, TuningOptions
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.hypernets.stn import STN
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.9},
        "weight_decay": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
        "input_noise": {"type": "float", "low": 0.0, "high": 1.0},
    }
)
START = {"dropout": 0.2, "weight_decay": 1e-2, "input_noise": 0.1}
both = pytest.mark.parametrize("kind", [STN, DeltaSTN])


def _model(scale: float = 0.5) -> ResponseModel:
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    return attach(net, SPACE, START, scale=scale)


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(12, 4, generator=generator), torch.randint(0, 3, (12,), generator=generator)


def _algorithm(kind: Callable[..., BestResponse], *, seed: int = 0, **options: Any) -> BestResponse:
    return kind(
        _model(),
        _loss,
        weights=lambda parameters: SGD(parameters, lr=0.05, momentum=0.9),
        options=TuningOptions(**options),
        seed=seed,
    )


def _run(algorithm: BestResponse, steps: int) -> list[float]:
    x, y = _data()
    losses = []
    for _ in range(steps):
        losses += [float(algorithm.weight_step(x, y)), float(algorithm.tune_step(x, y))]
    return losses


@both
def test_a_saved_state_continues_bit_by_bit(kind: Callable[..., BestResponse]) -> None:
    torch.manual_seed(7)
    first = _algorithm(kind)
    _run(first, 4)
    saved = io.BytesIO()
    torch.save({"algorithm": first.state_dict(), "torch": torch.get_rng_state()}, saved)
    wanted = _run(first, 4)
    second = _algorithm(kind, seed=99)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    second.load_state_dict(state["algorithm"])
    torch.set_rng_state(state["torch"])
    assert _run(second, 4) == wanted
    for a, b in zip(first.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert first.tuned() == second.tuned()


@both
def test_the_seed_decides(kind: Callable[..., BestResponse]) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        algorithm = _algorithm(kind, seed=seed)
        torch.manual_seed(3)
        runs.append(_run(algorithm, 3))
    assert runs[0] == runs[1] != runs[2]


def test_a_state_of_another_algorithm_is_refused() -> None:
    state = _algorithm(STN, tune_scale=False).state_dict()
    with pytest.raises(TrialError, match=r"does not fit[\s\S]*continue with the model, space and algorithm"):
        _algorithm(STN).load_state_dict(state)
    with pytest.raises(TrialError, match="does not fit"):
        _algorithm(STN).load_state_dict({"model": {}})


@both
def test_a_loss_that_is_not_finite_puts_lambda_back_and_goes_on(kind: Callable[..., BestResponse]) -> None:
    algorithm = _algorithm(kind)
    _run(algorithm, 3)
    good = {name: tensor.clone() for name, tensor in algorithm._good.items()}
    tuned = algorithm.model.hyperparameters
    x, y = _data()
    weights = {name: tensor.clone() for name, tensor in algorithm.model.model.state_dict().items()}
    assert math.isnan(float(algorithm.tune_step(torch.full_like(x, math.nan), y)))
    assert algorithm.rollbacks == 1
    assert torch.equal(tuned.raw, good["raw"])
    assert torch.equal(tuned.raw_scale, good["raw_scale"])
    # BatchNorm's running statistics have not seen it.
    for name, tensor in algorithm.model.model.state_dict().items():
        assert torch.equal(tensor, weights[name])
    if kind is DeltaSTN:
        assert torch.equal(algorithm.centre, tuned.raw)
    before = tuned.raw.detach().clone()
    assert all(math.isfinite(loss) for loss in _run(algorithm, 3))
    assert algorithm.rollbacks == 1
    assert not torch.equal(before, tuned.raw)


@both
def test_lambda_stays_off_the_flat_ends(kind: Callable[..., BestResponse]) -> None:
    algorithm = _algorithm(kind, lr=50.0)
    _run(algorithm, 3)
    tuned = algorithm.model.hyperparameters
    assert bool((torch.sigmoid(tuned.raw) >= 0.0025 - 1e-6).all())
    assert bool((torch.sigmoid(tuned.raw) <= 0.9975 + 1e-6).all())
    assert tuned.at_edge()
    assert float(tuned.raw.detach().abs().max()) > 5.9


def test_the_entropy_alone_widens_the_scales() -> None:
    """With no response the validation loss does not depend on the scale: its gradient is the entropy's."""
    algorithm = _algorithm(STN, entropy=0.1)
    tuned = algorithm.model.hyperparameters
    before = tuned.scale.detach().clone()
    x, y = _data()
    algorithm.tune_step(x, y)
    gradient = tuned.raw_scale.grad
    assert gradient is not None
    # d/ds of log softplus(s) = sigmoid(s) / softplus(s).
    wanted = -0.1 * torch.sigmoid(torch.log(torch.expm1(before))) / before
    torch.testing.assert_close(gradient, wanted)
    assert bool((tuned.scale > before).all())


def test_a_curved_validation_loss_narrows_the_scales() -> None:
    algorithm = _algorithm(STN, entropy=1e-4)
    with torch.no_grad():
        for parameter in algorithm.model.response_parameters():
            parameter.add_(torch.randn_like(parameter))
    tuned = algorithm.model.hyperparameters
    before = float(tuned.scale.detach().mean())
    x, y = _data()
    for _ in range(30):
        algorithm.tune_step(x, y)
    assert float(tuned.scale.detach().mean()) < before


def test_scales_that_are_not_tuned_stay() -> None:
    algorithm = _algorithm(STN, tune_scale=False)
    before = algorithm.model.hyperparameters.raw_scale.detach().clone()
    _run(algorithm, 3)
    assert torch.equal(algorithm.model.hyperparameters.raw_scale, before)


@pytest.mark.parametrize(("examples", "half"), [(6, 3), (7, 4)])
def test_perturbations_come_in_pairs_of_opposite_sign(examples: int, half: int) -> None:
    drawn = _algorithm(STN)._perturbation(examples)
    assert drawn.shape == (examples, 3)
    torch.testing.assert_close(drawn[half:], -drawn[: examples - half], rtol=0, atol=0)
    assert len(drawn[:half].unique(dim=0)) == half


def test_perturbations_need_not_be_paired_nor_differ() -> None:
    free = _algorithm(STN, antithetic=False)._perturbation(400)
    assert len(free.unique(dim=0)) == 400
    torch.testing.assert_close(free.std(dim=0).detach(), torch.full((3,), 0.5), rtol=0.12, atol=0)
    assert _algorithm(STN, per_example=False)._perturbation(400).shape == (1, 3)
    assert _algorithm(STN)._perturbation(1).shape == (1, 3)


@both
def test_one_draw_per_batch_calls_the_plain_layers_once(kind: Callable[..., BestResponse]) -> None:
    algorithm = _algorithm(kind, per_example=False)
    seen: list[tuple[int, ...]] = []
    using = algorithm.model.context.using

    def record(response: Tensor | None = None, values: Any = None, **further: Any) -> Any:
        if response is not None:
            seen.append(tuple(response.shape))
        return using(response, values, **further)

    algorithm.model.context.using = record  # type: ignore[method-assign]
    _run(algorithm, 1)
    assert seen
    assert set(seen) == {(1, 3)}


@both
def test_a_tune_step_sees_the_deployed_model_and_leaves_its_mode(kind: Callable[..., BestResponse]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 5, num_layers=2, dropout=0.5, batch_first=True)
            self.tuned = nn.Dropout(0.5)
            self.fixed = nn.Dropout(0.5)
            self.norm = nn.BatchNorm1d(5)
            self.head = nn.Linear(5, 3)
            self.frozen_part = nn.Dropout(0.5).eval()

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.head(self.norm(self.fixed(self.tuned(self.lstm(x)[0][:, -1]))))
            return made

    space = SearchSpace.from_mapping({"tuned": {"type": "float", "low": 0.0, "high": 0.9}})
    for per_example in (True, False):
        model = attach(Net(), space, {"tuned": 0.3}, scale=1e-6)
        algorithm = kind(
            model,
            _loss,
            weights=lambda parameters: SGD(parameters, lr=0.01),
            options=TuningOptions(per_example=per_example),
        )
        x, y = torch.randn(6, 3, 4), torch.randint(0, 3, (6,))
        deployed = algorithm.detach_response().eval()
        modes = {path: module.training for path, module in model.named_modules()}
        loss = algorithm.tune_step(x, y)
        torch.testing.assert_close(loss, _loss(deployed(x), y).mean().detach(), rtol=1e-4, atol=1e-5)
        assert {path: module.training for path, module in model.named_modules()} == modes
        assert not all(modes.values())
        lstm = model.model.lstm.plain
        assert isinstance(lstm, nn.LSTM)
        assert lstm.dropout == 0.5


def test_clipping_bounds_the_gradient_of_lambda() -> None:
    for clip, largest in ((1e-3, 1e-3), (None, math.inf)):
        algorithm = _algorithm(STN, clip=clip)
        with torch.no_grad():
            for parameter in algorithm.model.response_parameters():
                parameter.add_(torch.randn_like(parameter))
        x, y = _data()
        algorithm.tune_step(x, y)
        gradient = algorithm.model.hyperparameters.raw.grad
        assert gradient is not None
        norm = float(gradient.norm())
        assert norm <= largest * 1.001
        assert norm > 0.9e-3


@both
def test_the_algorithm_and_its_model_can_be_copied(kind: Callable[..., BestResponse]) -> None:
    algorithm = _algorithm(kind)
    _run(algorithm, 2)
    twin = copy.deepcopy(algorithm.model)
    x, _ = _data()
    d = torch.randn(12, 3)
    algorithm.model.eval()
    twin.eval()
    torch.testing.assert_close(twin(x, d), algorithm.model(x, d), rtol=0, atol=0)
    assert twin.context is not algorithm.model.context
