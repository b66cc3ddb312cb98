"""A weight that is assembled from parameters, kept while they stay the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["WeightCache"]


class WeightCache:
    """Keeps what was assembled last, for as long as its sources are what they were.

    Nothing is kept while gradients are recorded, a program is traced, or a transform of ``torch.func`` runs: there the
    assembly is a part of the computation. On a CPU the sources are compared by value with a copy, so that no way to
    change a parameter goes unseen. Elsewhere that would make the host wait for the device; there the sources are
    compared by storage and by autograd's version counter, which only misses writes through ``parameter.data``.
    """

    def __init__(self) -> None:
        self._kept: tuple[Tensor, tuple[_Source, ...]] | None = None

    def get(self, assemble: Callable[[], Tensor], *sources: Tensor) -> Tensor:
        """Return ``assemble()``, or what it returned before for the same sources; not to be written to.

        Args:
            assemble: Computes the weight from the sources alone.
            sources: What the weight is made of.
        """
        if not _can_keep(sources):
            return assemble()
        kept = self._kept
        if kept is not None and all(old.is_still(new) for old, new in zip(kept[1], sources, strict=True)):
            return kept[0]
        weight = assemble()
        self._kept = (weight, tuple(_Source.of(source) for source in sources)) if type(weight) is Tensor else None
        return weight

    def clear(self) -> None:
        """Forget what is kept, and free its memory."""
        self._kept = None


@dataclass(frozen=True, slots=True)
class _Source:
    """What a source was when the weight was assembled.

    Attributes:
        tensor: A copy on a CPU; elsewhere an alias, which also keeps the address from being used again.
        version: Autograd's version counter.
    """

    tensor: Tensor
    version: int

    @classmethod
    def of(cls, source: Tensor, *, by_value: bool | None = None) -> _Source:
        copied = source.device.type == "cpu" if by_value is None else by_value
        return cls(source.detach().clone() if copied else source.detach(), -1 if copied else source._version)

    def is_still(self, source: Tensor) -> bool:
        mine = self.tensor
        if (mine.device, mine.dtype, mine.shape) != (source.device, source.dtype, source.shape):
            return False
        if self.version < 0:
            return torch.equal(mine, source)
        return (mine.data_ptr(), mine.stride(), self.version) == (source.data_ptr(), source.stride(), source._version)


def _can_keep(sources: tuple[Tensor, ...]) -> bool:
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    return not torch._C._are_functorch_transforms_active() and all(
        # Other types may stand for a tensor that is not there; inference tensors have no version.
        type(source) in (Tensor, nn.Parameter) and not source.is_meta and not source.is_inference()
        for source in sources
    )
