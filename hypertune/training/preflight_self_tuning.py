"""Try self-tuning a family on a task before any trial is spent on a combination that cannot work."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch

from hypertune.families.contract import Family
from hypertune.records import Params
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task
from hypertune.training.assembly import assemble
from hypertune.training.batches import first_batch
from hypertune.training.precision import Precision
from hypertune.training.self_tuning import SelfTuningLearner
from hypertune.training.settings import TrainingSettings

__all__ = ["check_self_tuning"]

_EXAMPLES = 4


def check_self_tuning(
    family: Family, task: Task, params: Params, settings: TrainingSettings, space: SearchSpace
) -> dict[str, str]:
    """Attach a best response to one configuration's model, and make a weight step and a tune step on the CPU.

    Torch's global random state is left as it was.

    Args:
        family: The model family.
        task: The task.
        params: The configuration.
        settings: ``self_tuning`` is set.
        space: The search space.

    Returns:
        Layers that stay plain, with the reason.

    Raises:
        SpaceError: A hyperparameter cannot be tuned inside a trial, or there is none.
        FamilyError: No layer of the model can respond, or one is called with the batch on another axis.
        TaskError: The validation split is too small to tune and select on.
    """
    with torch.random.fork_rng(devices=[]):
        device = torch.device("cpu")
        parts = assemble(
            params,
            0,
            family,
            task,
            replace(settings, dtype="float32"),
            device=device,
            precision=Precision("float32", device),
            space=space,
        )
        learner = parts.learner
        learner.module.train()
        x, y = first_batch(task.train, batch_size=_EXAMPLES)
        learner.step(x, y)
        if not isinstance(learner, SelfTuningLearner):
            return {}
        x, y = next(iter(itertools.islice(parts.val, 1)))
        learner.algorithm.tune_step(x[:_EXAMPLES], y[:_EXAMPLES])
        return dict(learner.algorithm.model.untreated)
