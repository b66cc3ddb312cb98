from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from hypertune.auxiliary_loss import AuxiliaryLoss, auxiliary_loss
from hypertune.errors import FamilyError


class Twice(nn.Module):
    def __init__(self, first=0.5, second=2.0):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.rows = AuxiliaryLoss(first)
        self.whole = AuxiliaryLoss(second)

    def forward(self, x):
        y = self.layer(x)
        self.rows(y.square().mean(dim=1))
        self.whole(y.abs().mean())
        return y


def test_weighted_sum_with_its_gradient():
    torch.manual_seed(0)
    model, x = Twice(), torch.randn(4, 3)
    model(x)
    loss = auxiliary_loss(model)
    y = model.layer(x)
    expected = 0.5 * y.square().mean() + 2.0 * y.abs().mean()
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(each, model.layer.weight, retain_graph=True)[0] for each in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_it_is_forgotten_once_taken_and_absent_in_evaluation():
    model = Twice()
    model(torch.ones(2, 3))
    assert auxiliary_loss(model) is not None
    assert auxiliary_loss(model) is None
    model.eval()(torch.ones(2, 3))
    assert auxiliary_loss(model) is None
    assert auxiliary_loss(nn.Linear(2, 2)) is None


def test_a_model_with_a_loss_at_hand_copies_and_pickles():
    model = Twice()
    model(torch.ones(2, 3))
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert auxiliary_loss(again) is None
        again(torch.ones(2, 3))
        torch.testing.assert_close(auxiliary_loss(again), _loss_of(model))
    assert list(model.state_dict()) == ["layer.weight", "layer.bias"]


def _loss_of(model):
    model(torch.ones(2, 3))
    return auxiliary_loss(model)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, "big", None, True])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(FamilyError, match="auxiliary_loss.weight"):
        AuxiliaryLoss(weight)


def test_a_loss_with_features_is_refused():
    with pytest.raises(FamilyError, match=r"\(4, 3\).*one loss per example, or a scalar"):
        AuxiliaryLoss(1.0)(torch.zeros(4, 3))
