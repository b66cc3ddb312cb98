"""The hyperparameters that the training loop reads from a trial's params; a family reads the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any

from hypertune.errors import TrialError, did_you_mean
from hypertune.records import Params, TaskSpec

__all__ = ["HYPERPARAMETERS", "TrainingHyperparameters"]

_IMAGE_ONLY = ("shift", "rotate", "scale", "erase")


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
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1); classification only.
        lr_schedule: ``constant``, or ``cosine``: epoch ``e`` of ``E`` trains with ``lr (1 + cos(pi e / E)) / 2``
            (Loshchilov, Hutter 2017, arXiv 1608.03983, equation 5, one cycle down to 0).
        input_noise: Standard deviation of Gaussian noise added to the inputs while training, at least 0.
        shift: Largest shift of an image along each axis, as a fraction of that side, in [0, 0.5].
        rotate: Largest rotation of an image in degrees, in [0, 180].
        scale: Largest relative zoom of an image, in [0, 0.9]: factors lie between ``1 / (1 + scale)`` and
            ``1 + scale``.
        erase: Side of one square erased from an image, as a fraction of its shorter side, in [0, 0.9].
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
    label_smoothing: float = _number(
        0.0, "share of the target spread evenly over all classes", 0.0, 1.0, without_high=True
    )
    lr_schedule: str = _choice("constant", "course of the learning rate over the epochs", "constant", "cosine")
    input_noise: float = _number(0.0, "standard deviation of Gaussian noise on the inputs while training")
    shift: float = _number(0.0, "largest shift of an image while training, as a fraction of its side", 0.0, 0.5)
    rotate: float = _number(0.0, "largest rotation of an image while training, in degrees", 0.0, 180.0)
    scale: float = _number(0.0, "largest relative zoom of an image while training", 0.0, 0.9)
    erase: float = _number(
        0.0, "side of one square erased from an image while training, as a fraction of the image's side", 0.0, 0.9
    )

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
        for entry in fields(cls):
            if entry.name in params:
                values[entry.name] = _checked(entry.name, params[entry.name], entry.metadata)
        made = cls(**values)
        made._check_task(spec)
        return made

    def _check_task(self, spec: TaskSpec) -> None:
        if self.label_smoothing and spec.kind != "classification":
            raise TrialError(
                "label smoothing needs classes",
                where="params.label_smoothing",
                given=self.label_smoothing,
                expected=f"0 for the {spec.kind} task {spec.name!r}",
                fix="remove label_smoothing from the space",
            )
        for name in _IMAGE_ONLY:
            if getattr(self, name) and len(spec.input_shape) != 3:
                raise TrialError(
                    "an augmentation of images, and the inputs are none",
                    where=f"params.{name}",
                    given=getattr(self, name),
                    expected=f"0 for inputs of shape {spec.input_shape}; images are (channels, height, width)",
                    fix=f"remove {name} from the space",
                )


HYPERPARAMETERS: Mapping[str, str] = MappingProxyType(
    {entry.name: entry.metadata["doc"] for entry in fields(TrainingHyperparameters)}
)
"""Each hyperparameter the training loop reads, with one line of documentation."""


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
