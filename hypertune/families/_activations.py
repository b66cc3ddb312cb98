"""Activation modules by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

__all__ = ["ACTIVATIONS", "activation_module"]

_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

ACTIVATIONS = tuple(_MODULES)
"""Activations the shipped families offer, by their PyTorch names."""


def activation_module(name: str) -> nn.Module:
    """Return a new activation module for one of `ACTIVATIONS`."""
    return _MODULES[name]()
