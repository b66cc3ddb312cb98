"""Frozen records that cross rooms; plain data, no behaviour beyond what the data implies.

A trial's way through the house: `Assignment` (driver to worker), `Report` and `TrialResult` (worker to driver),
`Event` (driver to its listeners), `TrialRecord` (store to report). `Certificate`: what is known of a winner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = [
    "EXAMPLES",
    "HYPERNETWORK",
    "PREDICTED",
    "STANDARD_ERROR",
    "TRIAL_STATE",
    "TUNED",
    "Assignment",
    "Certificate",
    "Cost",
    "Event",
    "Failed",
    "Finished",
    "ParamValue",
    "Params",
    "Pruned",
    "Report",
    "Reported",
    "Started",
    "StudyClosed",
    "StudyInfo",
    "StudyOpened",
    "TaskSpec",
    "TrialRecord",
    "TrialResult",
]

TRIAL_STATE = "state.pt"
"""File in a trial's folder with the state that an interrupted trial continues from."""

TUNED = "hypertune:tuned"
"""User attribute of an Optuna trial: where in-trial tuning ended, by name; how samplers learn of it."""

EXAMPLES = "examples"
"""Final metric of a split, such as ``val/examples``: how many examples its means were taken over."""

STANDARD_ERROR = "_standard_error"
"""End of a final metric's name, such as ``val/loss_standard_error``: standard error of that mean over the examples."""

PREDICTED = "hypertune:predicted"
"""User attribute of an Optuna trial: what a hypernetwork predicts for it, in the units of the task's loss."""

HYPERNETWORK = "hypertune:hypernetwork"
"""User attribute of an Optuna study: cost and names of the hypernetwork that it paid for."""

ParamValue: TypeAlias = bool | int | float | str | None
Params: TypeAlias = Mapping[str, ParamValue]
Direction: TypeAlias = Literal["minimize", "maximize"]
TaskKind: TypeAlias = Literal["classification", "regression"]
InputType: TypeAlias = Literal["float32", "complex64"]
TrialState: TypeAlias = Literal["running", "complete", "pruned", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What a model family has to know of a task to build a network for it.

    Attributes:
        name: The task's name.
        kind: ``classification`` (integer class targets) or ``regression`` (float targets).
        input_shape: Shape of one example without the batch dimension: ``(features,)``, ``(channels, length)``,
            ``(channels, height, width)`` or ``(channels, depth, height, width)``.
        output_size: Number of classes, or number of regression targets.
        dtype: Data type of the inputs: ``float32``, or ``complex64`` for spectra and baseband signals.
    """

    name: str
    kind: TaskKind
    input_shape: tuple[int, ...]
    output_size: int
    dtype: InputType = "float32"


@dataclass(frozen=True, slots=True)
class Assignment:
    """One trial as the driver hands it to a worker.

    Attributes:
        number: Trial number inside the study, from 0.
        params: Hyperparameter values to start from.
        seed: Seed of everything random inside the trial.
        folder: Folder that belongs to this trial alone.
        retry_of: The interrupted trial that this one repeats.
    """

    number: int
    params: Params
    seed: int
    folder: str
    retry_of: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One intermediate report of a running trial.

    Attributes:
        step: Step axis of every series, usually the epoch, from 0.
        metrics: Metric values at this step.
        tuned: Current value of each self-tuned hyperparameter.
    """

    step: int
    metrics: Mapping[str, float]
    tuned: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a trial cost.

    Attributes:
        epochs: Passes over the training data.
        gradient_steps: Optimizer steps.
        seconds: Wall-clock seconds.
    """

    epochs: int = 0
    gradient_steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What a finished trial returns.

    Attributes:
        value: The value the study minimizes or maximizes.
        metrics: Final metrics, test metrics included; never seen by the sampler.
        tuned: Final value of each self-tuned hyperparameter.
        cost: What the trial cost.
        checkpoint: Path of the best epoch's weights, when the trial wrote any.
    """

    value: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    tuned: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class StudyInfo:
    """What is known of a study before its first trial; ``tags`` are free-form text."""

    name: str
    direction: Direction
    metric: str
    n_trials: int | None
    folder: str
    tags: Mapping[str, str] = field(default_factory=dict)


# Times are Unix seconds, taken by the driver.


@dataclass(frozen=True, slots=True)
class StudyOpened:
    """A driver began to work on the study, for the first time or on resume."""

    time: float
    info: StudyInfo


@dataclass(frozen=True, slots=True)
class Started:
    """A trial was handed to a worker; ``retry_of`` is the interrupted trial it repeats."""

    number: int
    time: float
    params: Params
    seed: int
    worker: str = ""
    retry_of: int | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """A running trial reported."""

    number: int
    time: float
    report: Report


@dataclass(frozen=True, slots=True)
class Finished:
    """A trial ran to its end and returned a value."""

    number: int
    time: float
    result: TrialResult


@dataclass(frozen=True, slots=True)
class Pruned:
    """A trial was stopped early because it could not win, or because it diverged.

    ``tuned`` has the last reported value of each self-tuned hyperparameter.
    """

    number: int
    time: float
    reason: str
    cost: Cost = field(default_factory=Cost)
    tuned: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A trial ended without a value; an interrupted one is queued again with the same parameters."""

    number: int
    time: float
    reason: str
    traceback: str = ""
    interrupted: bool = False
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True)
class StudyClosed:
    """The driver stopped; ``result`` is the content of result.json, ``best`` the winning trial's number."""

    time: float
    finished: bool
    best: int | None
    result: Mapping[str, Any]


Event: TypeAlias = StudyOpened | Started | Reported | Finished | Pruned | Failed | StudyClosed
Listener: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One trial as the store knows it."""

    number: int
    state: TrialState
    params: Params
    value: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    tuned: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    seed: int | None = None
    retry_of: int | None = None
    reason: str = ""
    checkpoint: str | None = None
    time_start: float | None = None
    time_end: float | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A lower bound on a mean over tasks that were not seen; it holds with probability at least ``1 - delta``.

    The probability is over the draw of the observations, before they are seen. Certificates of several kinds for the
    same winner do not hold together with that probability: to use the best of k, compute each at ``delta / k``.

    Attributes:
        kind: Name of the inequality, such as ``betting``.
        target: What is bounded, in words.
        value: The lower bound, inside the range that the target has anyway.
        estimate: Mean of the target over the observations.
        margin: Width of the inequality, in the units of the target and not cut to its range: with the worst-case
            bounds it can be far above 1.
        delta: Probability that the bound is wrong, in (0, 1).
        n: Number of independent observations: tasks, or the validation examples of a study of one task.
        candidates: Number of candidates the winner was chosen from, for which the bound pays.
        vacuous: The bound says no more than the range of the target.
        anytime: The bound also holds when the observations decided when to stop.
        assumptions: What has to be true, each in words; no data can check them.
        source: Paper and equation.
    """

    kind: str
    target: str
    value: float
    estimate: float
    margin: float
    delta: float
    n: int
    candidates: int = 1
    vacuous: bool = False
    anytime: bool = False
    assumptions: tuple[str, ...] = ()
    source: str = ""
