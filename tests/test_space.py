from __future__ import annotations

import math
import pickle

import numpy as np
import optuna
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from hypertune.errors import HypertuneError, SpaceError
from hypertune.space import SearchSpace, shipped_spaces

EVERYTHING = {
    "lr": {"type": "float", "low": "1e-4", "high": 0.1, "log": True, "unit": "1/step", "doc": "step size"},
    "momentum": {"type": "float", "low": 0, "high": 1},
    "shift": {"type": "float", "low": 0.1, "high": 0.9, "step": 0.2, "self_tune": True},
    "width": {"type": "int", "low": 8, "high": 64, "step": 8},
    "units": {"type": "int", "low": 1, "high": 1024, "log": True},
    "depth": {"type": "int", "low": 1, "high": 4},
    "act": {"choices": ["relu", None, True, 2, 0.5]},
    "seed": 3,
}


@pytest.fixture
def space():
    return SearchSpace.from_mapping(EVERYTHING)


def test_distributions_are_optunas(space):
    assert space.distributions["lr"] == optuna.distributions.FloatDistribution(1e-4, 0.1, log=True)
    assert space.distributions["shift"] == optuna.distributions.FloatDistribution(0.1, 0.9, step=0.2)
    assert space.distributions["width"] == optuna.distributions.IntDistribution(8, 64, step=8)
    assert space.distributions["act"] == optuna.distributions.CategoricalDistribution(("relu", None, True, 2, 0.5))
    assert space.distributions["seed"] == optuna.distributions.CategoricalDistribution((3,))
    assert space.self_tuned == {"shift"}
    assert (space.docs["lr"], space.units["lr"]) == ("step size", "1/step")


def test_yaml_form_round_trips(space):
    again = SearchSpace.from_mapping(space.to_mapping())
    assert again.distributions == space.distributions
    assert again.self_tuned == space.self_tuned
    assert again.docs == space.docs
    assert space.differences(again) == []


def test_pickles(space):
    assert pickle.loads(pickle.dumps(space)).to_mapping() == space.to_mapping()


@st.composite
def spaces(draw):
    entries = {}
    for index in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["float", "log", "step", "int", "int step", "int log", "categorical"]))
        low = draw(st.floats(-1e6, 1e6))
        width = draw(st.floats(1e-3, 1e6))
        if kind == "float":
            entry = {"type": "float", "low": low, "high": low + width}
        elif kind == "log":
            entry = {"type": "float", "low": width, "high": width * draw(st.floats(1.01, 1e8)), "log": True}
        elif kind == "step":
            step = draw(st.sampled_from([0.1, 0.25, 1.0, 3.0]))
            start = draw(st.integers(-20, 20)) / 10
            entry = {"type": "float", "low": start, "high": start + step * draw(st.integers(1, 50)), "step": step}
        elif kind == "int":
            entry = {"type": "int", "low": int(low), "high": int(low) + draw(st.integers(0, 1000))}
        elif kind == "int step":
            entry = {"type": "int", "low": int(low), "high": int(low) + draw(st.integers(7, 99)), "step": 7}
        elif kind == "int log":
            first = draw(st.integers(1, 100))
            entry = {"type": "int", "low": first, "high": first + draw(st.integers(0, 10_000)), "log": True}
        else:
            values = st.one_of(st.none(), st.booleans(), st.integers(2, 9), st.text(max_size=5))
            entry = {"type": "categorical", "choices": draw(st.lists(values, min_size=1, max_size=6, unique=True))}
        entries[f"p{index}"] = entry
    return SearchSpace.from_mapping(entries)


@given(spaces(), st.integers(0, 2**32 - 1))
def test_encode_and_decode_are_inverse(space, seed):
    for params in space.sample(5, seed=seed):
        point = space.encode(params)
        assert point.shape == (len(space),)
        assert ((point >= 0) & (point <= 1)).all()
        again = space.decode(point)
        for name, value in params.items():
            if isinstance(value, float):
                distribution = space.distributions[name]
                scale = abs(value) if distribution.log else distribution.high - distribution.low
                assert again[name] == pytest.approx(value, rel=0, abs=1e-12 * max(scale, abs(value)))
            else:
                assert again[name] == value
                assert type(again[name]) is type(value)


@given(spaces(), st.integers(0, 2**32 - 1))
def test_every_value_optuna_draws_round_trips(space, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    params = study.ask(dict(space.distributions)).params
    again = space.decode(space.encode(params))
    for name, value in params.items():
        if isinstance(value, float):
            assert again[name] == pytest.approx(value, rel=1e-9, abs=1e-9)
        else:
            assert again[name] == value


@given(spaces(), st.lists(st.floats(-0.5, 1.5), min_size=5, max_size=5))
def test_decoded_values_lie_inside_and_are_plain(space, coordinates):
    params = space.decode(coordinates[: len(space)])
    assert space.validate(params) == params
    for value in params.values():
        assert value is None or type(value) in {bool, int, float, str}


def test_ends_of_the_cube_are_ends_of_the_ranges(space):
    low, high = space.decode(np.zeros(8)), space.decode(np.ones(8))
    assert (low["lr"], high["lr"]) == pytest.approx((1e-4, 0.1))
    assert (low["width"], high["width"]) == (8, 64)
    assert (low["units"], high["units"]) == (1, 1024)
    assert (low["shift"], high["shift"]) == (0.1, 0.9)
    assert (low["act"], high["act"]) == ("relu", 0.5)


def test_uniform_points_are_uniform_values(space):
    samples = space.sample(4000, seed=0)
    widths = np.bincount([s["width"] // 8 for s in samples])[1:]
    assert stats.chisquare(widths).pvalue > 1e-3
    logs = [math.log(s["lr"]) for s in samples]
    assert stats.kstest(logs, stats.uniform(math.log(1e-4), math.log(0.1) - math.log(1e-4)).cdf).pvalue > 1e-3


def test_samples_depend_on_the_seed_alone(space):
    assert space.sample(3, seed=1) == space.sample(3, seed=1)
    assert space.sample(3, seed=1) != space.sample(3, seed=2)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "flot", "low": 0, "high": 1}, r"space\.p\.type: unknown type.*did you mean 'float'"),
        ({"low": 0, "high": 1}, r"space\.p\.type: type is missing"),
        ({"type": "float", "low": 0}, r"space\.p: high is missing"),
        ({"type": "float", "low": 2, "high": 1}, r"space\.p: low is above high.*'low': 2"),
        ({"type": "float", "low": 0, "high": 1, "log": True}, r"space\.p\.low: a log scale needs a positive low"),
        ({"type": "int", "low": 0, "high": 9, "log": True}, r"space\.p\.low: a log scale needs a positive low"),
        ({"type": "float", "low": -1.0, "high": 1, "log": True}, "positive low"),
        ({"type": "float", "low": "abc", "high": 1}, r"space\.p\.low: not a finite number; given 'abc'"),
        ({"type": "float", "low": float("nan"), "high": 1}, "not a finite number"),
        ({"type": "float", "low": 0, "high": float("inf")}, "not a finite number"),
        ({"type": "float", "low": True, "high": 2}, "not a finite number; given True"),
        ({"type": "int", "low": 0.5, "high": 3}, "not a whole number; given 0.5"),
        ({"type": "float", "low": 0, "high": 1, "step": 0}, "step must be positive"),
        ({"type": "float", "low": 0, "high": 1, "step": 2}, "step is wider than the range"),
        ({"type": "float", "low": 1, "high": 2, "log": True, "step": 0.1}, "step and log exclude each other"),
        ({"type": "float", "low": 0, "high": 1, "log": "yes please"}, "not a yes or no"),
        ({"type": "float", "low": 0, "high": 1, "logg": True}, r"space\.p\.logg: unknown key.*did you mean 'log'"),
        ({"type": "categorical"}, "choices must be a list"),
        ({"type": "categorical", "choices": []}, "choices are empty"),
        ({"choices": "relu"}, "choices must be a list"),
        ({"choices": [[1]]}, r"space\.p\.choices\.0: a choice must be plain"),
        ({"choices": [1, True]}, "given twice"),
        ({"choices": [float("nan")]}, "finite"),
        ({"choices": ["a", "b"], "self_tune": True}, "no direction to tune along"),
        ({"type": "float", "low": 1, "high": 1, "self_tune": True}, "zero width"),
        ({"type": "float", "low": 0, "high": 1, "self_tune": 1}, "not a yes or no"),
        ([1, 2], "a choice must be plain"),
    ],
)
def test_bad_entries_name_the_path(entry, message):
    with pytest.raises(SpaceError, match=message):
        SearchSpace.from_mapping({"p": entry})


def test_bad_spaces():
    with pytest.raises(SpaceError, match="empty"):
        SearchSpace.from_mapping({})
    with pytest.raises(SpaceError, match="name must be text"):
        SearchSpace.from_mapping({1: {"choices": [1]}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 1.0}, r"params\.lr: value is outside the space; given 1\.0; expected a number from 0\.0001 to 0\.1"),
        ({"lr": "x"}, "outside the space"),
        ({"width": 9}, "in steps of 8"),
        ({"depth": True}, "outside the space; given True"),
        ({"act": "tanh"}, "expected one of 'relu'"),
        ({"lrr": 1.0}, r"params\.lrr: unknown hyperparameter.*did you mean 'lr'"),
    ],
)
def test_values_outside_are_refused(space, change, message):
    params = space.decode([0.5] * 8)
    with pytest.raises(SpaceError, match=message):
        space.validate({**params, **change})


def test_missing_values_and_wrong_points_are_refused(space):
    params = space.decode([0.5] * 8)
    del params["act"]
    with pytest.raises(SpaceError, match=r"params\.act: value is missing"):
        space.encode(params)
    for point in ([0.5] * 7, [math.nan] * 8, [[0.5] * 8]):
        with pytest.raises(SpaceError, match="not a point of the unit cube"):
            space.decode(point)


def test_step_that_does_not_reach_high_lowers_it():
    space = SearchSpace.from_mapping({"p": {"type": "float", "low": 0, "high": 1, "step": 0.3}})
    assert space.distributions["p"].high == 0.9
    space = SearchSpace.from_mapping({"p": {"type": "int", "low": 1, "high": 10, "step": 4}})
    assert space.distributions["p"].high == 9


@given(st.integers(0, 400), st.sampled_from([0.1, 0.05, 0.3, 0.001]))
def test_steps_read_as_a_person_writes_them(count, step):
    assume(count > 0)
    space = SearchSpace.from_mapping({"p": {"type": "float", "low": 0, "high": count * step, "step": step}})
    assert len(repr(space.decode([1.0])["p"])) <= 7


def test_loading_by_name_path_and_mapping(tmp_path):
    (tmp_path / "mine.yaml").write_text("lr: {type: float, low: 1e-4, high: 1e-1, log: true}\n")
    by_path = SearchSpace.load("mine.yaml", folder=tmp_path)
    inline = SearchSpace.load({"lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}})
    assert by_path.distributions == inline.distributions
    for name in shipped_spaces():
        assert len(SearchSpace.load(name)) > 0


def test_every_shipped_parameter_is_documented():
    assert {"phnn", "mlp", "cnn"} <= set(shipped_spaces())
    for name in shipped_spaces():
        space = SearchSpace.load(name)
        assert all(space.docs.get(parameter) for parameter in space.names), name


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1\n", "no mapping"), ("a: [1\n", "not valid YAML"), ("", "no mapping")],
)
def test_bad_files(tmp_path, text, message):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(HypertuneError, match=message):
        SearchSpace.load("s.yaml", folder=tmp_path)


def test_unknown_name_says_what_was_meant():
    with pytest.raises(SpaceError, match="did you mean 'phnn'"):
        SearchSpace.load("phn")


def test_differences_name_the_parameter(space):
    other = SearchSpace.from_mapping({**EVERYTHING, "depth": {"type": "int", "low": 1, "high": 5}, "new": 1})
    lines = space.differences(other)
    assert [line.split(":")[0] for line in lines] == ["depth", "new"]
