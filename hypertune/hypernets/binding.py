"""Which hyperparameter acts on which part of a model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import nn

from hypertune.auxiliary_loss import AuxiliaryLoss
from hypertune.errors import SpaceError, did_you_mean
from hypertune.hypernets.dropout import is_dropout

__all__ = ["ACTIONS", "Bindings", "Target", "resolve_bindings"]

Target: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]]
"""Path patterns of dropout modules or auxiliary losses, or ``{action: path patterns}`` with one of `ACTIONS`."""

ACTIONS = ("dropout", "weight_decay", "weight_noise", "activation_penalty", "auxiliary_loss")
"""What a hyperparameter can do inside a model."""

_SET = {"dropout": "dropout module", "auxiliary_loss": "auxiliary loss"}
"""Actions whose modules have one rate or weight, which one hyperparameter sets."""

_UNTUNABLE = dict.fromkeys(
    ("lr", "learning_rate", "momentum", "optimizer", "batch_size", "lr_schedule", "beta1", "beta2", "epochs"),
    "it changes how training proceeds and not the loss that is trained, so the best weights do not depend on it",
)


@dataclass(frozen=True, slots=True)
class Bindings:
    """What each hyperparameter does inside one model.

    Attributes:
        paths: For each action, hyperparameter -> paths of the modules it acts on.
        outside: Hyperparameters that act outside the model: on inputs, targets or losses.
    """

    paths: Mapping[str, Mapping[str, tuple[str, ...]]]
    outside: tuple[str, ...]

    @property
    def inside(self) -> tuple[str, ...]:
        """Hyperparameters that act inside the model."""
        return tuple(dict.fromkeys(name for action in ACTIONS for name in self.paths[action]))


def resolve_bindings(
    model: nn.Module, names: Iterable[str], *, bind: Mapping[str, Target], outside: Collection[str]
) -> Bindings:
    """Find out what each hyperparameter acts on.

    A name in ``bind`` acts on what is said there. Else ``weight_decay``, ``weight_noise`` and ``activation_penalty``
    act on the whole model, ``dropout`` on every dropout module and ``auxiliary_loss`` on every `AuxiliaryLoss` that
    nothing else is bound to, and the path of such a module on that module.

    Args:
        model: The plain model.
        names: The hyperparameters to tune.
        bind: Targets by name.
        outside: Names that are known to act outside the model.

    Raises:
        SpaceError: A name acts on nothing, or two names act on one dropout module or auxiliary loss.
    """
    names = list(names)
    for name in bind:
        if name not in names:
            raise SpaceError(
                "bound to the model but not tuned",
                where=f"self_tuning.bind.{name}",
                expected=f"one of {', '.join(names)}",
                fix=did_you_mean(name, names),
            )
    modules = dict(model.named_modules())
    owners = [path for path, module in modules.items() if next(module.parameters(recurse=False), None) is not None]
    candidates = dict.fromkeys(ACTIONS, owners) | {
        "dropout": [path for path, module in modules.items() if is_dropout(module)],
        "auxiliary_loss": [path for path, module in modules.items() if isinstance(module, AuxiliaryLoss)],
    }
    paths: dict[str, dict[str, tuple[str, ...]]] = {action: {} for action in ACTIONS}
    for name in names:
        for action, patterns in _asked(name, bind, candidates, outside):
            found = _matching(candidates[action], patterns)
            if name == action and name in _SET and name not in bind:
                others = {other for other in names if other != name}
                taken = {path for other, bound in paths[action].items() for path in bound if other != name}
                for target in bind.values():
                    taken.update(_matching(candidates[action], dict(_targets(target, candidates)).get(action, ())))
                found = tuple(path for path in found if path not in taken and path not in others)
            if not found:
                raise _unread(name, patterns, action, candidates[action])
            paths[action][name] = found
    for action, what in _SET.items():
        _check_disjoint(paths[action], what)
    inside = {name for action in ACTIONS for name in paths[action]}
    return Bindings(paths, tuple(name for name in names if name not in inside))


def _asked(
    name: str, bind: Mapping[str, Target], candidates: Mapping[str, Sequence[str]], outside: Collection[str]
) -> list[tuple[str, tuple[str, ...]]]:
    if name in bind:
        asked = _targets(bind[name], candidates)
        for action, _ in asked:
            if action not in ACTIONS:
                raise SpaceError(
                    "no such action on a model",
                    where=f"self_tuning.bind.{name}.{action}",
                    expected=f"one of {', '.join(ACTIONS)}",
                    fix=did_you_mean(action, ACTIONS),
                )
        return asked
    if name in ACTIONS:
        return [(name, ("*",))]
    for action in _SET:
        if name in candidates[action]:
            return [(action, (name,))]
    if name in outside:
        return []
    if name in _UNTUNABLE:
        raise SpaceError(
            f"cannot be tuned inside a trial: {_UNTUNABLE[name]}",
            where=f"space.{name}.self_tune",
            fix="remove `self_tune`; the sampler searches it over trials",
        )
    raise _unread(name, (), "dropout", candidates["dropout"])


def _patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _targets(target: Target, candidates: Mapping[str, Sequence[str]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return ``(action, path patterns)``; paths alone mean the dropout modules there, or else the auxiliary losses."""
    if isinstance(target, Mapping):
        return [(action, _patterns(patterns)) for action, patterns in target.items()]
    patterns = _patterns(target)
    found = [action for action in _SET if _matching(candidates[action], patterns)]
    return [(action, patterns) for action in found] or [("dropout", patterns)]


def _matching(paths: Iterable[str], patterns: Iterable[str]) -> tuple[str, ...]:
    patterns = tuple(patterns)
    return tuple(path for path in paths if any(fnmatchcase(path, pattern) for pattern in patterns))


def _check_disjoint(bound: Mapping[str, tuple[str, ...]], what: str) -> None:
    owner: dict[str, str] = {}
    for name, paths in bound.items():
        for path in paths:
            if path in owner:
                raise SpaceError(
                    f"two hyperparameters set one {what}, {path!r}",
                    where=f"self_tuning.bind.{name}",
                    given=f"{owner[path]}, {name}",
                    fix=f"bind each {what} to one hyperparameter",
                )
            owner[path] = name


def _unread(name: str, patterns: Sequence[str], action: str, candidates: Sequence[str]) -> SpaceError:
    plural = {"dropout": "dropout modules", "auxiliary_loss": "auxiliary losses"}
    what = plural.get(action, "modules with parameters")
    there = ", ".join(candidates[:8]) + (", ..." if len(candidates) > 8 else "")
    return SpaceError(
        "the model does not read it, so it cannot be tuned inside a trial",
        where=f"space.{name}.self_tune",
        given=f"patterns {', '.join(patterns)}" if patterns else name,
        expected=f"{what} it acts on; the model has {there or 'none'}",
        fix=(
            f"bind it to module paths: bind={{{name!r}: ['...']}}, use nn.Dropout modules in place of "
            "functional.dropout, or remove `self_tune`"
        ),
    )
