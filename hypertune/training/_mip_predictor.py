"""What a trained hypernetwork tells: the validation loss of configurations, and weights to start a trial from."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypertune.errors import SpaceError, TrialError
from hypertune.families.contract import Family, build_model
from hypertune.hypernets.mip import MIPHypernetwork, tracking
from hypertune.records import Params
from hypertune.tasks.contract import Task
from hypertune.training._mip_coverage import Coverage
from hypertune.training._mip_file import write_predictor
from hypertune.training.assembly import EVALUATION_BATCH
from hypertune.training.batches import Batch, make_batches
from hypertune.training.losses import example_losses

__all__ = ["MIPPredictor"]

# Numbers that the weights of the points at work may have.
_ENTRIES = 2**25


class MIPPredictor:
    """Predicts validation losses by forward passes of predicted networks.

    The networks are in evaluation mode: dropout, noise and augmentation are off, and batch normalization uses the
    statistics of each batch of validation examples. With several snapshots the mean of their losses is returned.

    Predictions rank configurations; they are no estimates of the loss. All configurations share the hypernetwork's
    capacity and its training, so that weak regularization looks better than it is.

    Args:
        networks: The hypernetwork at one or several states.
        family: The model family.
        task: The task; its validation split is predicted.
        coverage: What the hypernetwork conditions on.
        identity: What a saved predictor must agree on with the search that loads it.
        epochs: Passes over the training data that training took.
        seconds: Wall-clock seconds that training took.
        spearman: Rank correlation with real trials; None when there were none.
        device: Where to compute.

    Attributes:
        names: The hyperparameters that predictions depend on; the axes of a point, each as `SearchSpace.encode` has it.
        uncovered: The other hyperparameters of the space, with the reason.
        epochs: As given.
        seconds: As given.
        spearman: As given.
    """

    def __init__(
        self,
        networks: Sequence[MIPHypernetwork],
        family: Family,
        task: Task,
        coverage: Coverage,
        *,
        identity: Mapping[str, Any],
        epochs: float,
        seconds: float,
        spearman: float | None,
        device: torch.device,
    ) -> None:
        self.names = networks[0].names
        self.uncovered = dict(coverage.uncovered)
        self.epochs, self.seconds, self.spearman = epochs, seconds, spearman
        self._networks = list(networks)
        self._family, self._task, self._coverage, self._device = family, task, coverage, device
        self._identity = dict(identity)
        self._validation: Iterable[Batch] = make_batches(task.val, batch_size=EVALUATION_BATCH, device=device)
        sizes = (sum(weight.numel() for weight in network.response.model.parameters()) for network in networks)
        self._chunk = max(1, min(64, _ENTRIES // max(sizes)))
        for network in networks:
            network.eval().requires_grad_(False)

    @property
    def head(self) -> str:
        """The hypernetwork's head."""
        return self._networks[0].head

    @property
    def setting(self) -> Params:
        """Values that the hyperparameters outside `names` had while the hypernetwork trained."""
        return dict(self._coverage.setting)

    def predict(self, points: ArrayLike) -> NDArray[np.float64]:
        """Predict the validation loss of configurations.

        Args:
            points: ``(n, d)``, a configuration in each row, the axes in the order of `names`.

        Returns:
            ``(n,)``; infinite where the predicted network overflows.

        Raises:
            SpaceError: The points have another shape or are not finite.
        """
        array = self._checked(points)
        with torch.no_grad():
            chunks = [self._losses(chunk) for chunk in torch.split(self._tensor(array), self._chunk)]
        losses = np.array([loss for chunk in chunks for loss in chunk], dtype=np.float64)
        return np.where(np.isnan(losses), np.inf, losses)

    def gradient(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predict the validation loss of configurations, and its slope along each axis.

        A choice has slope 0. An integer has the slope of the continuous range it stands in.

        Args:
            points: As for `predict`.

        Returns:
            Losses ``(n,)`` and gradients ``(n, d)``.

        Raises:
            SpaceError: As for `predict`.
        """
        array = self._checked(points)
        rows = [self._slope(point) for point in self._tensor(array)]
        losses = np.array([loss for loss, _ in rows], dtype=np.float64)
        slopes = np.array([slope for _, slope in rows], dtype=np.float64).reshape(array.shape)
        return np.where(np.isnan(losses), np.inf, losses), slopes

    def initial_weights(self, params: Params) -> dict[str, Tensor]:
        """Return the weights predicted for one configuration, to start its training from.

        Of several snapshots the last one predicts them. Batch normalization's running statistics are those of one pass
        over the training data under these weights.

        Args:
            params: The configuration.

        Returns:
            The state dict of the plain model, on the CPU.

        Raises:
            TrialError: The configuration's model has other weights than the one that the hypernetwork was trained for.
            SpaceError: A covered hyperparameter is missing or outside its range.
        """
        point = self._tensor(self._coverage.space.encode(params)[None])[0]
        state = self._networks[-1].plain_state_dict(point)
        with torch.random.fork_rng(devices=[]):
            model = build_model(self._family, params, self._task.spec).to(self._device)
        own = model.state_dict()
        wrong = [name for name in {**own, **state} if _shape(own.get(name)) != _shape(state.get(name))]
        if wrong:
            raise TrialError(
                "the hypernetwork was trained for a model of another shape",
                where=f"model.{wrong[0]}",
                given=_shape(own.get(wrong[0])),
                expected=str(_shape(state.get(wrong[0]))),
                fix="fix the architecture in the space, or leave out trial.init_from_hypernet",
            )
        model.load_state_dict(state)
        norms = tracking(model.eval())
        if norms:
            for norm in norms:
                norm.training, norm.momentum = True, None  # a mean over all batches
                norm.num_batches_tracked.zero_()
            with torch.no_grad():
                for x, _ in make_batches(self._task.train, batch_size=EVALUATION_BATCH, device=self._device):
                    model(x)
        return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the predictor; `load_predictor` reads it.

        Raises:
            StorageError: The disk is full, or the place cannot be written.
        """
        facts = {"epochs": self.epochs, "seconds": self.seconds, "spearman": self.spearman}
        write_predictor(path, self._identity, facts, [network.state_dict() for network in self._networks])

    def _checked(self, points: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(points, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.names) or not np.isfinite(array).all():
            raise SpaceError(
                "not points of the unit cube",
                where="points",
                given=f"shape {array.shape}" if np.isfinite(array).all() else "numbers that are not finite",
                expected=f"(n, {len(self.names)}) finite numbers, one column for each of {', '.join(self.names)}",
            )
        return array.clip(0.0, 1.0)

    def _tensor(self, array: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32).to(self._device)

    def _losses(self, points: Tensor) -> list[float]:
        runs = [run for network in self._networks for run in self._runs(network, points)]
        totals, examples = [0.0] * len(runs), 0
        for x, y in self._validation:
            examples += len(x)
            for number, run in enumerate(runs):
                totals[number] += float(example_losses(self._task.loss, run(x), y).double().sum())
        members = np.array(totals).reshape(len(self._networks), len(points)) / examples
        return list(members.mean(axis=0))

    def _runs(self, network: MIPHypernetwork, points: Tensor) -> Iterator[Callable[[Tensor], Tensor]]:
        generated = network.generated(points)
        for k in range(len(points)):
            own = {name: part[k] for name, part in generated.items()}
            yield lambda x, own=own: network.run(x, own)  # type: ignore[misc]

    def _slope(self, point: Tensor) -> tuple[float, list[float]]:
        point = point[None].clone().requires_grad_(True)
        loss, slope = 0.0, torch.zeros_like(point)
        for network in self._networks:
            generated = network.generated(point)
            # Batch by batch up to the generated weights, so that only one batch's activations are held.
            own = {name: part.detach()[0].requires_grad_(True) for name, part in generated.items()}
            total, examples = 0.0, 0
            for x, y in self._validation:
                examples += len(x)
                part = example_losses(self._task.loss, network.run(x, own), y).sum()
                part.backward()  # type: ignore[no-untyped-call]
                total += float(part.detach())
            used = [name for name in own if own[name].grad is not None and generated[name].requires_grad]
            if used and math.isfinite(total):
                (moved,) = torch.autograd.grad(
                    [generated[name] for name in used],
                    point,
                    [own[name].grad[None] / examples for name in used],  # type: ignore[index]
                    allow_unused=True,
                )
                slope = slope if moved is None else slope + moved
            loss += total / examples
        count = len(self._networks)
        return loss / count, (slope[0] / count).tolist()


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)
