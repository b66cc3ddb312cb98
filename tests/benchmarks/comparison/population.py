"""Ray's population-based training: ten networks that share one process by turns."""

from __future__ import annotations

import copy
import logging
import math
import os
import random
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from comparison.tasks import TASKS, BenchmarkTask
from comparison.trajectory import Point, Trajectory
from hypertune.effects.pipeline import Effects
from hypertune.families.contract import build_model
from hypertune.ray import to_ray
from hypertune.records import Params
from hypertune.space import SearchSpace
from hypertune.training.batches import make_batches
from hypertune.training.evaluate import evaluate
from hypertune.training.hyperparameters import TrainingHyperparameters
from hypertune.training.learner import PlainLearner
from hypertune.training.optimizers import make_optimizer
from hypertune.training.precision import Precision
from hypertune.training.seeds import derive_seed, seed_everything

__all__ = ["Member", "population_based_training"]

_POPULATION = 10
_INTERVALS = 10
_LOST = 1e9  # what a member reports whose weights are not finite: worse than any loss, and a number to Ray
_EVALUATION_BATCH = 256
_HERE = Path(__file__).parent.parent


def population_based_training(benchmark: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    """Train a population that pays for the budget together; the incumbent is the best network at any epoch.

    Quantiles, resampling and factors are Ray's defaults, which are those of Jaderberg et al. 2017 (arXiv 1711.09846);
    a tenth of the training lies between two perturbations, and the population is the smallest of the paper. One member
    begins at the task's cautious start.
    """
    epochs = budget // _POPULATION
    interval = max(1, round(epochs / _INTERVALS))
    random.seed(seed)
    np.random.seed(seed)  # Ray draws its mutations from the global generators
    space = benchmark.space
    starts = [dict(benchmark.start), *space.sample(_POPULATION - 1, seed=1_000 + seed)]

    def explore(config: dict[str, Any]) -> dict[str, Any]:
        return {**config, "params": clipped(config["params"], space)}

    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="value",
        mode="min",
        perturbation_interval=1,
        hyperparam_mutations={"params": to_ray(space)},
        custom_explore_fn=explore,
        log_config=False,
        synch=True,
    )
    # Workers import this module by its name.
    path = os.pathsep.join(filter(None, (str(_HERE), os.environ.get("PYTHONPATH"))))
    quiet = {"PYTHONPATH": path, "RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    with patch.dict(os.environ, quiet):
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100_000_000,
        )
        try:
            recorder = _Recorder(Trajectory(budget))
            tuner = tune.Tuner(
                Member,
                param_space={
                    "params": tune.grid_search(starts),
                    "benchmark": benchmark.name,
                    "seed": seed,
                    "interval": interval,
                    "epochs": epochs,
                },
                tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
                run_config=tune.RunConfig(
                    storage_path=str(folder),
                    name="pbt",
                    stop={"training_iteration": math.ceil(epochs / interval)},
                    callbacks=[recorder],
                    verbose=0,
                    failure_config=tune.FailureConfig(fail_fast=True),
                ),
            )
            for error in tuner.fit().errors:
                raise error
        finally:
            ray.shutdown()
    return recorder.trajectory.finish()


def clipped(params: Params, space: SearchSpace) -> dict[str, Any]:
    """Return real hyperparameters with what lies outside its range moved to the range's end."""
    return {
        name: min(max(float(params[name]), distribution.low), distribution.high)  # type: ignore[arg-type, attr-defined]
        for name, distribution in space.distributions.items()
    }


class Member(tune.Trainable):
    """One network of the population; an iteration is the epochs between two perturbations."""

    def setup(self, config: Mapping[str, Any]) -> None:
        torch.set_num_threads(1)
        self.benchmark = TASKS[config["benchmark"]]
        self.task = self.benchmark.data(config["seed"])
        self.reset_config(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Become another member, untrained; Ray restores its checkpoint afterwards."""
        self.member = new_config
        params = {**self.benchmark.fixed, **new_config["params"]}
        # As in a trial of a search, each network starts from weights of its own.
        self.seed = zlib.crc32(repr((new_config["seed"], sorted(new_config["params"].items()))).encode())
        seed_everything(derive_seed(self.seed, "model"))
        self.model = build_model(self.benchmark.family, params, self.task.spec)
        self.hyperparameters = TrainingHyperparameters.from_params(
            params, self.task.spec, batch_size=self.benchmark.batch_size
        )
        self.optimizer = make_optimizer(self.model.parameters(), self.hyperparameters)
        self.best, self.done = math.inf, 0
        return True

    def step(self) -> dict[str, Any]:
        """Train for one interval; the test loss is that of the interval's best epoch by validation."""
        device = torch.device("cpu")
        precision = Precision("float32", device)
        seed = derive_seed(self.seed, f"epoch {self.done}")
        values = self.hyperparameters.effects
        learner = PlainLearner(
            self.model,
            self.task.loss,
            self.optimizer,
            effects=Effects(values, seed=derive_seed(seed, "augment"), device=device),
            values=values,
            precision=precision,
            grad_clip=None,
        )
        train = make_batches(
            self.task.train,
            batch_size=self.hyperparameters.batch_size,
            device=device,
            shuffle_seed=derive_seed(seed, "shuffle"),
            drop_single=True,
        )
        seed_everything(derive_seed(seed, "training"))
        epochs = min(self.member["interval"], self.member["epochs"] - self.done)
        value, best, best_weights = _LOST, self.best, None
        for _ in range(epochs):
            self.model.train()
            for x, y in train:
                learner.step(x, y)
            value = self._loss(self.task.val, precision)
            if not math.isfinite(value):
                value = _LOST
                break
            if value < best:
                best, best_weights = value, copy.deepcopy(self.model.state_dict())
        self.done += epochs
        result: dict[str, Any] = {"value": value, "epochs": epochs}
        if best_weights is not None:
            self.best = best
            last = copy.deepcopy(self.model.state_dict())
            self.model.load_state_dict(best_weights)
            result |= {"best_value": best, "best_test": self._loss(self.task.test, precision)}
            self.model.load_state_dict(last)
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "done": self.done,
        }
        torch.save(state, Path(checkpoint_dir) / "member.pt")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Take over weights and moments; the hyperparameters stay those of the config."""
        assert isinstance(checkpoint_dir, str)
        state = torch.load(Path(checkpoint_dir) / "member.pt")
        self.model.load_state_dict(state["model"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": groups})
        self.best, self.done = state["best"], state["done"]

    def _loss(self, split: Any, precision: Precision) -> float:
        batches = make_batches(split, batch_size=_EVALUATION_BATCH, device=torch.device("cpu"))
        return evaluate(self.model, batches, self.task, precision)["loss"]


class _Recorder(tune.Callback):
    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.trajectory.pay(result["epochs"], result.get("best_value"), result.get("best_test"))
