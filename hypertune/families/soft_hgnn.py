"""SoftHGNN: soft hypergraphs between the blocks of a transformer or a convolutional network.

Tokens, or the cells of a feature map, exchange messages over hyperedges that the model makes from each input. Without
the insertion the model is its plain backbone, the control of any comparison.

References:
    [Lei2025] Lei et al. SoftHGNN: Soft Hypergraph Neural Networks for General Visual Recognition. IJCV 2026, arXiv
        2505.15325.
"""

from __future__ import annotations

import math

from torch import nn

from hypertune.errors import FamilyError
from hypertune.families._activations import ACTIVATIONS, MIX_DOC, read_activation
from hypertune.families._residual import ResidualNetwork, plain_convolution
from hypertune.families._shapes import check_input
from hypertune.families._soft_hyperedge import SoftHyperedges
from hypertune.families._soft_hypergraph_block import SoftHypergraphBlock
from hypertune.families._token_networks import INSERTIONS, PatchTransformer, insert_blocks
from hypertune.families._values import read_choice, read_factor, read_fraction, read_size
from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = ["FAMILY", "SoftHyperedges", "SoftHypergraphBlock"]

_BACKBONES = ("vit", "cnn")
_SELECTIONS = ("dense", "sparse")


def _build(params: Params, task: TaskSpec) -> nn.Module:
    backbone = read_choice(params, "backbone", "vit", _BACKBONES)
    width = read_size(params, "width", 32)
    depth = read_size(params, "depth", 2)
    heads = read_size(params, "heads", 4)
    patch_size = read_size(params, "patch_size", 2)
    mlp_ratio = read_size(params, "mlp_ratio", 2)
    dropout = read_fraction(params, "dropout", 0.0)
    activation = read_activation(params, "gelu")
    insertion = read_choice(params, "insertion", "after_backbone", INSERTIONS)
    hyperedges = read_size(params, "hyperedges", 16)
    hyperedge_heads = read_size(params, "hyperedge_heads", 8)
    hyperedge_dropout = read_fraction(params, "hyperedge_dropout", 0.1)
    selection = read_choice(params, "selection", "dense", _SELECTIONS)
    top_k = read_size(params, "top_k", 8)
    fixed = read_size(params, "fixed_hyperedges", 8, low=0)
    balance = read_factor(params, "load_balance", 0.01)
    check_input(task, "soft_hgnn", flat=False)
    sparse = selection == "sparse"

    model: PatchTransformer | ResidualNetwork
    if backbone == "vit":
        widths = [width] * depth
        model = PatchTransformer(
            task,
            width=width,
            depth=depth,
            heads=heads,
            patch_size=patch_size,
            mlp_ratio=mlp_ratio,
            dropout=dropout,
            activation=activation,
        )
    else:
        widths = [_first_channels(width, depth) * 2**stage for stage in range(depth)]
        model = ResidualNetwork(
            task,
            plain_convolution(len(task.input_shape) - 1),
            width=widths[0],
            depth=depth,
            dropout=dropout,
            activation=activation,
        )

    def block(stage: int) -> nn.Module:
        return SoftHypergraphBlock(
            widths[stage],
            hyperedges,
            # Earlier stages may have channels that the number of heads does not divide.
            heads=hyperedge_heads if stage == depth - 1 else math.gcd(hyperedge_heads, widths[stage]),
            dropout=hyperedge_dropout,
            top_k=top_k if sparse else None,
            fixed=fixed if sparse else 0,
            balance=balance,
            channels_first=backbone == "cnn",
        )

    model.stages = insert_blocks(model.stages, block, insertion)
    return model


def _first_channels(width: int, depth: int) -> int:
    """Return the channels of the first of ``depth`` stages, each with twice the channels of the one before."""
    growth = 1 << (depth - 1)
    if width % growth:
        raise FamilyError(
            f"{width} channels cannot be halved {depth - 1} times",
            where="family.width",
            given=width,
            expected=f"a multiple of {growth} with the backbone cnn and depth {depth}",
            fix="raise width, or lower depth",
        )
    return width // growth


FAMILY = Family(
    name="soft_hgnn",
    build=_build,
    hyperparameters={
        "backbone": f"what makes and mixes the tokens: {', '.join(_BACKBONES)}",
        "width": "features of a token; or channels of the last stage, half as many at each earlier one",
        "depth": "encoder blocks, or residual stages of two convolutions each",
        "heads": "attention heads of the backbone vit; divides width",
        "patch_size": "side of a token's patch in cells, backbone vit",
        "mlp_ratio": "hidden units of an encoder block's perceptron per feature, backbone vit",
        "dropout": "probability to drop a unit of the backbone vit, or a feature before the head",
        "activation": f"activation function of the backbone: {', '.join(ACTIVATIONS)}",
        "activation_mix": MIX_DOC,
        "insertion": f"where soft hypergraphs go, none is the plain backbone: {', '.join(INSERTIONS)}",
        "hyperedges": "hyperedges of a soft hypergraph; with sparse selection those to select from",
        "hyperedge_heads": "heads of the similarity, a divisor of width; all they do is a temperature of sqrt(heads)",
        "hyperedge_dropout": "probability to set a vertex's similarity with a hyperedge to 0",
        "selection": f"whether an input uses all hyperedges or the most similar ones: {', '.join(_SELECTIONS)}",
        "top_k": "hyperedges that an input selects, with sparse selection; at most hyperedges",
        "fixed_hyperedges": "further hyperedges that every input uses, with sparse selection",
        "load_balance": "weight of the loss that keeps the selection balanced, with sparse selection",
    },
    default_space="soft_hgnn",
    reference="Lei et al., arXiv 2505.15325",
)
