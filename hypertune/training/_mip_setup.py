"""What the training of a hypernetwork needs, put together and checked before any pass is made."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypertune.effects.pipeline import Effects
from hypertune.families.contract import Family, build_model
from hypertune.hypernets.mip import MIPHypernetwork
from hypertune.records import Params
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task
from hypertune.training._mip_coverage import find_coverage
from hypertune.training._mip_file import identity_of
from hypertune.training._mip_predictor import MIPPredictor
from hypertune.training._mip_settings import HypernetworkSettings
from hypertune.training.devices import resolve_device
from hypertune.training.hyperparameters import TrainingHyperparameters
from hypertune.training.seeds import derive_seed, seed_everything
from hypertune.training.settings import TrainingSettings
from hypertune.training.tuning_split import reserve_validation

__all__ = ["Setup"]


class Setup:
    """The parts of a hypernetwork's training. Making one draws from the global random streams.

    Args:
        family: The model family.
        task: The task.
        space: The search space.
        settings: What trials have in common.
        options: How to build and train the hypernetwork.
        setting: Values of hyperparameters that are not covered.
        seed: Seed of the initial weights and of everything random afterwards.

    Attributes:
        task: The task without the reserved part of its validation split.
        coverage: What is covered.
        hyperparameters: The training loop's, at the setting.
        identity: What a saved hypernetwork must agree on.

    Raises:
        HypertuneError: See `train_hypernetwork`.
    """

    def __init__(
        self,
        family: Family,
        task: Task,
        space: SearchSpace,
        settings: TrainingSettings,
        options: HypernetworkSettings,
        setting: Params,
        seed: int,
    ) -> None:
        if settings.reserve:
            # What certifies the winner has no part in any choice, and ranking configurations is one.
            _, selecting = reserve_validation(task, settings.reserve)
            task = replace(task, val=selecting)
        self.family, self.task, self.settings, self.options, self.seed = family, task, settings, options, seed
        self.device = resolve_device(settings.device)
        self.coverage = find_coverage(space, family, task.spec, setting=setting, bind=options.bind)
        self.hyperparameters = TrainingHyperparameters.from_params(
            self.coverage.setting, task.spec, batch_size=settings.batch_size
        )
        seed_everything(derive_seed(seed, "model"))
        model = build_model(family, self.coverage.setting, task.spec).to(self.device)
        covered = self.coverage.space
        self._network = MIPHypernetwork(
            model,
            covered,
            constants=self._decay(),
            outside=Effects.known(),
            bind=self.coverage.bind,
            **options.network(),
        )
        network = options.network() | {"head": self._network.head, "hidden": self._network.hidden}
        del network["max_parameters"]
        fixed = {name: value for name, value in self.coverage.setting.items() if name not in covered.names}
        self.identity = identity_of(space, family.name, model, task, fixed, network)

    @property
    def constants(self) -> dict[str, float]:
        """Values of effects that are not covered."""
        covered = self.coverage.space.names
        return {name: value for name, value in self.hyperparameters.effects.items() if name not in covered}

    def network(self) -> MIPHypernetwork:
        """Return a hypernetwork with its initial weights."""
        return copy.deepcopy(self._network)

    def predictor(
        self, networks: Sequence[MIPHypernetwork], *, epochs: float, seconds: float, spearman: float | None
    ) -> MIPPredictor:
        """Return the predictor of trained networks."""
        return MIPPredictor(
            networks,
            self.family,
            self.task,
            self.coverage,
            identity=self.identity,
            epochs=epochs,
            seconds=seconds,
            spearman=spearman,
            device=self.device,
        )

    def state_identity(self) -> dict[str, Any]:
        """Return what the state of a training must agree on to be continued, beside `identity`."""
        options = self.options
        names = ("draws", "lr", "grad_clip", "snapshots", "region_share", "checks", "target", "patience")
        return self.identity | {
            "training": {name: getattr(options, name) for name in names}
            | {"passes": options.passes(self.settings), "seed": self.seed}
        }

    def _decay(self) -> dict[str, float]:
        """Return a weight decay that is not covered and a part of the loss."""
        values = self.hyperparameters
        if "weight_decay" in self.coverage.space.names or values.optimizer == "adamw" or not values.weight_decay:
            return {}
        return {"weight_decay": values.weight_decay}
