"""What a model family is, and how a model is built from one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from hypertune.errors import FamilyError, HypertuneError
from hypertune.records import Params, TaskSpec

__all__ = ["Family", "as_family", "build_model"]


@dataclass(frozen=True, slots=True)
class Family:
    """A model family.

    Attributes:
        name: Name in configs, reports and tags.
        build: ``build(params, task) -> nn.Module``; reads only `hyperparameters` and has a default for each.
        hyperparameters: Each hyperparameter `build` reads, with one line of documentation; None when unknown, as it
            is for a user's plain function.
        default_space: Shipped search space to use when a config names none.
        reference: The paper the family follows.
    """

    name: str
    build: Callable[[Params, TaskSpec], nn.Module]
    hyperparameters: Mapping[str, str] | None = None
    default_space: str | None = None
    reference: str = ""


def as_family(candidate: Any, *, name: str) -> Family:
    """Return ``candidate`` as a `Family`: it is one already, or it is a user's ``build(params, task)``.

    Raises:
        FamilyError: It is neither.
    """
    if isinstance(candidate, Family):
        return candidate
    if isinstance(candidate, nn.Module) or not callable(candidate):
        raise FamilyError(
            "not a model family",
            where="family",
            given=candidate,
            expected="a Family or a function build(params, task) -> nn.Module",
            fix=f"make {name!r} such a function",
        )
    return Family(name=name, build=candidate)


def build_model(family: Family, params: Params, task: TaskSpec) -> nn.Module:
    """Build the model of one configuration.

    Raises:
        FamilyError: The builder raises, or returns something that is not an ``nn.Module``.
    """
    try:
        model = family.build(params, task)
    except HypertuneError:
        raise
    except Exception as error:
        raise FamilyError(
            f"family {family.name!r} does not build: {type(error).__name__}: {error}",
            where="family",
            given=dict(params),
            fix="make build(params, task) accept every point of the space, or narrow the space",
        ) from error
    if not isinstance(model, nn.Module):
        raise FamilyError(
            f"family {family.name!r} builds no module",
            where="family",
            given=model,
            expected="build(params, task) to return a torch.nn.Module",
            fix="return the model",
        )
    return model
