"""What the layers of one attached model read during a forward pass: where in hyperparameter space each example is."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from hypertune.errors import FamilyError

__all__ = ["BatchAxis", "Context", "ContextHook"]

BatchAxis: TypeAlias = int | Literal["merged"]


class Context:
    """Shared by all layers of one attached model.

    Attributes:
        response: Displacement h of the hyperparameters from where the plain weights belong, ``(batch, h)`` or
            ``(1, h)`` when all examples share it; None: the plain layers.
        linearized: Whether the response is a dual tensor at h = 0, whose tangent is the displacement; layers then
            return dual tensors, as forward-mode differentiation has it, and may take short cuts.
        values: Value in effect of each hyperparameter that acts inside the model, by name, ``(batch,)`` or ``(1,)``;
            None: nothing acts (dropout off and so on).
        batch_axes: Axis of the batch in the inputs of layers whose path matches a pattern, 0 elsewhere; ``"merged"``
            for inputs whose first axis is batch times something, the batch varying slowest.
        penalized: What modules add to each example's loss during a forward, as tensors ``(batch or 1, entries)`` whose
            sum of squares over the entries it is (activation regularization); emptied by `using`. Squares are taken
            later, so that a model that was linearised still has a penalty that is quadratic.
        added: What modules add to each example's loss as it is, ``(batch,)`` or ``(1,)`` each (auxiliary losses);
            emptied by `using`.
    """

    def __init__(self, batch_axes: Mapping[str, BatchAxis] | None = None) -> None:
        self.response: Tensor | None = None
        self.linearized = False
        self.values: Mapping[str, Tensor] | None = None
        self.batch_axes = dict(batch_axes or {})
        self.penalized: list[Tensor] = []
        self.added: list[Tensor] = []

    @contextlib.contextmanager
    def using(
        self,
        response: Tensor | None = None,
        values: Mapping[str, Tensor] | None = None,
        *,
        linearized: bool = False,
    ) -> Iterator[Context]:
        """Make the layers respond to ``response`` and act with ``values`` inside the block."""
        before = (self.response, self.linearized, self.values, self.penalized, self.added)
        self.response, self.linearized, self.values, self.penalized, self.added = response, linearized, values, [], []
        try:
            yield self
        finally:
            # What was penalized and added stays readable through the yielded block only.
            self.response, self.linearized, self.values, self.penalized, self.added = before

    def align(
        self, rows: Tensor, x: Tensor, *, path: str, feature_axis: int | None = None, batch_axis: BatchAxis = 0
    ) -> Tensor:
        """Shape values per example so that they broadcast against ``x``.

        Args:
            rows: ``(batch or 1, features)``, or ``(batch or 1,)`` when ``feature_axis`` is None.
            x: Tensor to broadcast against.
            path: Path of the layer in its model, for ``batch_axes`` and the error message.
            feature_axis: Axis of ``x`` that ``features`` belongs to; None: one value for a whole example.
            batch_axis: Axis of the batch where ``batch_axes`` declares none.

        Returns:
            As many axes as ``x``, of size 1 except the batch's and the features'.

        Raises:
            FamilyError: ``x`` has no batch axis where it is expected.
        """
        shape = [1] * x.dim()
        if feature_axis is not None:
            shape[feature_axis % x.dim()] = rows.shape[-1]
        if rows.shape[0] == 1:
            return rows.reshape(shape)
        declared = self._declared(path)
        axis = batch_axis if declared is None else declared
        if axis == "merged":
            if not x.dim() or x.shape[0] % rows.shape[0]:
                raise self._misplaced(rows.shape[0], x, path, axis)
            rows, axis = rows.repeat_interleave(x.shape[0] // rows.shape[0], dim=0), 0
        if not -x.dim() <= axis < x.dim() or x.shape[axis] != rows.shape[0]:
            raise self._misplaced(rows.shape[0], x, path, axis)
        axis %= x.dim()
        if feature_axis is not None and axis == feature_axis % x.dim():
            raise self._misplaced(rows.shape[0], x, path, axis)
        shape[axis] = rows.shape[0]
        if feature_axis is not None and axis > feature_axis % x.dim():
            rows = rows.transpose(0, 1)
        return rows.reshape(shape)

    def examples(self, x: Tensor, batch: int, *, path: str, batch_axis: BatchAxis = 0) -> Tensor:
        """Return ``x`` as ``(batch, everything else)``, wherever its batch axis is.

        Args:
            x: Any tensor with a batch axis.
            batch: Number of examples.
            path: Path of the module that made it, for ``batch_axes`` and the error message.
            batch_axis: Axis of the batch where ``batch_axes`` declares none.

        Raises:
            FamilyError: ``x`` has no batch axis where it is expected.
        """
        declared = self._declared(path)
        axis = batch_axis if declared is None else declared
        if axis == "merged":
            if not x.dim() or x.shape[0] % batch:
                raise self._misplaced(batch, x, path, axis)
            return x.reshape(batch, -1)
        if not -x.dim() <= axis < x.dim() or x.shape[axis] != batch:
            raise self._misplaced(batch, x, path, axis)
        return x.movedim(axis, 0).reshape(batch, -1)

    def _declared(self, path: str) -> BatchAxis | None:
        return next((axis for pattern, axis in self.batch_axes.items() if fnmatchcase(path, pattern)), None)

    def _misplaced(self, batch: int, x: Tensor, path: str, axis: BatchAxis) -> FamilyError:
        places = [f"{path}: {axis}" for axis, size in enumerate(x.shape) if size == batch]
        if not places and x.dim() and x.shape[0] and x.shape[0] % batch == 0:
            places = [f"{path}: merged"]
        fix = f"declare it: batch_axes={{{places[0]}}}" if places else f"exclude {path!r} from the attachment"
        return FamilyError(
            "a layer is called with the batch on another axis than expected",
            where=f"model.{path}",
            given=f"a tensor of shape {tuple(x.shape)} for a batch of {batch}",
            expected=f"{batch} examples along axis {axis}",
            fix=fix if places else f"{fix}, or let a batch share one draw: per_example=False",
        )


class ContextHook(ABC):
    """A forward hook that reads the context; a class, so that a model with hooks can be copied and pickled.

    Args:
        context: What this model's layers read.
        name: The hyperparameter.
        path: Path of the layer in its model.
    """

    def __init__(self, context: Context, name: str, path: str) -> None:
        self.context = context
        self.name = name
        self.path = path

    @abstractmethod
    def __call__(self, module: nn.Module, args: tuple[Any, ...], outputs: Any) -> Any:
        """Look at a layer's outputs, or return what takes their place."""
