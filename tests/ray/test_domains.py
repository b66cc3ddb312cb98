from __future__ import annotations

import pytest
from ray import tune

import hypertune.ray
from hypertune.errors import SpaceError
from hypertune.ray import from_ray, to_ray
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "a": {"type": "float", "low": 0, "high": 1},
        "b": {"type": "float", "low": 1e-4, "high": 1, "log": True},
        "c": {"type": "int", "low": 2, "high": 9},
        "d": {"type": "int", "low": 2, "high": 8, "step": 2},
        "e": {"type": "int", "low": 1, "high": 64, "log": True},
        "f": {"choices": ["x", True, None]},
        "g": {"type": "float", "low": 0.2, "high": 1, "step": 0.2},
        "h": 3,
    }
)


def test_round_trip():
    assert SPACE.differences(from_ray(to_ray(SPACE))) == []


def test_rays_own_samples_lie_inside_and_reach_the_ends():
    domains = to_ray(SPACE)
    drawn = {name: [domain.sample() for _ in range(400)] for name, domain in domains.items()}
    for i in range(400):
        params = {name: values[i] for name, values in drawn.items()}
        params["g"] = round(params["g"], 10)
        SPACE.validate(params)
    assert {min(drawn["c"]), max(drawn["c"])} == {2, 9}
    assert set(drawn["d"]) == {2, 4, 6, 8}
    assert min(drawn["e"]) == 1


def test_nested_and_plain_values():
    space = from_ray({"net": {"depth": tune.randint(1, 4)}, "n": 2})
    assert space.names == ("net/depth", "n")
    assert space.distributions["net/depth"].high == 3


def test_quantized_grids_are_multiples_of_the_step():
    space = from_ray({"q": tune.qrandint(3, 10, 4), "u": tune.quniform(0.5, 2.0, 0.5)})
    assert (space.distributions["q"].low, space.distributions["q"].high) == (4, 8)
    assert (space.distributions["u"].low, space.distributions["u"].high) == (0.5, 2.0)


def test_quantized_by_one_leaves_the_upper_end_out_as_ray_does():
    domain = tune.qrandint(0, 3, 1)
    assert max(domain.sample() for _ in range(200)) == from_ray({"q": domain}).distributions["q"].high == 2


@pytest.mark.parametrize(
    "value",
    [
        tune.randn(0, 1),
        tune.grid_search([1, 2]),
        tune.qloguniform(1e-4, 1, 5e-5),
        tune.sample_from(lambda spec: 1),
    ],
)
def test_domains_without_equivalent_are_named(value):
    with pytest.raises(SpaceError, match=r"space\.p: Ray's .* has no equivalent here"):
        from_ray({"p": value})


def test_steps_off_rays_grid_are_refused():
    space = SearchSpace.from_mapping({"p": {"type": "int", "low": 1, "high": 9, "step": 2}})
    with pytest.raises(SpaceError, match=r"space\.p\.low.*multiple of 2"):
        to_ray(space)


def test_conditional_hyperparameters_are_refused():
    space = SearchSpace.from_mapping(
        {"a": {"choices": [1, 2]}, "b": {"type": "float", "low": 0, "high": 1, "when": {"a": 2}}}
    )
    with pytest.raises(SpaceError, match=r"space.b.when: Ray's domains know no conditions"):
        to_ray(space)
    assert set(to_ray(space.with_fixed({"a": 2}))) == {"b"}


def test_every_public_name_is_there_and_no_other():
    assert set(hypertune.ray.__all__) == set(hypertune.ray._MODULES) == set(dir(hypertune.ray))
    for name in hypertune.ray.__all__:
        assert getattr(hypertune.ray, name).__module__ == f"hypertune.ray.{hypertune.ray._MODULES[name]}"
    with pytest.raises(AttributeError, match="no attribute 'OptunaSearch'"):
        hypertune.ray.OptunaSearch  # noqa: B018


def test_objects_to_choose_from_are_refused():
    with pytest.raises(SpaceError, match=r"space\.act\.choices\.1: Ray's choice among objects.*by its name"):
        from_ray({"act": tune.choice(["relu", print])})
