from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from hypertune import registry
from hypertune.errors import FamilyError
from hypertune.families.contract import Family, build_model
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace
from hypertune.training.family_binding import bound_paths

SPEC = TaskSpec("t", "classification", (6,), 3)
RATE = {"type": "float", "low": 0.0, "high": 0.9, "self_tune": True}


def space(**entries: Mapping[str, Any]) -> SearchSpace:
    return SearchSpace.from_mapping(entries)


def family(**modules: Any) -> Family:
    def build(params: Mapping[str, Any], task: TaskSpec) -> nn.Module:
        made = nn.ModuleDict({name: make(params) for name, make in modules.items()})
        made["last"] = nn.Linear(6, 3)
        return made

    return Family("mine", build)


def test_each_name_gets_the_modules_it_sets() -> None:
    mine = family(
        first=lambda params: nn.Dropout(params["early"]),
        second=lambda params: nn.Sequential(nn.Dropout1d(params["late"]), nn.AlphaDropout(params["late"])),
        fixed=lambda params: nn.Dropout(0.5),
        other=lambda params: nn.Dropout(1 - params["keep"]),
    )
    names = ["early", "late", "keep"]
    found = bound_paths(mine, {"early": 0.5, "late": 0.5}, SPEC, space(**dict.fromkeys(names, RATE)), names)
    assert found == {"early": ["first"], "late": ["second.0", "second.1"]}  # 1 - keep is not keep


def test_a_module_that_has_a_names_value_by_chance_is_not_its_own() -> None:
    # Whatever the probing values are, a constant has one of them at most once.
    probed: list[float] = []
    mine = Family("mine", lambda params, task: probed.append(params["rate"]) or nn.Dropout(params["rate"]))  # type: ignore[func-returns-value]
    bound_paths(mine, {}, SPEC, space(rate=RATE), ["rate"])
    assert len(set(probed)) == 2
    for chance in probed:
        constant = family(fixed=lambda params, chance=chance: nn.Dropout(chance))
        assert bound_paths(constant, {}, SPEC, space(rate=RATE), ["rate"]) == {}


def test_names_on_the_same_coarse_grid_are_told_apart() -> None:
    names = [f"rate{number}" for number in range(12)]
    mine = family(**{f"drop{name}": lambda params, name=name: nn.Dropout(params[name]) for name in names})
    coarse = space(**{name: {**RATE, "high": 0.5, "step": 0.25} for name in names})
    assert bound_paths(mine, {}, SPEC, coarse, names) == {name: [f"drop{name}"] for name in names}


def test_ranges_of_other_widths_are_kept_to() -> None:
    seen: list[float] = []

    def build(params: Mapping[str, Any], task: TaskSpec) -> nn.Module:
        seen.append(params["rate"])
        return nn.Sequential(nn.Dropout(params["rate"]))

    narrow = space(rate={**RATE, "low": 1e-3, "high": 1e-2, "log": True})
    assert bound_paths(Family("mine", build), {}, SPEC, narrow, ["rate"]) == {"rate": ["0"]}
    assert all(1e-3 < rate < 1e-2 for rate in seen)


def test_whole_numbers_keep_their_value() -> None:
    def build(params: Mapping[str, Any], task: TaskSpec) -> nn.Module:
        assert params["layers"] == 3
        return nn.Sequential(*(nn.Dropout(params["rate"]) for _ in range(params["layers"])))

    both = space(rate=RATE, layers={"type": "int", "low": 1, "high": 9, "self_tune": True})
    found = bound_paths(Family("mine", build), {"layers": 3}, SPEC, both, ["layers", "rate"])
    assert found == {"rate": ["0", "1", "2"]}


@pytest.mark.parametrize(("name", "shape"), [("mlp", (6,)), ("phnn", (6,)), ("cnn", (1, 8, 8)), ("mlp", (1, 8, 8))])
def test_the_shipped_families_dropouts_are_found(name: str, shape: tuple[int, ...]) -> None:
    shipped: Family = registry.load("family", name)
    spec = TaskSpec("t", "classification", shape, 3)
    found = bound_paths(shipped, {}, spec, space(dropout=RATE), ["dropout"])
    dropouts = [
        path
        for path, module in build_model(shipped, {"dropout": 0.123}, spec).named_modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p == 0.123
    ]
    assert dropouts
    assert found == {"dropout": dropouts}


def test_torchs_random_state_is_left_alone() -> None:
    mine = family(first=lambda params: nn.Sequential(nn.Linear(6, 6), nn.Dropout(params["rate"])))
    before = torch.get_rng_state()
    assert bound_paths(mine, {}, SPEC, space(rate=RATE), ["rate"]) == {"rate": ["first.1"]}
    assert torch.equal(torch.get_rng_state(), before)


def test_a_family_that_does_not_build_is_named() -> None:
    with pytest.raises(FamilyError, match="does not build"):
        bound_paths(family(bad=lambda params: 1 / 0), {}, SPEC, space(rate=RATE), ["rate"])
