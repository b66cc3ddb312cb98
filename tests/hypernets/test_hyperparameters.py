from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypertune.errors import SpaceError
from hypertune.hypernets.hyperparameters import TunedHyperparameters
from hypertune.space import SearchSpace

RANGES: dict[str, dict[str, Any]] = {
    "linear": {"type": "float", "low": -1.0, "high": 3.0},
    "log": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    "stepped": {"type": "float", "low": 0.0, "high": 0.9, "step": 0.1},
    "whole": {"type": "int", "low": 0, "high": 24},
    "whole_step": {"type": "int", "low": 2, "high": 10, "step": 4},
    "whole_log": {"type": "int", "low": 1, "high": 100, "log": True},
}
SPACE = SearchSpace.from_mapping(RANGES)
START = {"linear": 0.5, "log": 1e-3, "stepped": 0.3, "whole": 5, "whole_step": 6, "whole_log": 7}


def _tuned(**options: Any) -> TunedHyperparameters:
    return TunedHyperparameters(SPACE, START, **options)


def test_the_start_is_the_current_value() -> None:
    current = _tuned().current()
    assert {name: type(value) for name, value in current.items()} == {
        "linear": float,
        "log": float,
        "stepped": float,
        "whole": int,
        "whole_step": int,
        "whole_log": int,
    }
    assert current == pytest.approx(START, rel=1e-5)


@given(raw=st.lists(st.floats(-40, 40), min_size=6, max_size=6))
def test_every_value_is_in_its_range_and_on_its_grid(raw: list[float]) -> None:
    tuned = _tuned()
    with torch.no_grad():
        tuned.raw.copy_(torch.tensor(raw))
    current = tuned.current()
    assert SPACE.validate(current) == current
    assert current["whole_step"] in (2, 6, 10)
    per_example = tuned.values(torch.tensor([raw, raw]))
    assert {value.shape for value in per_example.values()} == {(2,)}
    for name, value in per_example.items():
        assert not value.requires_grad
        low, high = float(RANGES[name]["low"]), float(RANGES[name]["high"])
        assert low - 1e-6 <= float(value[0]) <= high * (1 + 1e-6)


@given(position=st.floats(0.03, 0.97))
def test_values_come_back_from_their_lambda(position: float) -> None:
    tuned = _tuned()
    params = SPACE.decode([position] * 6)
    back = {
        name: float(value)
        for name, value in tuned.values(tuned.unconstrained(params)).items()
        if name in ("linear", "log")
    }
    assert back == pytest.approx({name: params[name] for name in back}, rel=1e-4)
    with torch.no_grad():
        tuned.raw.copy_(tuned.unconstrained(params))
    # Cells are named by their middle, so that the value itself comes back.
    for name in ("stepped", "whole", "whole_step", "whole_log"):
        assert tuned.current()[name] == pytest.approx(params[name], abs=1e-9)


def test_linear_and_logarithmic_ranges_by_their_formulas() -> None:
    raw = torch.tensor([0.7, -1.3], dtype=torch.float64)
    space = SearchSpace.from_mapping({"linear": RANGES["linear"], "log": RANGES["log"]})
    values = TunedHyperparameters(space, START).values(raw)
    u = 1 / (1 + math.exp(-0.7))
    v = 1 / (1 + math.exp(1.3))
    assert float(values["linear"]) == pytest.approx(-1 + 4 * u)
    assert float(values["log"]) == pytest.approx(1e-6 * 1e5**v)


def test_the_cells_of_integers_and_steps_are_equally_wide() -> None:
    tuned = _tuned()
    positions = (torch.arange(30_000, dtype=torch.float64) + 0.5) / 30_000
    raw = torch.logit(positions)[:, None].expand(-1, 6)
    values = tuned.values(raw)
    for name, cells in (("stepped", 10), ("whole", 25), ("whole_step", 3)):
        _, counts = values[name].unique(return_counts=True)
        assert len(counts) == cells
        assert int(counts.max() - counts.min()) <= 1
    _, counts = values["whole_log"].unique(return_counts=True)
    assert len(counts) == 100
    # log(1.5 / 0.5) of log(100.5 / 0.5).
    assert float(counts[0]) / 30_000 == pytest.approx(math.log(3) / math.log(201), abs=1e-4)


@pytest.mark.parametrize(("value", "position"), [(-1.0, 0.02), (3.0, 0.98)])
def test_a_start_at_an_end_is_moved_inside(value: float, position: float) -> None:
    tuned = TunedHyperparameters(SPACE, {**START, "linear": value})
    assert float(torch.sigmoid(tuned.raw.detach()[0])) == pytest.approx(position, abs=1e-6)
    assert not tuned.at_edge()


def test_confined_lambda_is_at_its_edge_and_can_come_back() -> None:
    tuned = _tuned()
    with torch.no_grad():
        tuned.raw[0], tuned.raw[1] = 80.0, -80.0
    tuned.confine_()
    assert tuned.at_edge() == {"linear": "high", "log": "low"}
    position = torch.sigmoid(tuned.raw.detach().double())
    assert float(position[0]) == pytest.approx(0.9975, abs=1e-6)
    assert float(position[1]) == pytest.approx(0.0025, abs=1e-6)
    with torch.no_grad():
        tuned.raw[0], tuned.raw[1] = 5.0, -5.0
    assert not tuned.at_edge()


def test_the_entropy_is_that_of_independent_gaussians() -> None:
    tuned = _tuned(scale={"linear": 0.1, "log": 2.0})
    sigma = tuned.scale.detach()
    torch.testing.assert_close(sigma, torch.tensor([0.1, 2.0, 0.5, 0.5, 0.5, 0.5]))
    reference = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(6), sigma), 1).entropy()
    torch.testing.assert_close(tuned.entropy().detach(), reference)


def test_perturbations_have_their_scales_and_their_gradient() -> None:
    tuned = _tuned(scale={"linear": 0.1, "log": 2.0})
    draws = tuned.perturb(20_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.std(dim=0).detach(), tuned.scale.detach(), rtol=0.03, atol=0)
    torch.testing.assert_close(draws.mean(dim=0).detach(), torch.zeros(6), rtol=0, atol=0.06)
    again = tuned.perturb(20_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draws, again)
    draws.square().sum().backward()
    assert tuned.raw_scale.grad is not None
    assert bool((tuned.raw_scale.grad > 0).all())


@pytest.mark.parametrize("scale", [0, -1.0, math.inf, math.nan, True, "0.5"])
def test_a_scale_that_is_none_is_refused(scale: Any) -> None:
    with pytest.raises(SpaceError, match=r"self_tuning\.scale\.linear[\s\S]*above 0"):
        _tuned(scale=scale)


def test_a_scale_for_an_unknown_hyperparameter_is_refused() -> None:
    with pytest.raises(SpaceError, match=r"self_tuning\.scale\.liner[\s\S]*linear"):
        _tuned(scale={"liner": 0.1})


def test_what_cannot_be_tuned_is_refused() -> None:
    choice = SearchSpace.from_mapping({"kind": {"type": "categorical", "choices": ["a", "b"]}})
    with pytest.raises(SpaceError, match=r"space\.kind\.self_tune: a categorical[\s\S]*float or int range"):
        TunedHyperparameters(choice, {"kind": "a"})
    fixed = SearchSpace.from_mapping({"rate": {"type": "float", "low": 0.5, "high": 0.5}})
    with pytest.raises(SpaceError, match=r"space\.rate\.self_tune: a range of zero width[\s\S]*widen low\.\.high"):
        TunedHyperparameters(fixed, {"rate": 0.5})
    with pytest.raises(SpaceError, match="linear"):
        TunedHyperparameters(SPACE, {**START, "linear": 7.0})
    with pytest.raises(SpaceError, match="linear"):
        TunedHyperparameters(SPACE, {name: value for name, value in START.items() if name != "linear"})


def test_a_copy_is_independent() -> None:
    tuned = _tuned()
    twin = copy.deepcopy(tuned)
    with torch.no_grad():
        twin.raw.add_(1.0)
    assert tuned.current() != twin.current()
