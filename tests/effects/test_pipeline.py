from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hypertune.effects import catalogue
from hypertune.effects.catalogue import register_effect
from hypertune.effects.contract import Effect, Hyperparameter, Mixed, Values
from hypertune.effects.pipeline import Effects, checked_losses
from hypertune.errors import ConfigError, TaskError, TrialError

Make = Callable[..., Any]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def test_without_effects_the_batch_is_the_batch() -> None:
    effects = Effects([], seed=0)
    x, y = torch.zeros(3, 2, dtype=torch.uint8), torch.arange(3) % 2
    batch = effects.apply(x, y, {"shift": 0.3})
    assert batch.x is x
    assert batch.y is y
    assert batch.mixed is None
    outputs = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(effects.example_losses(cross_entropy, outputs, batch, {}), cross_entropy(outputs, y))
    assert effects.state_dict() == {}


@pytest.mark.parametrize(
    "name", ["shift", "rotate", "scale", "erase", "elastic", "brightness", "contrast", "input_noise"]
)
def test_examples_are_drawn_one_by_one_and_repeat_with_the_seed(augment: Make, images: Make, name: str) -> None:
    x = images(1, 8, 8).expand(16, -1, -1, -1)
    strength = 90.0 if name == "rotate" else 0.5
    results = augment(1, **{name: strength})(x)
    assert results.shape == x.shape
    assert results.dtype == x.dtype
    assert len({tuple(result.flatten().tolist()) for result in results}) > 8
    assert torch.equal(augment(1, **{name: strength})(x), results)
    assert not torch.equal(augment(2, **{name: strength})(x), results)


@pytest.mark.parametrize(
    ("alone", "added"),
    [
        ({"input_noise": 1.0}, {"shift": 0.3, "erase": 0.3, "elastic": 0.1}),
        ({"erase": 0.4}, {"input_noise": 1e-9, "rotate": 1e-9}),
        ({"rotate": 45.0}, {"shift": 1e-12, "scale": 1e-12, "brightness": 1e-9}),
        ({"shift": 0.3}, {"rotate": 1e-9, "erase": 1e-12}),
        ({"elastic": 0.1}, {"shift": 1e-12, "contrast": 1e-9, "label_smoothing": 0.3}),
    ],
)
def test_adding_one_leaves_the_draws_of_the_others(
    augment: Make, images: Make, alone: dict[str, Any], added: dict[str, Any]
) -> None:
    x = torch.zeros(8, 1, 6, 6, dtype=torch.float64) if "input_noise" in alone else images(8, 6, 6)
    first, second = augment(**alone), augment(**alone, **added)
    for _ in range(2):
        torch.testing.assert_close(first(x), second(x), rtol=0, atol=1e-6)


def test_two_effects_draw_unrelated_numbers(augment: Make) -> None:
    paper = torch.ones(400, 1, 21, 21)
    offset = augment(brightness=1.0)(paper)[:, 0, 0, 0] - 1
    row = (augment(erase=0.3)(paper) == 0)[:, 0].any(dim=2).double()
    place = (row * torch.arange(21)).sum(dim=1) / row.sum(dim=1)
    assert abs(np.corrcoef(offset.numpy(), place.numpy())[0, 1]) < 0.17  # 3.4 standard deviations of chance


def test_the_order_is_geometry_then_erasing_then_noise(augment: Make) -> None:
    x = torch.ones(64, 1, 16, 16)
    erased = augment(erase=0.5)(x) == 0
    # Erased squares stay square and whole although the image is turned, and noise lies on them.
    turned = augment(erase=0.5, rotate=180.0)(x)
    assert (turned[erased] == 0).all()
    assert (augment(erase=0.5, input_noise=0.1)(x)[erased] != 0).all()
    order = list(catalogue.effects())
    assert (order[0], order[-1]) == ("shift", "mixup")


def test_global_random_state_is_left_alone(augment: Make, images: Make) -> None:
    before = torch.get_rng_state()
    augment(shift=0.1, rotate=10, scale=0.1, erase=0.2, erase_holes=3, elastic=0.1, input_noise=0.1, mixup=0.3)(
        images(4, 6, 6)
    )
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("values", [{"input_noise": 0.1}, {"shift": 0.1}, {"mixup": 0.1}])
def test_integer_inputs_are_refused(augment: Make, values: dict[str, float]) -> None:
    with pytest.raises(TrialError, match="floating-point") as caught:
        augment(**values)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    assert "uint8" in str(caught.value)


def test_effects_on_losses_take_integer_inputs() -> None:
    x, y = torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 1])
    assert Effects(["label_smoothing"], seed=0).apply(x, y, {"label_smoothing": 0.1}).x is x


def test_streams_continue_from_a_saved_state(images: Make) -> None:
    values = {"shift": 0.2, "erase": 0.3, "erase_holes": 2.0, "elastic": 0.1, "input_noise": 0.5, "mixup": 0.4}
    x, y = images(8, 6, 6), torch.arange(8)
    first = Effects(values, seed=3)
    first.apply(x, y, values)
    state = first.state_dict()
    assert set(state) == {"shift,rotate,scale", "elastic", "erase,erase_holes", "input_noise", "mixup"}
    expected = [first.apply(x, y, values) for _ in range(2)]
    second = Effects(values, seed=99)
    second.load_state_dict(state)
    for batch in expected:
        made = second.apply(x, y, values)
        assert torch.equal(made.x, batch.x)
        assert made.mixed is not None
        assert batch.mixed is not None
        assert torch.equal(made.mixed.partner, batch.mixed.partner)


def test_an_unknown_hyperparameter_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'shift'"):
        Effects(["shfit"], seed=0)


def test_two_mixing_effects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_registered", {})

    @register_effect
    class Pairs(Effect):
        hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {"pairs": Hyperparameter("mixes pairs")}

        def mix(self, x: Tensor, y: Tensor, values: Values, generator: torch.Generator) -> Mixed:
            return Mixed(x, y, torch.ones(len(x)))

    assert Effects(["pairs"], seed=0).apply(torch.zeros(2, 1), torch.zeros(2), {"pairs": 1.0}).mixed is not None
    with pytest.raises(ConfigError, match="mix examples"):
        Effects(["mixup", "pairs"], seed=0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, targets: (outputs - targets).square().mean(),
        lambda outputs, targets: (outputs - targets).square(),
        lambda outputs, targets: 0.5,
    ],
)
def test_a_loss_that_is_not_one_value_per_example_is_refused(loss: Any) -> None:
    effects = Effects(["input_noise"], seed=0)
    x = torch.zeros(3, 2)
    batch = effects.apply(x, x, {"input_noise": 0.1})
    with pytest.raises(TaskError, match="per example") as caught:
        effects.example_losses(loss, batch.x, batch, {})
    assert caught.value.where == "task.loss"
    with pytest.raises(TaskError, match="per example"):
        checked_losses(loss(x, x), x)
