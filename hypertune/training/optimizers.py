"""Optimizer and learning-rate schedule of one trial."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from hypertune.errors import FamilyError
from hypertune.training.hyperparameters import TrainingHyperparameters

__all__ = ["make_optimizer", "make_schedule"]

_BETA2 = 0.999


def make_optimizer(weights: Iterable[nn.Parameter], hyperparameters: TrainingHyperparameters) -> Optimizer:
    """Return the optimizer of the weights that need a gradient.

    Args:
        weights: All parameters of a model; every one of them is decayed alike.
        hyperparameters: ``optimizer``, ``lr``, ``momentum`` and ``weight_decay`` are read.

    Raises:
        FamilyError: The model has nothing to train.
    """
    trainable = [weight for weight in weights if weight.requires_grad]
    if not trainable:
        raise FamilyError(
            "the model has no trainable parameter", where="family", fix="give it one with requires_grad=True"
        )
    lr, momentum, decay = hyperparameters.lr, hyperparameters.momentum, hyperparameters.weight_decay
    if hyperparameters.optimizer == "sgd":
        return SGD(trainable, lr=lr, momentum=momentum, weight_decay=decay)
    adam = Adam if hyperparameters.optimizer == "adam" else AdamW
    # One pass over all weights instead of a dozen; the fused form knows no complex weights.
    fused = all(weight.is_floating_point() and weight.device.type in {"cpu", "cuda"} for weight in trainable)
    return adam(trainable, lr=lr, betas=(momentum, _BETA2), weight_decay=decay, fused=fused or None)


def make_schedule(optimizer: Optimizer, hyperparameters: TrainingHyperparameters, *, epochs: int) -> LRScheduler:
    """Return the schedule that sets the next epoch's learning rate; call its ``step`` after each epoch.

    Args:
        optimizer: Whose learning rate is set.
        hyperparameters: ``lr_schedule`` is read.
        epochs: Length of the schedule, whether or not training stops early.
    """
    if hyperparameters.lr_schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=epochs)
    return LambdaLR(optimizer, lambda epoch: 1.0)
