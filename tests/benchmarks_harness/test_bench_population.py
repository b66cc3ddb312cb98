from __future__ import annotations

import pytest

pytest.importorskip("ray.tune")

import torch
from comparison.population import Member, clipped
from comparison.tasks import TASKS

TASK = TASKS["diabetes-mlp"]
START = dict(TASK.start)


def member(**params):
    config = {"params": {**START, **params}, "benchmark": TASK.name, "seed": 0, "interval": 2, "epochs": 5}
    made = Member.__new__(Member)  # without Ray's bookkeeping of a running trial
    made.setup(config)
    return made


def test_mutations_stay_in_range():
    wild = {**START, "dropout_1": 0.9 * 1.2, "lr": 1e-3 * 0.8, "dropout_2": 0.3}
    params = clipped(wild, TASK.space)
    assert (params["dropout_1"], params["lr"], params["dropout_2"]) == (0.9, 1e-3, 0.3)
    TASK.space.validate(params)


def test_trains_in_intervals_and_pays_for_each():
    trained = member()
    results = [trained.step() for _ in range(3)]
    assert [result["epochs"] for result in results] == [2, 2, 1]
    assert results[-1]["value"] < 1.2  # the loss of the mean is about 1
    found = [result["best_value"] for result in results if "best_value" in result]
    assert found
    assert found == sorted(found, reverse=True)


def test_a_clone_takes_weights_and_moments_but_keeps_its_hyperparameters(tmp_path):
    top = member(lr=0.02)
    top.step()
    top.save_checkpoint(str(tmp_path))
    clone = member(lr=0.01, weight_decay=0.1, dropout_1=0.4)
    assert not clone.model.hidden_1.weight.equal(top.model.hidden_1.weight)
    clone.load_checkpoint(str(tmp_path))
    for mine, theirs in zip(clone.model.parameters(), top.model.parameters(), strict=True):
        assert mine.equal(theirs)
    momentum = [state["momentum_buffer"] for state in clone.optimizer.state.values()]
    assert momentum
    for mine, theirs in zip(momentum, top.optimizer.state.values(), strict=True):
        assert mine.equal(theirs["momentum_buffer"])
    (group,) = clone.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.01, 0.1)
    assert clone.model.dropout_1.p == 0.4
    assert (clone.done, clone.best) == (top.done, top.best)


def test_the_test_loss_is_that_of_the_best_epoch_and_training_goes_on_from_the_last(monkeypatch):
    trained = member()
    values = iter([0.5, 0.9])
    seen = {}

    def loss(split, precision):
        weights = trained.model.hidden_1.weight.detach().clone()
        if split is trained.task.test:
            seen["test"] = weights
            return 0.7
        value = next(values)
        seen[value] = weights
        return value

    monkeypatch.setattr(trained, "_loss", loss)
    result = trained.step()
    assert result == {"value": 0.9, "epochs": 2, "best_value": 0.5, "best_test": 0.7}
    assert seen["test"].equal(seen[0.5])
    assert not seen["test"].equal(seen[0.9])
    assert trained.model.hidden_1.weight.equal(seen[0.9])


def test_a_network_that_diverges_reports_a_bad_number_and_no_incumbent():
    trained = member()
    with torch.no_grad():
        trained.model.head.weight.fill_(torch.nan)
    assert trained.step() == {"value": 1e9, "epochs": 2}
