"""Conditional hyperparameters of a search space: ``when``."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertune.errors import SpaceError
from hypertune.search import plan_search
from hypertune.space import SearchSpace

NESTED = {
    "gain": {"type": "float", "low": 0, "high": 1, "self_tune": True, "when": {"depth": [2, 3], "optimizer": "sgd"}},
    "nesterov": {"choices": [True, False], "when": {"momentum_kind": "heavy"}},
    "momentum_kind": {"choices": ["none", "heavy"], "when": {"optimizer": "sgd"}},
    "optimizer": {"choices": ["adam", "sgd"]},
    "depth": {"type": "int", "low": 1, "high": 3},
    "lr": {"type": "float", "low": 0.1, "high": 1.0},
}


@pytest.fixture
def space():
    return SearchSpace.from_mapping(NESTED)


def expected_names(params):
    """What exists, from the definition and without the code under test."""
    names = {"optimizer", "depth", "lr"}
    if params["optimizer"] == "sgd":
        names.add("momentum_kind")
        if params["momentum_kind"] == "heavy":
            names.add("nesterov")
        if params["depth"] in (2, 3):
            names.add("gain")
    return names


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_active_is_what_the_conditions_say(point):
    space = SearchSpace.from_mapping(NESTED)
    params = space.decode(point)
    active = space.active(params)
    assert set(active) == expected_names(params)
    assert list(active) == [name for name in space.names if name in active]
    assert space.validate(active) == active
    encoded = space.encode(active)
    for axis, name in enumerate(space.names):
        assert name in active or encoded[axis] == 0.5
    assert set(space.active(space.decode(encoded))) == set(active)


def test_samples_have_only_what_exists(space):
    samples = space.sample(200, seed=3)
    assert all(set(s) == expected_names({"momentum_kind": None, **s}) for s in samples)
    assert {len(s) for s in samples} == {3, 4, 5, 6}


def test_parents_come_first(space):
    order = space.order
    assert set(order) == set(space.names)
    assert order.index("optimizer") < order.index("momentum_kind") < order.index("nesterov")
    assert max(order.index("depth"), order.index("optimizer")) < order.index("gain")
    assert set(space.unconditional) == {"optimizer", "depth", "lr"}


def test_yaml_form_pickle_and_differences(space):
    again = SearchSpace.from_mapping(space.to_mapping())
    assert again.conditions == space.conditions
    assert again.differences(space) == []
    assert pickle.loads(pickle.dumps(space)).to_mapping() == space.to_mapping()
    other = SearchSpace.from_mapping({**NESTED, "nesterov": {"choices": [True, False]}})
    assert len(space.differences(other)) == 1
    assert "when" in space.differences(other)[0]


def test_a_grandchild_needs_its_parent_to_exist(space):
    params = {"optimizer": "adam", "depth": 2, "lr": 0.5, "momentum_kind": "heavy", "nesterov": True, "gain": 0.1}
    assert space.active(params) == {"optimizer": "adam", "depth": 2, "lr": 0.5}
    assert np.array_equal(space.encode(params)[:3], [0.5, 0.5, 0.5])


def test_given_keeps_what_the_configuration_has(space):
    assert set(space.given({"optimizer": "adam", "depth": 2, "lr": 0.5}).names) == {"optimizer", "depth", "lr"}
    there = space.given({"optimizer": "sgd", "depth": 3, "lr": 0.5, "momentum_kind": "none", "gain": 0.5})
    assert set(there.names) == {"optimizer", "depth", "lr", "momentum_kind", "gain"}
    assert there.self_tuned == {"gain"}
    assert not there.conditions


def test_fixing_a_parent_settles_conditions(space):
    assert set(space.with_fixed({"optimizer": "adam"}).names) == {"depth", "lr"}
    sgd = space.with_fixed({"optimizer": "sgd"})
    assert set(sgd.unconditional) == {"momentum_kind", "depth", "lr"}
    assert sgd.conditions == {"gain": {"depth": (2, 3)}, "nesterov": {"momentum_kind": ("heavy",)}}
    heavy = space.with_fixed({"nesterov": True})
    assert heavy.distributions["momentum_kind"].choices == ("heavy",)
    assert heavy.distributions["optimizer"].choices == ("sgd",)
    both = space.with_fixed({"optimizer": "sgd", "depth": 2, "gain": 0.3})
    assert set(both.names) == {"nesterov", "momentum_kind", "lr"}
    with pytest.raises(SpaceError, match="space.b.when.kind: fixed hyperparameters that cannot exist together"):
        SearchSpace.from_mapping(
            {
                "kind": {"choices": ["x", "y"]},
                "a": {"choices": [1, 2], "when": {"kind": "x"}},
                "b": {"choices": [1, 2], "when": {"kind": "y"}},
                "c": {"choices": [1, 2]},
            }
        ).with_fixed({"a": 1, "b": 2})
    with pytest.raises(SpaceError, match="empty"):
        space.with_fixed({"optimizer": "adam", "depth": 1, "lr": 0.3})


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"optimiser": "sgd"}, "space.nesterov.when.optimiser: no such hyperparameter.*optimizer"),
        ({"optimizer": "adagrad"}, "space.nesterov.when.optimizer: can never be true"),
        ({"optimizer": []}, "space.nesterov.when.optimizer: no value is listed"),
        ({"lr": 0.5}, "space.nesterov.when.lr: a condition on a continuous"),
        ({"depth": 4}, "space.nesterov.when.depth: can never be true"),
        ({"depth": True}, "space.nesterov.when.depth: can never be true"),
        ({"depth": "two"}, "space.nesterov.when.depth: can never be true"),
        ("optimizer", "space.nesterov.when: not a condition"),
        ({}, "space.nesterov.when: not a condition"),
        ({"nesterov": True}, "conditions go in a circle"),
    ],
)
def test_wrong_conditions_are_refused(when, message):
    with pytest.raises(SpaceError, match=message):
        SearchSpace.from_mapping({**NESTED, "nesterov": {"choices": [True, False], "when": when}})


def test_a_longer_circle_is_named():
    first = {"choices": [1, 2], "when": {"second": 1}}
    second = {"choices": [1, 2], "when": {"first": 1}}
    with pytest.raises(SpaceError, match="circle.*first.*second|circle.*second.*first"):
        SearchSpace.from_mapping({"first": first, "second": second})


def test_values_of_what_does_not_exist_are_refused(space):
    with pytest.raises(SpaceError, match=r"params.momentum_kind.*only when optimizer is 'sgd'"):
        space.validate({"optimizer": "adam", "depth": 1, "lr": 0.5, "momentum_kind": "none"})
    with pytest.raises(SpaceError, match="params.momentum_kind: value is missing"):
        space.validate({"optimizer": "sgd", "depth": 1, "lr": 0.5})


def test_conditions_that_always_hold_are_settled() -> None:
    mapping = {
        "kind": {"type": "categorical", "choices": ["complex"]},
        "optimizer": {"type": "categorical", "choices": ["adam", "sgd"]},
        "head": {"type": "categorical", "choices": ["a", "b"], "when": {"kind": "complex"}},
        "momentum": {"type": "float", "low": 0.0, "high": 0.9, "when": {"optimizer": "sgd", "kind": "complex"}},
    }
    space = SearchSpace.from_mapping(mapping)
    settled = space.settled()
    assert settled.conditions == {"momentum": {"optimizer": ("sgd",)}}
    assert settled.names == space.names
    assert "head" in settled.unconditional
    assert space.with_fixed({"kind": "real"}).names == ("optimizer",)


@pytest.mark.parametrize(
    ("name", "gone"), [("complex_cnn", {"activation", "init", "head"}), ("cmusenet", {"activation", "init"})]
)
def test_real_twins_do_not_search_what_only_complex_layers_have(name: str, gone: set[str]) -> None:
    task = "digits_fourier" if name == "complex_cnn" else "rf_spectrum"
    content = {"family": name, "task": task, "runner": "inline", "tracking": "none"}
    complex_space = plan_search(content).space
    assert gone < set(complex_space.unconditional)
    assert not complex_space.conditions
    real_space = plan_search({**content, "family": {"name": name, "kind": "real"}}).space
    assert set(complex_space.names) - set(real_space.names) == {*gone, "kind"}
