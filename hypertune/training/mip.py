"""Train a hypernetwork over a search space, and load a trained one.

References:
    [Ortiz24] Ortiz, Guttag, Dalca. Magnitude Invariant Parametrizations Improve Hypernetwork Learning. ICLR 2024,
        arXiv 2304.07645.
    [Lorraine18] Lorraine, Duvenaud. Stochastic Hyperparameter Optimization through Hypernetworks. arXiv 1802.09419.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from numpy.typing import ArrayLike

from hypertune.errors import StorageError
from hypertune.families.contract import Family
from hypertune.records import Params
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task
from hypertune.training._mip_calibration import Calibration
from hypertune.training._mip_file import check_identity, read_predictor
from hypertune.training._mip_predictor import MIPPredictor
from hypertune.training._mip_run import HypernetworkProgress, HypernetworkRun
from hypertune.training._mip_settings import HypernetworkSettings
from hypertune.training._mip_setup import Setup
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial_state import random_state, set_random_state

__all__ = [
    "HypernetworkProgress",
    "HypernetworkSettings",
    "MIPPredictor",
    "load_predictor",
    "train_hypernetwork",
]


def train_hypernetwork(
    family: Family,
    task: Task,
    space: SearchSpace,
    settings: TrainingSettings,
    *,
    options: HypernetworkSettings | None = None,
    setting: Params | None = None,
    seed: int = 0,
    folder: Path | None = None,
    progress: Callable[[HypernetworkProgress], None] | None = None,
    trials: Sequence[tuple[Params, float]] = (),
    region: tuple[ArrayLike, float] | None = None,
) -> MIPPredictor:
    """Train one hypernetwork on the hyperparameters that change the training loss and not the network's shape.

    Learning rate, optimizer, architecture and whatever else it cannot condition on have fixed values meanwhile. It is
    trained in single precision with Adam. Python's, NumPy's and torch's global random states are left as they were.

    Args:
        family: The model family.
        task: The task; only its training and validation splits are used, and no reserved part of the latter.
        space: The search space.
        settings: What trials have in common; epochs, batch size, device and direction are read.
        options: How to build and train the hypernetwork.
        setting: Values, by name, of hyperparameters that are fixed or cannot be covered; the middle of their ranges
            by default.
        seed: Seed of everything random.
        folder: Where the state of the training is kept while it runs, every so often; a training that finds its own
            state there continues from it, on the CPU bit by bit. None: nowhere.
        progress: Called after every pass.
        trials: Real trials, their params and values of the study metric. Predictions are compared with them while
            training goes on; the state with the best rank correlation is kept, and a good enough one ends training.
        region: Points of interest ``(k, d)`` in the unit cube of the covered hyperparameters, and a standard deviation:
            a share of the draws comes from there.

    Returns:
        The predictor.

    Raises:
        SpaceError: No hyperparameter of the space can be covered.
        ConfigError: An option is wrong, or the network is too large for the head.
        FamilyError: The family does not build, or no layer can respond.
        TrialError: Training fails numerically, whatever the learning rate.
    """
    before = random_state()
    try:
        setup = Setup(family, task, space, settings, options or HypernetworkSettings(), setting or {}, seed)
        calibration = Calibration(setup, trials) if trials else None
        return HypernetworkRun(setup, calibration, folder, progress, region).run()
    finally:
        set_random_state(before)


def load_predictor(
    file: str | os.PathLike[str] | BinaryIO,
    family: Family,
    task: Task,
    space: SearchSpace,
    settings: TrainingSettings,
    *,
    options: HypernetworkSettings | None = None,
    setting: Params | None = None,
) -> MIPPredictor:
    """Load a trained hypernetwork that `MIPPredictor.save` wrote.

    Args:
        file: Its path, or the file itself, open for reading.
        family: As it was trained with, and so are all others.
        task: The task.
        space: The search space.
        settings: What trials have in common.
        options: How the hypernetwork was built.
        setting: Values of the other hyperparameters.

    Raises:
        StorageError: The file is missing, or is no hypernetwork.
        ConfigError: It was trained for another space, model, task, setting or with other options of the network.
    """
    path = str(file) if isinstance(file, str | os.PathLike) else "what was sent here"
    content = read_predictor(file)
    before = random_state()
    try:
        setup = Setup(family, task, space, settings, options or HypernetworkSettings(), setting or {}, seed=0)
    finally:
        set_random_state(before)
    check_identity(content["identity"], setup.identity, path=path)
    networks = [setup.network() for _ in content["states"]]
    for network, state in zip(networks, content["states"], strict=True):
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise StorageError(
                f"the hypernetwork's weights do not fit: {str(error).splitlines()[0]}",
                where="sampler.hypernetwork",
                given=path,
                fix="delete it, and train it again",
            ) from error
    return setup.predictor(networks, **content["facts"])
