"""Output heads of a hypernetwork: from features to every weight of a target network.

References:
    [Ha17] Ha, Dai, Le. HyperNetworks. ICLR 2017, arXiv 1609.09106.
    [Oswald20] von Oswald, Henning, Grewe, Sacramento. Continual Learning with Hypernetworks. ICLR 2020,
        arXiv 1906.00695 (chunked hypernetworks, section 2.2).
    [Chang20] Chang, Flokas, Lipson. Principled Weight Initialization for Hypernetworks. ICLR 2020, arXiv 2312.08399.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["WEIGHT_HEADS", "Target", "WeightHead"]

_SHARE = 0.1
"""Spread that a residual starts with for features of mean square 1, as a share of the weight's own."""

_CHUNK = 4096
_CHUNK_CODE = 16
_CHUNK_UNITS = 64


@dataclass(frozen=True, slots=True)
class Target:
    """One weight that a head predicts.

    Attributes:
        shape: Its shape in real numbers: a complex weight has a last axis of 2.
        scale: Its initial standard deviation; the share of it that a residual starts with is the head's matter.
    """

    shape: tuple[int, ...]
    scale: float

    @property
    def numel(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def matrix(self) -> tuple[int, int]:
        """The shape as a matrix: the first axis against all others."""
        rows = self.shape[0] if self.shape else 1
        return rows, self.numel // max(rows, 1)

    @property
    def factorizes(self) -> bool:
        """Whether it is a matrix, rather than a vector or a scalar."""
        return min(self.matrix) > 1


class WeightHead(nn.Module, ABC):
    """Predicts all weights of one point at once.

    Args:
        targets: The weights by name.
        features: Number of features.
        rank: Rank of the changes, where they have one.
        power: None: the outputs are changes of free weights, and start small. A number: they are the weights, and start
            with the spread of the plain network's for features of this mean square ([Chang20]).
    """

    def __init__(self, targets: Mapping[str, Target], features: int, *, rank: int, power: float | None) -> None:
        super().__init__()
        self.targets = dict(targets)

    @staticmethod
    @abstractmethod
    def count(targets: Mapping[str, Target], features: int, rank: int) -> int:
        """Return how many parameters the head would have."""

    @abstractmethod
    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return every target for each point.

        Args:
            features: ``(n, features)``.

        Returns:
            ``(n, *shape)`` by name.
        """


class FullHead(WeightHead):
    """Every weight is a linear function of the features."""

    def __init__(self, targets: Mapping[str, Target], features: int, *, rank: int, power: float | None) -> None:
        super().__init__(targets, features, rank=rank, power=power)
        self.outputs = _linear(features, sum(target.numel for target in targets.values()), bias=power is not None)
        _spread(self.outputs, self.targets, features, share=_share(power))

    @staticmethod
    def count(targets: Mapping[str, Target], features: int, rank: int) -> int:
        """Return how many parameters the head would have."""
        return features * sum(target.numel for target in targets.values())

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return every target for each point; see `WeightHead.forward`."""
        return _split(self.outputs(features), self.targets)


class LowRankHead(WeightHead):
    """A weight matrix changes by a product of two thin matrices, both linear functions of the features.

    ``W + s A(f) B(f)^T / sqrt(r)``, A of ``out x r`` and B of ``in x r`` entries; vectors change as in `FullHead`. A
    starts near 0, B at the order of 1, so that the product starts small and both have a gradient.
    """

    def __init__(self, targets: Mapping[str, Target], features: int, *, rank: int, power: float | None) -> None:
        super().__init__(targets, features, rank=rank, power=power)
        self.rank = rank
        parts: dict[str, Target] = {}
        for name, target in targets.items():
            if target.factorizes:
                rows, columns = target.matrix
                parts[f"{name}/A"] = Target((rows, rank), target.scale)
                parts[f"{name}/B"] = Target((columns, rank), 1.0)
            else:
                parts[name] = target
        self._parts = parts
        self.outputs = _linear(features, sum(part.numel for part in parts.values()), bias=True)
        start = 0
        with torch.no_grad():
            for name, part in parts.items():
                entries = slice(start, start + part.numel)
                start += part.numel
                # The product has the spread of its factor A.
                if name.endswith("/B"):
                    self.outputs.weight[entries].normal_(std=_SHARE / math.sqrt(features))
                    self.outputs.bias[entries].normal_()
                else:
                    self.outputs.weight[entries].normal_(std=_share(power) * part.scale / math.sqrt(features))

    @staticmethod
    def count(targets: Mapping[str, Target], features: int, rank: int) -> int:
        """Return how many parameters the head would have."""
        outputs = sum(rank * sum(t.matrix) if t.factorizes else t.numel for t in targets.values())
        return (features + 1) * outputs

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return every target for each point; see `WeightHead.forward`."""
        parts = _split(self.outputs(features), self._parts)
        made = {}
        for name, target in self.targets.items():
            if target.factorizes:
                product = parts[f"{name}/A"] @ parts[f"{name}/B"].transpose(1, 2) / math.sqrt(self.rank)
                made[name] = product.reshape(-1, *target.shape)
            else:
                made[name] = parts[name]
        return made


class ChunkedHead(WeightHead):
    """One small network predicts all weights chunk by chunk, from the features and a code of the chunk ([Oswald20]).

    Its outputs are in units of each weight's initial spread.
    """

    def __init__(self, targets: Mapping[str, Target], features: int, *, rank: int, power: float | None) -> None:
        super().__init__(targets, features, rank=rank, power=power)
        total = sum(target.numel for target in targets.values())
        self._total = total
        size, chunks = _chunks(total)
        self.codes = nn.Parameter(torch.randn(chunks, _CHUNK_CODE))
        self.features = _linear(features, _CHUNK_UNITS, bias=True)
        self.chunk = _linear(_CHUNK_CODE, _CHUNK_UNITS, bias=False)
        self.activation = nn.LeakyReLU()
        self.outputs = _linear(_CHUNK_UNITS, size, bias=True)
        with torch.no_grad():
            # Of the order of the features' share, so that chunks differ from the start.
            self.chunk.weight.normal_(std=1 / math.sqrt(_CHUNK_CODE))
            self.outputs.weight.normal_(std=(_SHARE if power is None else 1.0) / math.sqrt(_CHUNK_UNITS))
        scales = torch.cat([torch.full((target.numel,), target.scale) for target in targets.values()])
        self.register_buffer("scales", scales, persistent=False)

    @staticmethod
    def count(targets: Mapping[str, Target], features: int, rank: int) -> int:
        """Return how many parameters the head would have."""
        size, chunks = _chunks(sum(target.numel for target in targets.values()))
        return chunks * _CHUNK_CODE + (features + 1 + _CHUNK_CODE) * _CHUNK_UNITS + (_CHUNK_UNITS + 1) * size

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return every target for each point; see `WeightHead.forward`."""
        hidden = self.activation(self.features(features)[:, None, :] + self.chunk(self.codes)[None])
        flat = self.outputs(hidden).flatten(1)[:, : self._total]
        assert isinstance(self.scales, Tensor)
        return _split(flat * self.scales, self.targets)


WEIGHT_HEADS: Mapping[str, type[WeightHead]] = {"full": FullHead, "low_rank": LowRankHead, "chunked": ChunkedHead}
"""Heads that predict weights, by name; ``gated`` is the best-response layers'."""


def _linear(inputs: int, outputs: int, *, bias: bool) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="linear")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _share(power: float | None) -> float:
    return _SHARE if power is None else 1 / math.sqrt(power)


@torch.no_grad()
def _spread(layer: nn.Linear, targets: Mapping[str, Target], features: int, *, share: float) -> None:
    """Draw the rows so that features of mean square 1 give a share of the targets' spread."""
    scales = torch.cat([torch.full((target.numel,), target.scale) for target in targets.values()])
    layer.weight.normal_()
    layer.weight.mul_(share * scales[:, None] / math.sqrt(features))


def _chunks(total: int) -> tuple[int, int]:
    """Return the size of a chunk and the number of chunks."""
    size = min(_CHUNK, max(1, math.ceil(math.sqrt(total)) * 4))
    return size, math.ceil(total / size)


def _split(flat: Tensor, parts: Mapping[str, Target]) -> dict[str, Tensor]:
    pieces = torch.split(flat, [part.numel for part in parts.values()], dim=1)
    return {name: piece.reshape(-1, *part.shape) for (name, part), piece in zip(parts.items(), pieces, strict=True)}
