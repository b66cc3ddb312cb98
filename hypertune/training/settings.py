"""Settings of the training loop: what all trials of a study have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from hypertune.errors import ConfigError, did_you_mean
from hypertune.records import Direction
from hypertune.training.self_tuning_settings import SelfTuningSettings

__all__ = ["DTYPES", "TrainingSettings"]

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How every trial of a study trains; what differs between trials is in the trial's params.

    Attributes:
        epochs: Largest number of passes over the training split, at least 1.
        batch_size: Examples in a batch, at least 1; the hyperparameter ``batch_size`` overrides it.
        device: ``auto``, or a torch device such as ``cpu``, ``cuda:1`` or ``mps``; see `devices.resolve_device`.
        dtype: ``float32``, ``bfloat16`` or ``float16``; the reduced ones are the autocast type of the forward pass,
            weights stay float32.
        patience: Epochs without a better study metric after which training stops; None: never.
        grad_clip: Largest global L2 norm of the gradient, above 0; None: not clipped.
        deterministic: Ask torch for deterministic algorithms.
        metric: The study metric, such as ``val/loss``; never one of the test split.
        direction: Whether the study metric is minimized or maximized.
        self_tuning: How trials tune themselves; None: they do not.
        reserve: Share of the validation split that has no part in any choice, in [0, 1); what is known of the winner
            then comes from there.
        state_seconds: Seconds after which the state of a running trial is written again; None: never.

    Raises:
        ConfigError: A value is out of range, or the metric belongs to the test split.
    """

    epochs: int = 20
    batch_size: int = 128
    device: str = "auto"
    dtype: str = "float32"
    patience: int | None = None
    grad_clip: float | None = None
    deterministic: bool = False
    metric: str = "val/loss"
    direction: Direction = "minimize"
    self_tuning: SelfTuningSettings | None = None
    state_seconds: float | None = None
    reserve: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            value = getattr(self, name)
            if name == "patience" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(
                    "not a count", where=f"trial.{name}", given=value, expected="a whole number of at least 1"
                )
        for name, what, low in (("grad_clip", "a norm", 0.0), ("state_seconds", "a time", -1e-9)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value > low):
                expected = "a finite number above 0, or null" if low == 0 else "a finite number of at least 0, or null"
                raise ConfigError(f"not {what}", where=f"trial.{name}", given=value, expected=expected)
        if isinstance(self.reserve, bool) or not isinstance(self.reserve, int | float) or not 0 <= self.reserve < 1:
            raise ConfigError("not a share", where="trial.reserve", given=self.reserve, expected="a number in [0, 1)")
        _check_choice("trial.dtype", self.dtype, DTYPES)
        _check_choice("study.direction", self.direction, get_args(Direction))
        if self.metric.startswith("test/"):
            raise ConfigError(
                "selecting on a test metric makes the test split a validation split",
                where="study.metric",
                given=self.metric,
                expected="a metric of the validation split",
                fix=f"use val/{self.metric.removeprefix('test/')}",
            )


def _check_choice(where: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"unknown {where.rpartition('.')[2]}",
            where=where,
            given=value,
            expected=f"one of {', '.join(choices)}",
            fix=did_you_mean(value, choices),
        )
