"""Gaussian weight noise whose strength is a hyperparameter of each example.

References:
    [Kingma15] Kingma, Salimans, Welling. Variational Dropout and the Local Reparameterization Trick. NeurIPS 2015,
        arXiv 1506.02557.
    [Graves11] Graves. Practical Variational Inference for Neural Networks. NeurIPS 2011.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.errors import SpaceError
from hypertune.hypernets.context import Context, ContextHook
from hypertune.hypernets.layers.contract import ResponseLayer

__all__ = ["add_weight_noise"]


def add_weight_noise(model: nn.Module, context: Context, *, name: str, paths: Collection[str]) -> None:
    """Let layers train with noisy weights: ``W (1 + sigma xi)`` with standard normal ``xi`` for each weight.

    The noise is multiplicative, so that one strength suits layers of any scale ([Kingma15] section 3); [Graves11]'s
    additive noise would need one per layer. Each example draws its own noise by the local reparametrization trick
    ([Kingma15] eq. 6): the outputs of a layer that is linear in its weights get Gaussian noise of standard deviation
    ``sigma sqrt(x^2 W^2)``, so no weight is ever drawn. For a linear layer this is exact; the outputs of a convolution
    get independent draws at each place, where one noisy kernel would correlate them. W is the plain weight,
    whatever the response is.

    Args:
        model: The responding model.
        context: Where the strengths are read.
        name: The hyperparameter.
        paths: Layers; those that are neither linear nor a convolution are left alone.

    Raises:
        SpaceError: None of the layers can be noisy.
    """
    modules = {path: module for path, module in model.named_modules() if path in paths}
    noisy = {path: module for path, module in modules.items() if isinstance(_plain(module), _LAYERS)}
    if not noisy:
        raise SpaceError(
            "no layer of the model can have noisy weights",
            where=f"space.{name}.self_tune",
            given=", ".join(modules),
            expected="a linear layer or a convolution",
            fix="bind it to one, or remove `self_tune`",
        )
    for path, module in noisy.items():
        module.register_forward_hook(_Noise(context, name, path))


_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Noise(ContextHook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], outputs: Tensor) -> Tensor:
        values = self.context.values
        if not module.training or values is None:
            return outputs
        layer = _plain(module)
        # Squares overflow half precision early.
        with torch.autocast(outputs.device.type, enabled=False):
            weight = cast("Tensor", layer.weight)
            variance = _product(layer, args[0].to(weight.dtype).square(), weight.square())
        # The variance is 0 where all inputs are, and the square root has no slope there.
        deviation = (variance + 1e-12).sqrt()
        strength = self.context.align(values[self.name], outputs, path=self.path)
        noise: Tensor = strength * deviation * torch.randn_like(deviation)
        return outputs + noise.to(outputs.dtype)


def _product(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """Return the layer's output for another weight and no bias, past the hooks of the layer."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        convolved: Tensor = layer._conv_forward(x, weight, None)
        return convolved
    return functional.linear(x, weight)


def _plain(module: nn.Module) -> nn.Module:
    return module.plain if isinstance(module, ResponseLayer) else module
