"""Self-attention made of linear layers, so that everything in it can respond to hyperparameters.

References:
    [Vaswani2017] Vaswani et al. Attention Is All You Need. NIPS 2017, arXiv 1706.03762.
    [Dosovitskiy2021] Dosovitskiy et al. An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale.
        ICLR 2021, arXiv 2010.11929.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from hypertune.errors import FamilyError
from hypertune.families._activations import Activation, activation_module

__all__ = ["EncoderBlock"]


class EncoderBlock(nn.Module):
    """Self-attention and a two-layer perceptron, each after a LayerNorm and beside a shortcut ([Dosovitskiy2021] eq. 2
    and 3).

    The attention is [Vaswani2017] eq. 1 without a mask. ``nn.MultiheadAttention`` computes the same from weights that
    it reads instead of calling layers, which no per-example response can reach.

    Args:
        width: Features of a token.
        heads: Attention heads; divides ``width``.
        mlp_ratio: Hidden units of the perceptron per feature.
        dropout: Probability to drop an output of attention or perceptron, or a hidden unit.
        activation: The perceptron's activation.

    Raises:
        FamilyError: ``heads`` does not divide ``width``.
    """

    def __init__(
        self, width: int, *, heads: int, mlp_ratio: int, dropout: float, activation: Activation = "gelu"
    ) -> None:
        super().__init__()
        if width % heads:
            raise FamilyError(
                f"{heads} heads do not divide {width} features",
                where="family.heads",
                given=heads,
                expected=f"a divisor of {width}",
                fix="choose a width that is a multiple of every number of heads in the space",
            )
        self.attention_norm = nn.LayerNorm(width)
        self.attention = _SelfAttention(width, heads)
        self.attention_dropout = nn.Dropout(dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width),
            activation_module(activation),
            nn.Dropout(dropout),
            nn.Linear(mlp_ratio * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(batch, N, width)`` to tokens of the same shape."""
        x = x + self.attention_dropout(self.attention(self.attention_norm(x)))
        outputs: Tensor = x + self.mlp(self.mlp_norm(x))
        return outputs


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        # (query, key or value; batch, heads, N, width / heads)
        query, key, value = self.inputs(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        made: Tensor = self.outputs(_attend(query, key, value).transpose(1, 2).flatten(2))
        return made


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if forward_ad.unpack_dual(query).tangent is None:  # type: ignore[no-untyped-call]
        return functional.scaled_dot_product_attention(query, key, value)
    # A linearised response is differentiated forwards, which torch's fused kernels cannot be.
    with sdpa_kernel(SDPBackend.MATH):
        return functional.scaled_dot_product_attention(query, key, value)
