"""Auxiliary losses whose weight is tuned inside a trial."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypertune.auxiliary_loss import AuxiliaryLoss
from hypertune.errors import SpaceError
from hypertune.families.contract import Family
from hypertune.hypernets.attach import attach
from hypertune.hypernets.binding import resolve_bindings
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.hypernets.stn import STN
from hypertune.records import Assignment, TaskSpec
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training.family_binding import bound_paths
from hypertune.training.fit import fit
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial

SPACE = SearchSpace.from_mapping({"pull": {"type": "float", "low": 0.0, "high": 4.0, "self_tune": True}})


class Pulled(nn.Module):
    """Outputs are pulled towards ``goal`` by the auxiliary loss, one value per example or one for the batch."""

    def __init__(self, weight=1.0, *, goal=0.0, per_example=True, extra=None):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.pull = AuxiliaryLoss(weight)
        self.extra = AuxiliaryLoss(extra) if extra is not None else None
        self.goal, self.per_example = goal, per_example

    def forward(self, x):
        y = self.layer(x)
        loss = (y - self.goal).square().mean(dim=1)
        self.pull(loss if self.per_example else loss.mean())
        if self.extra is not None:
            self.extra(y.abs().mean())
        return y


@pytest.mark.parametrize("per_example", [True, False])
@pytest.mark.parametrize("rows", [1, 5])
def test_each_example_is_added_its_own_weight(per_example, rows):
    torch.manual_seed(0)
    plain = Pulled(per_example=per_example, extra=0.3)
    model = attach(plain, SPACE, {"pull": 1.0}).train()
    x, weights = torch.randn(5, 3), torch.rand(rows) * 4
    outputs, penalty = model.outputs_and_penalties(x, torch.zeros(1, 1), {"pull": weights})
    y = plain.layer(x)
    torch.testing.assert_close(outputs, y)
    loss = y.square().mean(dim=1) if per_example else y.square().mean().expand(5)
    expected = weights * loss + 0.3 * y.abs().mean()
    torch.testing.assert_close(penalty.expand(5).mean(), expected.mean())
    if rows == 5:
        torch.testing.assert_close(penalty, expected)


def test_nothing_is_added_in_evaluation_or_without_values():
    model = attach(Pulled(extra=0.3), SPACE, {"pull": 1.0})
    x = torch.randn(5, 3)
    assert model.eval().outputs_and_penalties(x, None, {"pull": torch.ones(1)})[1] == 0
    assert model.train().outputs_and_penalties(x)[1] is None


def test_the_detached_model_has_the_current_weight():
    model = attach(Pulled(), SPACE, {"pull": 2.5})
    plain = model.detach_response()
    assert isinstance(plain.pull, AuxiliaryLoss)
    assert plain.pull.weight == pytest.approx(2.5, abs=1e-5)


@pytest.mark.parametrize("algorithm", [STN, DeltaSTN])
@pytest.mark.parametrize(("goal", "rises"), [(1.0, True), (-3.0, False)])
def test_the_weight_goes_where_validation_wants_it(algorithm, goal, rises):
    """Training targets are 0; validation targets are 1. Pulling the outputs towards 1 helps, towards -3 it hurts."""
    torch.manual_seed(0)
    model = attach(Pulled(goal=goal, extra=0.0), SPACE, {"pull": 1.0})
    tuner = algorithm(
        model,
        lambda outputs, targets: (outputs - targets).square().mean(dim=1),
        weights=lambda weights: torch.optim.SGD(weights, lr=0.05),
        seed=0,
    )
    generator = torch.Generator().manual_seed(1)
    for step in range(400):
        x = torch.randn(20, 3, generator=generator)
        model.train()
        tuner.weight_step(x, torch.zeros(20, 2))
        if step > 40:
            tuner.tune_step(x, torch.ones(20, 2))
    assert (tuner.tuned()["pull"] > 2.0) if rises else (tuner.tuned()["pull"] < 0.5)


def test_binding_by_path_by_name_and_by_action():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop = nn.Linear(2, 2), nn.Dropout(0.1)
            self.first, self.second = AuxiliaryLoss(1.0), AuxiliaryLoss(1.0)

    def bound(names, **bind):
        return resolve_bindings(Two(), names, bind=bind, outside=())

    assert bound(["first"]).paths["auxiliary_loss"] == {"first": ("first",)}
    assert bound(["auxiliary_loss"]).paths["auxiliary_loss"] == {"auxiliary_loss": ("first", "second")}
    both = bound(["first", "auxiliary_loss"]).paths["auxiliary_loss"]
    assert both == {"first": ("first",), "auxiliary_loss": ("second",)}
    assert bound(["w"], w="sec*").paths["auxiliary_loss"] == {"w": ("second",)}
    assert bound(["w"], w={"auxiliary_loss": "*"}).paths["auxiliary_loss"] == {"w": ("first", "second")}
    assert bound(["w"], w="drop").paths["dropout"] == {"w": ("drop",)}
    with pytest.raises(SpaceError, match="two hyperparameters set one auxiliary loss, 'first'"):
        bound(["w", "first"], w="f*")
    with pytest.raises(SpaceError, match="auxiliary losses it acts on; the model has first, second"):
        bound(["w"], w={"auxiliary_loss": "third"})


def test_a_familys_hyperparameter_is_found_and_tuned_in_a_trial(tmp_path):
    def build(params, task):
        model = Pulled(params.get("strength", 0.5), goal=1.0)
        nn.init.zeros_(model.layer.weight)  # no lucky first epoch
        nn.init.zeros_(model.layer.bias)
        return model

    family = Family("pulled", build)
    spec = TaskSpec("line", "regression", (3,), 2)
    space = SearchSpace.from_mapping({"strength": {"type": "float", "low": 0.0, "high": 4.0, "self_tune": True}})
    assert bound_paths(family, {}, spec, space, ["strength"]) == {"strength": ["pull"]}

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, generator=generator)
    train, val = TensorSplit(x[:30], torch.zeros(30, 2)), TensorSplit(x[30:], torch.ones(30, 2))
    task = Task(spec, train, val, None, lambda outputs, targets: (outputs - targets).square().mean(dim=1), {})
    params = {"strength": 1.0, "lr": 0.05, "optimizer": "sgd", "momentum": 0.0}  # nothing overshoots

    def train_with(self_tuning, name):
        folder = tmp_path / name
        folder.mkdir()
        trial = Trial(Assignment(0, params, 0, str(folder)), lambda report: False)
        settings = TrainingSettings(epochs=40, batch_size=10, device="cpu", self_tuning=self_tuning)
        return fit(trial, family, task, settings, space=space)

    plain, tuned = train_with(None, "plain"), train_with(SelfTuningSettings(train_steps=1), "tuned")
    # At weight 1 the trained outputs lie half-way between targets 0 and goal 1: squared error 1/4.
    assert plain.value == pytest.approx(0.25, abs=0.03)
    assert tuned.tuned["strength"] > 1.5
    assert tuned.value < 0.2
