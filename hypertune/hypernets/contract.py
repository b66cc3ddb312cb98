"""What a self-tuning algorithm is: steps on the weights alternate with steps on the hyperparameters.

References:
    [MacKay19] MacKay, Vicol, Lorraine, Duvenaud, Grosse. Self-Tuning Networks: Bilevel Optimization of
        Hyperparameters using Structured Best-Response Functions. ICLR 2019, arXiv 1903.03088.
    [Bae20] Bae, Grosse. Delta-STN: Efficient Bilevel Optimization for Neural Networks using Structured Response
        Jacobians. NeurIPS 2020, arXiv 2010.13514.
"""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from hypertune.effects.pipeline import Effects
from hypertune.errors import TrialError
from hypertune.hypernets.attach import ResponseModel
from hypertune.records import ParamValue

__all__ = ["BestResponse", "FullPrecision", "MakeOptimizer", "PrecisionLike", "TuningOptions"]

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
MakeOptimizer: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]


class PrecisionLike(Protocol):
    """In which precision steps are computed; `training.precision.Precision` is one."""

    @property
    def scales_loss(self) -> bool:
        """Whether gradients are only right after the scaled loss of `step`."""

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return the context of a forward pass."""

    def step(
        self,
        loss: Tensor,
        optimizer: Optimizer | Sequence[Optimizer],
        weights: Sequence[Tensor],
        grad_clip: float | None,
    ) -> None:
        """Make one gradient step of one or several optimizers."""


class FullPrecision:
    """Forward and step without autocast."""

    @property
    def scales_loss(self) -> bool:
        """Whether gradients are only right after the scaled loss of `step`: never."""
        return False

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return a context that does nothing."""
        return contextlib.nullcontext()

    def step(
        self,
        loss: Tensor,
        optimizer: Optimizer | Sequence[Optimizer],
        weights: Sequence[Tensor],
        grad_clip: float | None,
    ) -> None:
        """Make one gradient step.

        Args:
            loss: Scalar.
            optimizer: One or several, stepped together.
            weights: What the gradient norm is taken over.
            grad_clip: Largest global L2 norm of the gradient; None: not clipped.
        """
        optimizers = [optimizer] if isinstance(optimizer, Optimizer) else optimizer
        for each in optimizers:
            each.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if grad_clip is not None:
            nn.utils.clip_grad_norm_(weights, grad_clip)
        for each in optimizers:
            each.step()


@dataclass(frozen=True, slots=True)
class TuningOptions:
    """How the hyperparameters are tuned.

    Attributes:
        lr: Learning rate of lambda, with Adam.
        scale_lr: Learning rate of the perturbation scales; None: that of lambda.
        tune_scale: Whether the perturbation scales are tuned too.
        entropy: Weight tau of the entropy bonus that keeps the scales from collapsing ([MacKay19] eq. 14).
        clip: Largest L2 norm of lambda's gradient; None: not clipped.
        per_example: Whether each example gets a perturbation of its own; otherwise a batch shares one, which costs no
            more than a plain step and gives a noisier response.
        antithetic: Whether perturbations come in pairs of opposite sign, which takes the first-order noise out.
        grad_clip: Largest global norm of the weights' gradient; None: not clipped.
    """

    lr: float = 0.05
    scale_lr: float | None = None
    tune_scale: bool = True
    entropy: float = 1e-3
    clip: float | None = 1.0
    per_example: bool = True
    antithetic: bool = True
    grad_clip: float | None = None


class BestResponse(ABC):
    """A self-tuning algorithm on one responding model.

    Args:
        model: The model with its hyperparameters.
        loss: Loss per example: ``loss(outputs, targets) -> (batch,)``.
        effects: Effects of the hyperparameters that act outside the model; made from the model's by default.
        weights: Makes the optimizer of the plain weights; it must not decay weights whose decay is tuned.
        response: Makes the optimizer of the response; that of the weights by default.
        hyperparameters: Makes the optimizer of lambda and, in a second call, of the scales; Adam with ``options``'
            learning rates by default.
        constants: Values of effects that are not tuned.
        options: How the hyperparameters are tuned.
        precision: Precision of the steps.
        seed: Seed of the perturbations.

    Attributes:
        weight_optimizer: Optimizer of the plain weights.
        response_optimizer: Optimizer of the response.
        rollbacks: Tune steps whose loss or gradient was not finite; lambda then went back to its last good value.
    """

    def __init__(
        self,
        model: ResponseModel,
        loss: Loss,
        *,
        weights: MakeOptimizer,
        effects: Effects | None = None,
        response: MakeOptimizer | None = None,
        hyperparameters: MakeOptimizer | None = None,
        constants: Mapping[str, float] | None = None,
        options: TuningOptions | None = None,
        precision: PrecisionLike | None = None,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.loss = loss
        self.options = options or TuningOptions()
        self.precision = precision or FullPrecision()
        device = model.hyperparameters.raw.device
        self.effects = effects or Effects(model.bindings.outside, seed=seed, device=device)
        self.constants = dict(constants or {})
        self.rollbacks = 0
        tuned = model.hyperparameters
        self._general = list(model.general_parameters())
        self._responses = list(model.response_parameters())
        self.weight_optimizer = weights(self._general)
        self.response_optimizer = (response or weights)(self._responses)
        self._lambda_optimizer = _make(hyperparameters, tuned.raw, self.options.lr)
        scale_lr = self.options.lr if self.options.scale_lr is None else self.options.scale_lr
        self._scale_optimizer = _make(hyperparameters, tuned.raw_scale, scale_lr) if self.options.tune_scale else None
        self._generator = torch.Generator(device).manual_seed(seed)
        # Where the plain weights belong: the displacement of an example is its lambda minus this.
        self.centre = tuned.raw.detach().clone()
        self._good = self._snapshot()

    @abstractmethod
    def weight_step(self, x: Tensor, y: Tensor) -> Tensor:
        """Train the weights on one batch of the training split, at perturbed hyperparameters.

        Args:
            x: ``(batch, ...)``.
            y: ``(batch, ...)``.

        Returns:
            The mean training loss, penalties included, detached.
        """

    def tune_step(self, x: Tensor, y: Tensor) -> Tensor:
        """Move the hyperparameters down the gradient of the validation loss through the best response.

        The model is in evaluation mode: dropout, tuned or not, noise and augmentation are off, and normalization uses
        its running statistics. This is the loss that the deployed model will have. A step whose loss or gradient is not
        finite puts lambda back to its last good value and counts in ``rollbacks``.

        Args:
            x: ``(batch, ...)`` of the tuning split.
            y: ``(batch, ...)``.

        Returns:
            The mean validation loss at the perturbed hyperparameters, detached.
        """
        tuned, options = self.model.hyperparameters, self.options
        displacement = tuned.raw + self._perturbation(len(x)) - self.centre
        with _evaluating(self.model):
            # The gradient of lambda is too small for float16 without a scaled loss.
            with contextlib.nullcontext() if self.precision.scales_loss else self.precision.autocast():
                outputs = self.model(x, displacement)
            loss = self.loss(outputs.float() if outputs.dtype in _REDUCED else outputs, y).mean()
        objective = loss - options.entropy * tuned.entropy() if options.tune_scale else loss
        moving = [tuned.raw, tuned.raw_scale] if options.tune_scale else [tuned.raw]
        gradients = torch.autograd.grad(objective, moving)
        # The entropy's gradient is always finite, so the sum tells about loss and response.
        if not torch.isfinite(loss.detach() + sum(gradient.sum() for gradient in gradients)):
            self._restore(self._good)
            self.rollbacks += 1
            return loss.detach()
        self._good = self._snapshot()
        for parameter, gradient in zip(moving, gradients, strict=True):
            parameter.grad = gradient
        if options.clip is not None:
            nn.utils.clip_grad_norm_([tuned.raw], options.clip)
        before = tuned.raw.detach().clone()
        self._lambda_optimizer.step()
        if self._scale_optimizer is not None:
            self._scale_optimizer.step()
        tuned.confine_()
        self._moved(tuned.raw.detach() - before)
        return loss.detach()

    def tuned(self) -> dict[str, ParamValue]:
        """Return the current value of each hyperparameter."""
        return self.model.hyperparameters.current()

    def displacement(self) -> Tensor:
        """Return where the current hyperparameters lie from where the plain weights belong, ``(h,)``."""
        return self.model.hyperparameters.raw.detach() - self.centre

    def detach_response(self) -> nn.Module:
        """Return a plain copy of the model with the best response to the current hyperparameters."""
        return self.model.detach_response(self.displacement())

    def plain_state_dict(self) -> dict[str, Any]:
        """Return the state dict of `detach_response`."""
        return self.model.plain_state_dict(self.displacement())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides how training continues, but torch's global random state."""
        return {
            "model": self.model.state_dict(),
            "centre": self.centre.clone(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers()],
            "generator": self._generator.get_state(),
            "effects": self.effects.state_dict(),
            "good": self._good,
            "rollbacks": self.rollbacks,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; the same steps follow, bit by bit on the CPU.

        Raises:
            TrialError: The state is of another model or algorithm.
        """
        try:
            self.model.load_state_dict(state["model"])
            for optimizer, content in zip(self._optimizers(), state["optimizers"], strict=True):
                optimizer.load_state_dict(content)
            self.centre = state["centre"].to(self.centre)
            self._generator.set_state(state["generator"].cpu())
            self.effects.load_state_dict(state["effects"])
            self._good = copy.deepcopy(state["good"])
            self.rollbacks = state["rollbacks"]
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise TrialError(
                f"the saved state does not fit: {type(error).__name__}: {error}",
                where="trial.state",
                fix="continue with the model, space and algorithm it was saved with",
            ) from error

    def _moved(self, step: Tensor) -> None:
        """React to a step of lambda, ``(h,)``; nothing by default."""
        return

    def _perturbation(self, examples: int) -> Tensor:
        """Draw perturbations, ``(examples, h)`` or ``(1, h)``, with gradient to the scales."""
        tuned = self.model.hyperparameters
        if not self.options.per_example:
            return tuned.perturb(1, generator=self._generator)
        if not self.options.antithetic or examples < 2:
            return tuned.perturb(examples, generator=self._generator)
        half = tuned.perturb((examples + 1) // 2, generator=self._generator)
        return torch.cat((half, -half))[:examples]

    def _training_loss(self, x: Tensor, y: Tensor, displacement: Tensor | None, raw: Tensor) -> Tensor:
        """Return the mean training loss at given displacements under the hyperparameters ``raw``."""
        values = self.model.hyperparameters.values(raw)
        outputs, added, penalized, finish = self._training_outputs(x, y, displacement, values)
        return (finish(outputs) + self.model.penalty(added, penalized, displacement, values)).mean()

    def _training_outputs(
        self,
        x: Tensor,
        y: Tensor,
        displacement: Tensor | None,
        values: Mapping[str, Tensor],
        *,
        linearized: bool = False,
    ) -> tuple[Tensor, Tensor, list[Tensor], Callable[[Tensor], Tensor]]:
        """Return outputs, what penalties add and square, and the way from outputs to the loss of each example."""
        acting: dict[str, Tensor | float] = {
            **self.constants,
            **{name: values[name] for name in self.model.bindings.outside},
        }
        batch = self.effects.apply(x, y, acting)
        with self.precision.autocast():
            if linearized:
                assert displacement is not None
                made = self.model.linearized_outputs_and_penalized(batch.x, displacement, values)
            else:
                made = self.model.outputs_and_penalized(batch.x, displacement, values)
        outputs, added, penalized = made
        outputs = outputs.float() if outputs.dtype in _REDUCED else outputs
        return outputs, added, penalized, lambda made: self.effects.example_losses(self.loss, made, batch, acting)

    def _optimizers(self) -> list[Optimizer]:
        optimizers = [self.weight_optimizer, self.response_optimizer, self._lambda_optimizer]
        return optimizers if self._scale_optimizer is None else [*optimizers, self._scale_optimizer]

    def _snapshot(self) -> dict[str, Tensor]:
        tuned = self.model.hyperparameters
        return {"raw": tuned.raw.detach().clone(), "raw_scale": tuned.raw_scale.detach().clone()}

    @torch.no_grad()
    def _restore(self, snapshot: Mapping[str, Tensor]) -> None:
        tuned = self.model.hyperparameters
        before = tuned.raw.clone()
        tuned.raw.copy_(snapshot["raw"])
        tuned.raw_scale.copy_(snapshot["raw_scale"])
        # A running mean of gradients may hold what led here.
        for optimizer in (self._lambda_optimizer, self._scale_optimizer):
            if optimizer is not None:
                optimizer.state.clear()
        self._moved(tuned.raw - before)


_REDUCED = (torch.bfloat16, torch.float16)


def _make(make: MakeOptimizer | None, parameter: nn.Parameter, lr: float) -> Optimizer:
    return Adam([parameter], lr=lr) if make is None else make([parameter])


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put all modules in evaluation mode inside the block."""
    training = [module for module in model.modules() if module.training]
    recurrent = {module: module.dropout for module in training if isinstance(module, nn.RNNBase)}
    try:
        for module in training:
            # The backward pass of cuDNN's recurrent kernels needs training mode.
            module.training = module in recurrent
        for module in recurrent:
            module.dropout = 0.0
        yield
    finally:
        for module in training:
            module.training = True
        for module, rate in recurrent.items():
            module.dropout = rate
