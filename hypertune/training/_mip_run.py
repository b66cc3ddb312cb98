"""The training of a hypernetwork from start to end: passes, progress, comparisons with real trials, kept states."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from hypertune.errors import HypertuneError, SpaceError, TrialError
from hypertune.training._mip_calibration import Calibration
from hypertune.training._mip_loop import HypernetworkLoop, Region
from hypertune.training._mip_predictor import MIPPredictor
from hypertune.training._mip_setup import Setup
from hypertune.training.seeds import derive_seed, seed_everything
from hypertune.training.trial_state import load_state, random_state, save_state, set_random_state

__all__ = ["STATE", "HypernetworkProgress", "HypernetworkRun"]

STATE = "hypernetwork_state.pt"
"""File with the state that an interrupted training continues from."""

_STATE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class HypernetworkProgress:
    """Where the training of a hypernetwork is.

    Attributes:
        epoch: Passes made, from 1.
        epochs: Passes in all, when nothing ends training earlier.
        loss: Mean training loss of the last pass, over all points that were drawn.
        spearman: The last rank correlation with real trials; None when there was none.
    """

    epoch: int
    epochs: int
    loss: float
    spearman: float | None


class HypernetworkRun:
    """One training run.

    Args:
        setup: What is trained, on what.
        calibration: Real trials to compare with.
        folder: Where the state is kept.
        progress: Called after every pass.
        region: Points of interest and a width.

    Raises:
        SpaceError: The region is not in the unit cube of the covered hyperparameters.
    """

    def __init__(
        self,
        setup: Setup,
        calibration: Calibration | None,
        folder: Path | None,
        progress: Callable[[HypernetworkProgress], None] | None,
        region: tuple[ArrayLike, float] | None,
    ) -> None:
        self._setup, self._calibration, self._progress = setup, calibration, progress
        self._path = None if folder is None else folder / STATE
        self._passes = setup.options.passes(setup.settings)
        self._region = None if region is None else _checked(region, len(setup.coverage.space))
        self._begin()
        state = None if self._path is None else load_state(self._path, setup.device)
        if state is not None and state.get("identity") == self._identity():
            try:
                self._continue(state)
            except (HypertuneError, KeyError, RuntimeError, TypeError, ValueError):
                self._begin()

    def run(self) -> MIPPredictor:
        """Train to the end and return the predictor.

        Raises:
            TrialError: Training fails numerically.
        """
        while self._loop.done < self._passes and not self._over:
            loss = self._loop.run_pass()
            self._check()
            self._keep_snapshot()
            self._save()
            if self._progress is not None:
                self._progress(HypernetworkProgress(self._loop.done, self._passes, loss, self._spearman))
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        states = self._snapshots or [self._loop.network.state_dict()]
        if self._best is not None:
            states = [self._best[1]]
        networks = [self._setup.network() for _ in states]
        for network, state in zip(networks, states, strict=True):
            network.load_state_dict(state)
        predictor = self._setup.predictor(
            networks,
            epochs=float(self._loop.done + self._loop.recoveries),
            seconds=time.perf_counter() - self._started,
            spearman=None if self._best is None else self._best[0],
        )
        if not np.isfinite(predictor.predict([[0.5] * len(predictor.names)])).all():
            raise TrialError(
                "the hypernetwork's predictions overflow",
                where="sampler.hypernetwork",
                given=f"lr {self._setup.options.lr:g}",
                fix="lower sampler.hypernetwork.lr",
            )
        return predictor

    def _begin(self) -> None:
        setup = self._setup
        self._started = self._written = time.perf_counter()
        self._loop = HypernetworkLoop(
            setup.network(),
            setup.task,
            setup.options,
            passes=self._passes,
            batch_size=setup.hyperparameters.batch_size,
            constants=setup.constants,
            device=setup.device,
            seed=setup.seed,
            region=self._region,
        )
        self._spearman: float | None = None
        self._best: tuple[float, dict[str, Any]] | None = None
        self._worse = 0
        self._over = False
        self._snapshots: list[dict[str, Any]] = []
        seed_everything(derive_seed(setup.seed, "training"))

    def _check(self) -> None:
        options, done = self._setup.options, self._loop.done
        every = max(1, self._passes // options.checks)
        if self._calibration is None or not (done % every == 0 or done == self._passes):
            return
        # What a user's metric or model draws must not change the training that follows.
        before = random_state()
        self._spearman = self._calibration.spearman(self._loop.network)
        set_random_state(before)
        if self._spearman is None:
            return
        if self._best is None or self._spearman > self._best[0]:
            self._best = (self._spearman, copy.deepcopy(self._loop.network.state_dict()))
            self._worse = 0
        else:
            self._worse += 1
        tired = options.patience is not None and self._worse >= options.patience
        self._over = self._spearman >= options.target or tired

    def _keep_snapshot(self) -> None:
        # At equal distances, the last one at the end: early ones have not yet overfitted.
        count = self._setup.options.snapshots
        wanted = {round(self._passes * (number + 1) / count) for number in range(count)}
        if self._loop.done in wanted:
            self._snapshots.append(copy.deepcopy(self._loop.network.state_dict()))

    def _save(self) -> None:
        every = self._setup.settings.state_seconds
        now = time.perf_counter()
        if self._path is None or now - self._written < (_STATE_SECONDS if every is None else every):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "identity": self._identity(),
            "loop": self._loop.state_dict(),
            "random": random_state(),
            "spearman": self._spearman,
            "best": self._best,
            "worse": self._worse,
            "over": self._over,
            "snapshots": self._snapshots,
            "seconds": now - self._started,
        }
        save_state(self._path, state)
        self._written = time.perf_counter()

    def _continue(self, state: dict[str, Any]) -> None:
        self._loop.load_state_dict(state["loop"])
        self._spearman, self._best, self._worse = state["spearman"], state["best"], state["worse"]
        self._over, self._snapshots = state["over"], state["snapshots"]
        set_random_state(state["random"])
        self._started -= state["seconds"]

    def _identity(self) -> dict[str, Any]:
        region = None if self._region is None else (self._region[0].tolist(), self._region[1])
        return self._setup.state_identity() | {"region": region, "compared": self._calibration is not None}


def _checked(region: tuple[ArrayLike, float], size: int) -> Region:
    centres, width = np.asarray(region[0], dtype=np.float64), float(region[1])
    inside = centres.ndim == 2 and centres.shape[1] == size and len(centres) > 0
    if not inside or not np.isfinite(centres).all() or not 0 < width < np.inf:
        raise SpaceError(
            "not a region of the unit cube",
            where="region",
            given=f"points of shape {centres.shape}, width {width}",
            expected=f"(k, {size}) finite numbers, and a width above 0",
        )
    return torch.as_tensor(centres.clip(0, 1), dtype=torch.float32), width
