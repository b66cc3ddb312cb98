"""The hyperparameters that the training loop reads from a trial's params; a family reads the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from hypertune.effects.catalogue import effects
from hypertune.errors import SpaceError, TrialError, did_you_mean
from hypertune.records import Params, TaskSpec
from hypertune.space import SearchSpace

__all__ = ["HYPERPARAMETERS", "TrainingHyperparameters", "check_tuned_effects"]


def _number(
    default: float,
    doc: str,
    low: float = 0.0,
    high: float = math.inf,
    *,
    without_low: bool = False,
    without_high: bool = False,
) -> Any:
    bounds = {"low": low, "high": high, "without_low": without_low, "without_high": without_high}
    return field(default=default, metadata={"doc": doc, **bounds})


def _choice(default: str, doc: str, *choices: str) -> Any:
    return field(default=default, metadata={"doc": f"{doc}: {', '.join(choices)}", "choices": choices})


@dataclass(frozen=True, slots=True)
class TrainingHyperparameters:
    """Values of the training loop's hyperparameters in one trial.

    Attributes:
        lr: Learning rate, above 0.
        weight_decay: Weight decay of every parameter, at least 0. With ``adamw`` it is decoupled: each step takes
            ``lr * weight_decay * w`` off a weight ``w`` (Loshchilov, Hutter 2019, arXiv 1711.05101, algorithm 2). With
            ``sgd`` and ``adam`` it is an L2 penalty: ``weight_decay * w`` is added to the gradient.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        momentum: Decay rate of the running mean of gradients, in [0, 1): the momentum of ``sgd``, the first beta of
            ``adam`` and ``adamw``.
        batch_size: Examples in a batch, at least 1.
        lr_schedule: ``constant``, or ``cosine``: epoch ``e`` of ``E`` trains with ``lr (1 + cos(pi e / E)) / 2``
            (Loshchilov, Hutter 2017, arXiv 1608.03983, equation 5, one cycle down to 0).
        effects: Value of each hyperparameter that acts on inputs, targets or losses, such as ``input_noise``, ``shift``
            or ``label_smoothing``; only those that the trial's params have.
    """

    lr: float = _number(1e-3, "learning rate", without_low=True)
    weight_decay: float = _number(0.0, "weight decay: decoupled with adamw, an L2 penalty with sgd and adam")
    optimizer: str = _choice("adam", "optimizer", "sgd", "adam", "adamw")
    momentum: float = _number(
        0.9,
        "decay rate of the mean gradient: momentum of sgd, first beta of adam and adamw",
        0.0,
        1.0,
        without_high=True,
    )
    batch_size: int = field(default=128, metadata={"doc": "examples in a batch", "low": 1})
    lr_schedule: str = _choice("constant", "course of the learning rate over the epochs", "constant", "cosine")
    effects: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_params(cls, params: Params, spec: TaskSpec, *, batch_size: int) -> TrainingHyperparameters:
        """Read the hyperparameters out of a trial's params; names that are not of the training loop are left alone.

        Args:
            params: The trial's params.
            spec: The task they are meant for.
            batch_size: Batch size when the params have none.

        Raises:
            TrialError: A value has the wrong type, is out of range, or does not apply to the task.
        """
        values: dict[str, Any] = {"batch_size": batch_size}
        for entry in _own():
            if entry.name in params:
                values[entry.name] = _checked(entry.name, params[entry.name], entry.metadata)
        known = effects()
        acting = {name: _effect_value(name, params[name], spec) for name in known if name in params}
        return cls(**values, effects=acting)


def check_tuned_effects(space: SearchSpace, spec: TaskSpec) -> None:
    """Check that a task has a use for the effects that a space tunes inside a trial, over their whole ranges.

    Args:
        space: Its self-tuned hyperparameters are looked at; those that no effect reads are left alone.
        spec: The task.

    Raises:
        SpaceError: It has none, or a range reaches beyond what the effect is made for.
    """
    lowest, highest = space.decode([0.0] * len(space)), space.decode([1.0] * len(space))
    for name, effect in effects().items():
        if name not in space.self_tuned:
            continue
        problem = effect.problem(spec)
        if problem is not None:
            raise SpaceError(
                "the task has no use for it",
                where=f"space.{name}",
                expected=problem,
                fix=f"remove {name} from the space",
            )
        known = effect.hyperparameters[name]
        # A tuned value comes near the ends of its range and does not reach them.
        for value in (lowest[name], highest[name]):
            if isinstance(value, int | float) and not known.low <= value <= known.high:
                bounds = {"low": known.low, "high": known.high, "without_low": False, "without_high": False}
                raise SpaceError(
                    "tuning could reach values that are out of range",
                    where=f"space.{name}",
                    given=value,
                    expected=_range(bounds),
                    fix="narrow low..high",
                )


class _Documentation(Mapping[str, str]):
    """Live, because effects can be registered later."""

    def __getitem__(self, name: str) -> str:
        return self._texts()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts())

    def __len__(self) -> int:
        return len(self._texts())

    def _texts(self) -> dict[str, str]:
        own = {entry.name: str(entry.metadata["doc"]) for entry in _own()}
        return own | {name: effect.hyperparameters[name].doc for name, effect in effects().items()}


HYPERPARAMETERS: Mapping[str, str] = _Documentation()
"""Each hyperparameter the training loop reads, with one line of documentation."""


def _own() -> list[Any]:
    return [entry for entry in fields(TrainingHyperparameters) if entry.metadata]


def _effect_value(name: str, value: object, spec: TaskSpec) -> float:
    effect = effects()[name]
    known = effect.hyperparameters[name]
    bounds = {"low": known.low, "high": known.high, "without_low": False, "without_high": known.without_high}
    number = _checked(name, value, bounds)
    assert isinstance(number, int | float)
    problem = effect.problem(spec) if number != known.default else None
    if problem is not None:
        raise TrialError(
            "the task has no use for it",
            where=f"params.{name}",
            given=value,
            expected=problem,
            fix=f"remove {name} from the space",
        )
    return float(number)


def _checked(name: str, value: object, metadata: Mapping[str, Any]) -> float | int | str:
    if "choices" in metadata:
        choices = metadata["choices"]
        if not isinstance(value, str) or value not in choices:
            raise TrialError(
                f"unknown {name}",
                where=f"params.{name}",
                given=value,
                expected=f"one of {', '.join(choices)}",
                fix=did_you_mean(value, choices),
            )
        return value
    if name == "batch_size":
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise TrialError(
                "not a batch size", where=f"params.{name}", given=value, expected="a whole number of at least 1"
            )
        return int(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not _inside(float(value), metadata):
        raise TrialError("out of range", where=f"params.{name}", given=value, expected=_range(metadata))
    return float(value)


def _inside(value: float, bounds: Mapping[str, Any]) -> bool:
    if not math.isfinite(value):
        return False
    above = value > bounds["low"] if bounds["without_low"] else value >= bounds["low"]
    below = value < bounds["high"] if bounds["without_high"] else value <= bounds["high"]
    return bool(above and below)


def _range(bounds: Mapping[str, Any]) -> str:
    low, high = bounds["low"], bounds["high"]
    if high == math.inf:
        return f"a finite number {'above' if bounds['without_low'] else 'of at least'} {low:g}"
    return f"a number in [{low:g}, {high:g}{')' if bounds['without_high'] else ']'}"
