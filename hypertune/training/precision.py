"""In which precision a trial computes: autocast forward, and a loss-scaled step where float16 needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hypertune.errors import ConfigError
from hypertune.hypernets.contract import FullPrecision

__all__ = ["Precision"]


class Precision(FullPrecision):
    """Forward and step in one precision.

    Args:
        dtype: ``float32``, or ``bfloat16`` or ``float16`` as the autocast type of the forward pass. float16 has too
            narrow a range for gradients: its loss is scaled (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2).
        device: Where the trial computes; float16 needs CUDA.

    Raises:
        ConfigError: float16 off CUDA.
    """

    def __init__(self, dtype: str, device: torch.device) -> None:
        if dtype == "float16" and device.type != "cuda":
            raise ConfigError(
                "float16 training needs CUDA",
                where="trial.dtype",
                given=f"float16 on {device.type}",
                expected="float32 or bfloat16 there",
                fix="use bfloat16",
            )
        self._device = device
        self._autocast_type: torch.dtype | None = None if dtype == "float32" else getattr(torch, dtype)
        self._scaler = torch.amp.GradScaler("cuda") if dtype == "float16" else None

    def forward(self, model: nn.Module, x: Tensor) -> Tensor:
        """Return ``model(x)``, computed under autocast, with outputs of reduced precision raised to float32."""
        with self.autocast():
            outputs: Tensor = model(x)
        # Losses and metrics need float32; sums over a split overflow in float16.
        if self._autocast_type is not None and outputs.dtype in (torch.bfloat16, torch.float16):
            return outputs.float()
        return outputs

    @property
    def scales_loss(self) -> bool:
        """Whether gradients are only right after the scaled loss of `step`; then forward other losses in float32."""
        return self._scaler is not None

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        if self._autocast_type is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._autocast_type)

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
            optimizer: Optimizer of the weights, or several that step together; their gradients are reset first.
            weights: What the global gradient norm is taken over.
            grad_clip: Largest global L2 norm of the gradient, or None.
        """
        if self._scaler is None:
            super().step(loss, optimizer, weights, grad_clip)
            return
        optimizers = [optimizer] if isinstance(optimizer, Optimizer) else optimizer
        for each in optimizers:
            each.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if grad_clip is not None:
            for each in optimizers:
                self._scaler.unscale_(each)
            nn.utils.clip_grad_norm_(weights, grad_clip)
        for each in optimizers:
            self._scaler.step(each)
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loss scale; empty without one."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with a loss scale."""
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(state))
