"""Which best response a layer gets."""

from __future__ import annotations

from typing import Protocol

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.contract import ResponseLayer
from hypertune.hypernets.layers.convolution import ConvolutionResponse, TransposedConvolutionResponse
from hypertune.hypernets.layers.linear import EmbeddingResponse, LinearResponse
from hypertune.hypernets.layers.normalization import NormalizationResponse
from hypertune.hypernets.layers.operator import AssembledLayer, AssembledResponse
from hypertune.hypernets.layers.recurrent import RecurrentResponse

__all__ = ["MakeResponse", "register_response_layer", "response_layer"]


class MakeResponse(Protocol):
    """Makes the best response of a layer; a `ResponseLayer` class is one."""

    def __call__(self, layer: nn.Module, context: Context, *, size: int, rank: int, path: str) -> ResponseLayer:
        """Return the response of ``layer``."""


_SHIPPED: dict[type[nn.Module], type[ResponseLayer]] = {
    nn.Linear: LinearResponse,
    nn.Embedding: EmbeddingResponse,
    _ConvTransposeNd: TransposedConvolutionResponse,
    _ConvNd: ConvolutionResponse,
    _NormBase: NormalizationResponse,
    nn.GroupNorm: NormalizationResponse,
    nn.LayerNorm: NormalizationResponse,
    nn.RMSNorm: NormalizationResponse,
    nn.LSTM: RecurrentResponse,
    nn.GRU: RecurrentResponse,
}
_REGISTERED: dict[type[nn.Module], MakeResponse] = {}


def register_response_layer(kind: type[nn.Module], make: MakeResponse) -> None:
    """Say how layers of a type respond, and of its subclasses; it wins over what is shipped.

    Args:
        kind: The layer's type.
        make: Makes the response; see `ResponseLayer` for what it must hold to.
    """
    _REGISTERED[kind] = make


def response_layer(module: nn.Module, context: Context, *, size: int, rank: int, path: str) -> ResponseLayer | None:
    """Return the best response of a layer, or None when none is known.

    A subclass is treated as its base as long as it computes the same: it must not override ``forward``.

    Args:
        module: The plain layer.
        context: Where the response will read displacements.
        size: Number of hyperparameters.
        rank: Learned directions per weight; 0: scaled.
        path: Path of the layer in its model.
    """
    for kind, make in _REGISTERED.items():
        if isinstance(module, kind):
            return make(module, context, size=size, rank=rank, path=path)
    if parametrize.is_parametrized(module) or any(is_lazy(weight) for weight in module.parameters()):
        return None
    if isinstance(module, AssembledLayer) and _offers_units(module):
        return AssembledResponse(module, context, size=size, rank=rank, path=path)
    for kind, response in _SHIPPED.items():
        if isinstance(module, kind) and _computes_as_torch(module) and _can_respond(module):
            return response(module, context, size=size, rank=rank, path=path)
    return None


def _computes_as_torch(module: nn.Module) -> bool:
    # Attention and its like read the weight of this one instead of calling it.
    return not isinstance(module, NonDynamicallyQuantizableLinear) and all(
        next(kind for kind in type(module).__mro__ if method in vars(kind)).__module__.startswith("torch.nn.modules")
        for method in ("forward", "_conv_forward")
        if hasattr(module, method)
    )


def _offers_units(module: nn.Module) -> bool:
    """Whether a layer says how it responds, and no subclass has changed its forward since."""
    kinds = type(module).__mro__
    offered = next((number for number, kind in enumerate(kinds) if "response_units" in vars(kind)), None)
    return offered is not None and not any("forward" in vars(kind) for kind in kinds[:offered])


def _can_respond(module: nn.Module) -> bool:
    names = {name for name, _ in module.named_parameters()}
    if isinstance(module, nn.LSTM | nn.GRU):
        return module.proj_size == 0 and names == set(module._flat_weights_names)
    if isinstance(module, nn.Embedding) and (module.max_norm is not None or module.sparse):
        # Renormalization changes the weight in place; a sparse gradient has no place for the gates' products.
        return False
    # Weight normalization and pruning keep their parameters under other names.
    return "weight" in names and names <= {"weight", "bias"}
