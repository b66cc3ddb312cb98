"""Put one trial together: model, learner, and the batches it trains, tunes and selects on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from hypertune.effects.catalogue import hyperparameters as hyperparameters_of_effects
from hypertune.effects.pipeline import Effects
from hypertune.errors import SpaceError, TrialError
from hypertune.families.contract import Family, build_model
from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.binding import ACTIONS, Target
from hypertune.hypernets.contract import BestResponse, TuningOptions
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.hypernets.stn import STN
from hypertune.records import Params, TaskSpec
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Split, Task
from hypertune.training.batches import Batch, make_batches
from hypertune.training.family_binding import bound_paths
from hypertune.training.hyperparameters import HYPERPARAMETERS, TrainingHyperparameters, check_tuned_effects
from hypertune.training.learner import Learner, PlainLearner
from hypertune.training.optimizers import make_optimizer, make_schedule
from hypertune.training.precision import Precision
from hypertune.training.replay import ReplayLearner
from hypertune.training.schedule import Schedule
from hypertune.training.seeds import derive_seed, seed_everything
from hypertune.training.self_tuning import SelfTuningLearner
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings
from hypertune.training.tuning_split import reserve_validation, split_validation

__all__ = ["EVALUATION_BATCH", "Assembly", "assemble"]

EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of one trial.

    Attributes:
        model: The plain model, as the family built it; the learner trains it or a copy.
        learner: Makes the steps.
        schedules: Learning-rate schedules, one step each after every epoch.
        train: Batches to train on.
        val: Batches to select on.
        evaluation_batch: Examples in a batch of an evaluation.
        schedule: Values of self-tuned hyperparameters by step; None when none is tuned.
        reserved: The part of the validation split that has no part in any choice; None: nothing is reserved.
        untreated: Layers of a self-tuning trial's model that stay plain, with the reason.
    """

    model: nn.Module
    learner: Learner
    schedules: tuple[LRScheduler, ...]
    train: Iterable[Batch]
    val: Iterable[Batch]
    evaluation_batch: int
    schedule: Schedule | None
    untreated: Mapping[str, str] = field(default_factory=dict)
    reserved: Split | None = None


def assemble(
    params: Params,
    seed: int,
    family: Family,
    task: Task,
    settings: TrainingSettings,
    *,
    device: torch.device,
    precision: Precision,
    space: SearchSpace | None = None,
) -> Assembly:
    """Build a trial's parts.

    Args:
        params: The configuration; values of self-tuned hyperparameters are where they start.
        seed: The trial's seed.
        family: The model family.
        task: Data and loss.
        settings: What all trials have in common.
        device: Where the trial computes.
        precision: Precision of its steps.
        space: The search space; its self-tuned hyperparameters are tuned when ``settings.self_tuning`` is set.

    Raises:
        TrialError: A hyperparameter is out of range.
        SpaceError: A hyperparameter cannot be tuned inside a trial, or there is none.
        FamilyError: The model does not build, or cannot respond.
        TaskError: The validation split is too small to tune and select on.
    """
    reserved: Split | None = None
    if settings.reserve:
        reserved, selecting = reserve_validation(task, settings.reserve)
        task = replace(task, val=selecting)
    tuning = settings.self_tuning
    hyperparameters = TrainingHyperparameters.from_params(params, task.spec, batch_size=settings.batch_size)
    seed_everything(derive_seed(seed, "model"))
    model = build_model(family, params, task.spec).to(device)
    batch_size = hyperparameters.batch_size
    evaluation_batch = max(batch_size, EVALUATION_BATCH)
    train = make_batches(
        task.train,
        batch_size=batch_size,
        device=device,
        shuffle_seed=derive_seed(seed, "shuffle"),
        drop_single=True,
    )
    if tuning is None:
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = make_optimizer(weights, hyperparameters)
        acting = _acting(hyperparameters.effects)
        plain = PlainLearner(
            model,
            task.loss,
            optimizer,
            effects=Effects(acting, seed=derive_seed(seed, "augment"), device=device),
            values=acting,
            precision=precision,
            grad_clip=settings.grad_clip,
        )
        val = make_batches(task.val, batch_size=evaluation_batch, device=device)
        schedules = _schedules((optimizer,), hyperparameters, settings)
        return Assembly(model, plain, schedules, train, val, evaluation_batch, None, reserved=reserved)

    space = space and space.given(params)
    if space is None or not space.self_tuned:
        raise SpaceError(
            "nothing to tune inside a trial",
            where="space",
            given=", ".join(space.names) if space is not None else "no space",
            expected="at least one hyperparameter with `self_tune: true`",
            fix="mark one that every configuration has, or set trial.self_tuning: false",
        )
    if tuning.replay is not None:
        schedule = Schedule.load(tuning.replay)
        space = _narrowed(space, schedule.names)
        params = {**params, **{name: schedule.at(0)[name] for name in schedule.names}}
    check_tuned_effects(space, task.spec)
    responding = _attached(model, family, params, task.spec, space, tuning)
    tuned = responding.hyperparameters.names
    hyperparameters = _without_tuned_decay(hyperparameters, tuned)
    constants = _acting({name: value for name, value in hyperparameters.effects.items() if name not in tuned})
    effects = Effects([*constants, *responding.bindings.outside], seed=derive_seed(seed, "augment"), device=device)
    tune_split, selection_split = split_validation(task, tuning.tuning_fraction)
    val = make_batches(selection_split, batch_size=evaluation_batch, device=device)
    if tuning.replay is not None:
        optimizer = make_optimizer(responding.general_parameters(), hyperparameters)
        replay = ReplayLearner(
            responding,
            task.loss,
            optimizer,
            schedule,
            effects=effects,
            constants=constants,
            precision=precision,
            grad_clip=settings.grad_clip,
        )
        schedules = _schedules((optimizer,), hyperparameters, settings)
        return Assembly(model, replay, schedules, train, val, evaluation_batch, schedule, reserved=reserved)

    response = replace(hyperparameters, lr=hyperparameters.lr * tuning.response_lr, weight_decay=0.0)
    kind = STN if tuning.algorithm == "stn" else partial(DeltaSTN, linearize=tuning.linearize)
    algorithm: BestResponse = kind(
        responding,
        task.loss,
        weights=partial(make_optimizer, hyperparameters=hyperparameters),
        response=partial(make_optimizer, hyperparameters=response),
        effects=effects,
        constants=constants,
        options=TuningOptions(
            lr=tuning.lr,
            tune_scale=tuning.tune_scale,
            entropy=tuning.entropy,
            clip=tuning.clip,
            per_example=tuning.per_example,
            antithetic=tuning.antithetic,
            grad_clip=settings.grad_clip,
        ),
        precision=precision,
        seed=derive_seed(seed, "perturbation"),
    )
    tune = make_batches(
        tune_split,
        batch_size=batch_size,
        device=device,
        shuffle_seed=derive_seed(seed, "tuning"),
        drop_single=True,
    )
    schedule = Schedule(tuned)
    learner = SelfTuningLearner(algorithm, tune, tuning, epochs=settings.epochs, schedule=schedule)
    schedules = _schedules(learner.optimizers, hyperparameters, settings)
    return Assembly(
        model, learner, schedules, train, val, evaluation_batch, schedule, responding.untreated, reserved=reserved
    )


def _attached(
    model: nn.Module, family: Family, params: Params, spec: TaskSpec, space: SearchSpace, tuning: SelfTuningSettings
) -> ResponseModel:
    names = [name for name in space.names if name in space.self_tuned]
    # What the training loop reads acts outside the model, but for the decay of its weights.
    known = {*HYPERPARAMETERS, *ACTIONS[1:], *tuning.bind}
    bound: dict[str, Target] = dict(
        bound_paths(family, params, spec, space, [name for name in names if name not in known])
    )
    return attach(
        model,
        space,
        {name: params[name] for name in names},
        outside=Effects.known(),
        bind={**bound, **{name: target for name, target in tuning.bind.items() if name in names}},
        rank=tuning.rank,
        include=tuning.include,
        exclude=tuning.exclude,
        batch_axes=dict(tuning.batch_axes),
        scale=tuning.scale,
    )


def _without_tuned_decay(hyperparameters: TrainingHyperparameters, tuned: tuple[str, ...]) -> TrainingHyperparameters:
    if "weight_decay" not in tuned:
        return hyperparameters
    if hyperparameters.optimizer == "adamw":
        raise TrialError(
            "decoupled weight decay is no part of the loss, so it cannot be tuned inside a trial",
            where="params.optimizer",
            given="adamw",
            expected="adam or sgd, whose weight decay is an L2 penalty",
            fix="leave adamw out of the space, or remove `self_tune` from weight_decay",
        )
    return replace(hyperparameters, weight_decay=0.0)


def _acting(values: Mapping[str, float]) -> dict[str, float]:
    """Leave out the effects that do nothing; no other effect's draws depend on them."""
    known = hyperparameters_of_effects()
    return {name: value for name, value in values.items() if value != known[name].default}


def _narrowed(space: SearchSpace, names: tuple[str, ...]) -> SearchSpace:
    for name in names:
        if name not in space.self_tuned:
            raise SpaceError(
                "in the schedule, and not self-tuned in the space",
                where=f"space.{name}",
                fix="replay with the space of the trial that made the schedule",
            )
    return SearchSpace({name: space.distributions[name] for name in names}, frozenset(names))


def _schedules(
    optimizers: tuple[Optimizer, ...], hyperparameters: TrainingHyperparameters, settings: TrainingSettings
) -> tuple[LRScheduler, ...]:
    return tuple(make_schedule(optimizer, hyperparameters, epochs=settings.epochs) for optimizer in optimizers)
