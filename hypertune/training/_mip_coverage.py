"""Which hyperparameters of a space a hypernetwork can condition on, and what they act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hypertune.effects.catalogue import effects
from hypertune.effects.pipeline import Effects
from hypertune.errors import SpaceError
from hypertune.families.contract import Family, build_model
from hypertune.hypernets.binding import ACTIONS, resolve_bindings
from hypertune.hypernets.hyperparameters import as_range
from hypertune.records import Params, TaskSpec
from hypertune.space import SearchSpace
from hypertune.training.family_binding import bound_paths
from hypertune.training.hyperparameters import HYPERPARAMETERS, check_tuned_effects

__all__ = ["Coverage", "find_coverage"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a hypernetwork conditions on.

    Attributes:
        space: The covered hyperparameters.
        uncovered: The space's other hyperparameters, with the reason.
        bind: What the covered ones act on, where their name does not tell.
        setting: A value for everything else: what the network is built from and its training has.
    """

    space: SearchSpace
    uncovered: Mapping[str, str]
    bind: Mapping[str, Any]
    setting: Params


def find_coverage(
    space: SearchSpace, family: Family, spec: TaskSpec, *, setting: Params, bind: Mapping[str, Any]
) -> Coverage:
    """Find the hyperparameters that change the training loss, and neither the network's shape nor the optimizer.

    Args:
        space: The search space.
        family: The model family.
        spec: The task.
        setting: Values by name that the others shall have; the middle of their ranges by default.
        bind: What hyperparameters act on, where that cannot be told.

    Raises:
        SpaceError: There is none, or one of ``bind`` is not in the space.
        FamilyError: The family does not build at the setting.
    """
    middle = space.decode([0.5] * len(space))
    setting = {**{n: v for n, v in setting.items() if n not in space.names}, **_active(space, {**middle, **setting})}
    uncovered = {name: reason for name, reason in ((n, _unsuited(space, n)) for n in space.names) if reason}
    if setting.get("optimizer") == "adamw" and "weight_decay" in space.names:
        uncovered.setdefault("weight_decay", "decoupled weight decay is no part of the loss")
    left = {name: as_range(space.distributions[name]) for name in space.names if name not in uncovered}
    known = {*HYPERPARAMETERS, *ACTIONS[1:], *bind}
    others = [name for name in left if name not in known]
    found: dict[str, Any] = {}
    if others:
        found = dict(bound_paths(family, setting, spec, SearchSpace({n: left[n] for n in others}), others))
    found |= {name: target for name, target in bind.items() if name in left}
    with torch.random.fork_rng(devices=[]):
        model = build_model(family, setting, spec)
    for name, known_range in left.items():
        try:
            check_tuned_effects(SearchSpace({name: known_range}, frozenset({name})), spec)
            own = {name: found[name]} if name in found else {}
            resolve_bindings(model, [name], bind=own, outside=Effects.known())
        except SpaceError as error:
            if name in bind:
                raise
            uncovered[name] = error.problem if name in effects() else _UNREAD
    names = [name for name in space.names if name not in uncovered]
    for name in bind:
        if name not in names:
            raise SpaceError(
                "bound to the model, but no hyperparameter that a hypernetwork can condition on",
                where=f"sampler.hypernetwork.bind.{name}",
                given=uncovered.get(name, "not in the space"),
            )
    if not names:
        raise SpaceError(
            "a hypernetwork has nothing to condition on",
            where="space",
            given="; ".join(f"{name}: {reason}" for name, reason in uncovered.items()),
            expected="a hyperparameter that changes the training loss, such as dropout, weight_decay or input_noise",
            fix="add one, or use sampler: gp",
        )
    return Coverage(
        SearchSpace({name: space.distributions[name] for name in names}),
        {name: uncovered[name] for name in space.names if name in uncovered},
        {name: target for name, target in found.items() if name in names},
        setting,
    )


_UNREAD = "it changes the network or how training proceeds, and not the loss that is trained"


def _active(space: SearchSpace, params: Params) -> dict[str, Any]:
    return space.active({name: params[name] for name in space.names})


def _unsuited(space: SearchSpace, name: str) -> str | None:
    if name in space.conditions:
        return "it exists only under a condition"
    choices = getattr(space.distributions[name], "choices", ())
    if not all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices):
        return "its choices are no numbers"
    if space.distributions[name].single():
        return "it has one value"
    return None
