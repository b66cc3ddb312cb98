from __future__ import annotations

import re
from typing import Any

import pytest
from torch import nn

from hypertune.errors import SpaceError
from hypertune.hypernets.binding import Bindings, resolve_bindings


def _model() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "body": nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 4), nn.AlphaDropout(0.1)),
            "drop": nn.Dropout2d(0.1),
            "head": nn.Linear(4, 2),
        }
    )


def _resolve(*names: str, bind: dict[str, Any] | None = None, outside: tuple[str, ...] = ()) -> Bindings:
    return resolve_bindings(_model(), names, bind=bind or {}, outside=outside)


def test_dropout_acts_on_every_dropout_module() -> None:
    assert _resolve("dropout").paths["dropout"] == {"dropout": ("body.1", "body.3", "drop")}


def test_the_path_of_a_dropout_module_names_it() -> None:
    made = _resolve("drop", "body.1", "dropout")
    assert made.paths["dropout"] == {"drop": ("drop",), "body.1": ("body.1",), "dropout": ("body.3",)}


def test_bound_modules_are_left_out_of_dropout_whatever_the_order() -> None:
    for names in (("dropout", "rate"), ("rate", "dropout")):
        made = _resolve(*names, bind={"rate": "body.*"})
        assert made.paths["dropout"] == {"rate": ("body.1", "body.3"), "dropout": ("drop",)}
    made = _resolve("a", "b", bind={"a": ["body.1", "drop"], "b": {"dropout": ["body.3"]}})
    assert made.paths["dropout"] == {"a": ("body.1", "drop"), "b": ("body.3",)}


@pytest.mark.parametrize("action", ["weight_decay", "weight_noise", "activation_penalty"])
def test_actions_by_name_act_on_every_module_with_parameters(action: str) -> None:
    assert _resolve(action).paths[action] == {action: ("body.0", "body.2", "head")}


def test_one_name_can_act_in_several_ways() -> None:
    made = _resolve("strength", bind={"strength": {"weight_decay": "head", "dropout": "drop"}})
    assert made.paths["weight_decay"] == {"strength": ("head",)}
    assert made.paths["dropout"] == {"strength": ("drop",)}
    assert made.inside == ("strength",)
    assert made.outside == ()


def test_what_acts_outside_is_told_apart() -> None:
    made = _resolve("input_noise", "dropout", outside=("input_noise", "mixup"))
    assert made.outside == ("input_noise",)
    assert made.inside == ("dropout",)


def test_a_model_that_is_one_layer_can_be_decayed() -> None:
    made = resolve_bindings(nn.Linear(2, 3), ["weight_decay"], bind={}, outside=())
    assert made.paths["weight_decay"] == {"weight_decay": ("",)}


@pytest.mark.parametrize(
    ("names", "bind", "message"),
    [
        (
            ("drop",),
            {"dorp": "drop"},
            r"self_tuning\.bind\.dorp: bound to the model but not tuned.*Did you mean 'drop'",
        ),
        (("a",), {"a": {"dropuot": "drop"}}, r"self_tuning\.bind\.a\.dropuot: no such action.*Did you mean 'dropout'"),
        (("a",), {"a": "nothing.*"}, r"space\.a\.self_tune: the model does not read it.*patterns nothing\.\*.*body\.1"),
        (("a",), {"a": {"weight_decay": "drop"}}, r"space\.a\.self_tune: .*modules with parameters.*body\.0, body\.2"),
        (("rate",), {}, r"space\.rate\.self_tune: the model does not read it.*given 'rate'.*bind=\{'rate'"),
        (("lr",), {}, r"space\.lr\.self_tune: cannot be tuned inside a trial.*not the loss.*sampler searches it"),
        (("momentum",), {}, r"space\.momentum\.self_tune: cannot be tuned inside a trial"),
        (("a", "b"), {"a": "body.*", "b": "body.1"}, r"self_tuning\.bind\.b: two hyperparameters.*'body\.1'.*a, b"),
        (("a", "dropout"), {"a": "*"}, r"space\.dropout\.self_tune: the model does not read it"),
    ],
)
def test_wrong_bindings_are_explained(names: tuple[str, ...], bind: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError) as caught:
        _resolve(*names, bind=bind)
    assert re.search(message, str(caught.value), re.DOTALL | re.IGNORECASE), str(caught.value)


def test_a_model_without_dropout_says_so() -> None:
    with pytest.raises(SpaceError, match=r"the model has none[\s\S]*nn\.Dropout modules in place of functional"):
        resolve_bindings(nn.Linear(2, 3), ["dropout"], bind={}, outside=())


def test_a_dropout_module_may_have_the_name_of_the_hyperparameter() -> None:
    model = nn.Sequential()
    model.add_module("dropout", nn.Dropout(0.1))
    model.add_module("other", nn.Dropout(0.1))
    found = resolve_bindings(model, ["dropout", "other"], bind={}, outside=())
    assert found.paths["dropout"] == {"dropout": ("dropout",), "other": ("other",)}
