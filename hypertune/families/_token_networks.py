"""Networks on the tokens of an input, and where blocks go into their backbone.

References:
    [Dosovitskiy2021] Dosovitskiy et al. An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale.
        ICLR 2021, arXiv 2010.11929.
    [Beyer2022] Beyer, Zhai, Kolesnikov. Better plain ViT baselines for ImageNet-1k. arXiv 2205.01580.
    [Lei2025] Lei et al. SoftHGNN: Soft Hypergraph Neural Networks for General Visual Recognition. IJCV 2026, arXiv
        2505.15325.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.families._activations import Activation
from hypertune.families._attention import EncoderBlock
from hypertune.records import TaskSpec

__all__ = ["INSERTIONS", "PatchTransformer", "insert_blocks"]

INSERTIONS = ("none", "after_backbone", "after_each")
"""Where blocks go: nowhere; once, after the last block of the backbone, as in [Lei2025]; after each of its blocks."""

_PATCHES: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class PatchTransformer(nn.Module):
    """Classifier or regressor on patches of signals, images or volumes, after [Dosovitskiy2021] fig. 1.

    Patches are mapped to tokens, learned positions are added, ``depth`` encoder blocks follow, then LayerNorm, the mean
    over the tokens in place of a class token ([Beyer2022]), and a linear head. Axes that the patch does not divide are
    filled up with zeros at their end.

    Args:
        task: Shape of the problem; ``input_shape`` is ``(channels, *space)`` with one to three axes of space.
        width: Features of a token.
        depth: Encoder blocks.
        heads: Attention heads; divides ``width``.
        patch_size: Side of a patch in cells.
        mlp_ratio: Hidden units of the blocks' perceptrons per feature.
        dropout: Probability to drop a feature of the embedded patches, inside the blocks (see `EncoderBlock`), and
            before the head.
        activation: The activation.

    Raises:
        FamilyError: ``heads`` does not divide ``width``.
    """

    def __init__(
        self,
        task: TaskSpec,
        *,
        width: int,
        depth: int,
        heads: int,
        patch_size: int,
        mlp_ratio: int = 2,
        dropout: float = 0.0,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        channels, *space = task.input_shape
        missing = [-size % patch_size for size in space]
        # torch fills up from the last axis to the first; nothing before the start.
        self._filling = [side for missed in reversed(missing) for side in (0, missed)]
        tokens = math.prod((size + missed) // patch_size for size, missed in zip(space, missing, strict=True))
        self.patches = _PATCHES[len(space)](channels, width, patch_size, patch_size)
        # Of size 1, as an embedding starts. With 0.02, usual for large data, training on 1,077 digits of 8 x 8 cells
        # stayed at chance for its first three epochs of ten.
        self.positions = nn.Parameter(torch.randn(tokens, width))
        self.dropout = nn.Dropout(dropout)
        self.stages = nn.Sequential(
            *(
                EncoderBlock(width, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout, activation=activation)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head_dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, task.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, *input_shape)`` to ``(batch, output_size)``."""
        if any(self._filling):
            x = functional.pad(x, self._filling)
        tokens = self.patches(x).flatten(2).mT + self.positions
        features = self.norm(self.stages(self.dropout(tokens))).mean(dim=1)
        outputs: Tensor = self.head(self.head_dropout(features))
        return outputs


def insert_blocks(stages: nn.Sequential, make: Callable[[int], nn.Module], insertion: str) -> nn.Sequential:
    """Return a backbone's stages with further blocks between them.

    Args:
        stages: At least one stage.
        make: Makes the block that follows a stage, given the stage's index.
        insertion: One of `INSERTIONS`.

    Returns:
        The stages themselves when nothing is inserted, else a new sequence of the same modules and the new ones.
    """
    if insertion == "none":
        return stages
    last = len(stages) - 1
    made: list[nn.Module] = []
    for index, stage in enumerate(stages):
        made.append(stage)
        if insertion == "after_each" or index == last:
            made.append(make(index))
    return nn.Sequential(*made)
