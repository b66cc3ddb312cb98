"""The layers of a hypernetwork between its encoded input and its output head.

References:
    [Ortiz24] Ortiz, Guttag, Dalca. Magnitude Invariant Parametrizations Improve Hypernetwork Learning. ICLR 2024,
        arXiv 2304.07645.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from hypertune.errors import ConfigError, did_you_mean

__all__ = ["ACTIVATIONS", "NORMALIZATIONS", "Body"]

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMALIZATIONS = ("none", "layer")
_SLOPE = 0.01


class Body(nn.Sequential):
    """Fully connected layers, each with an activation.

    The defaults of `MIPHypernetwork` are those of [Ortiz24] section 4.1: two layers of 16 and 128 units, leaky ReLU,
    no normalization, zero biases, and Kaiming's initialisation by fan-out.

    Args:
        inputs: Length of an encoded point.
        hidden: Units of each layer, at least one layer.
        activation: One of `ACTIVATIONS`.
        normalization: ``none``, or ``layer``: layer normalization before each activation.

    Attributes:
        outputs: Number of features.

    Raises:
        ConfigError: An option is unknown or out of range.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], *, activation: str = "leaky_relu", normalization: str = "none"
    ) -> None:
        _check("activation", activation, ACTIVATIONS)
        _check("normalization", normalization, NORMALIZATIONS)
        if not hidden or any(isinstance(units, bool) or not isinstance(units, int) or units < 1 for units in hidden):
            raise ConfigError(
                "not the sizes of layers",
                where="sampler.hypernetwork.hidden",
                given=list(hidden),
                expected="one or more whole numbers of at least 1",
            )
        layers: list[nn.Module] = []
        for before, units in zip((inputs, *hidden), hidden, strict=False):
            layer = nn.Linear(before, units)
            nn.init.kaiming_normal_(layer.weight, a=_SLOPE, mode="fan_out", nonlinearity="leaky_relu")
            nn.init.zeros_(layer.bias)
            layers.append(layer)
            if normalization == "layer":
                layers.append(nn.LayerNorm(units))
            layers.append(ACTIVATIONS[activation]())
        super().__init__(*layers)
        self.outputs = hidden[-1]

    def forward(self, encoded: Tensor) -> Tensor:
        """Return features ``(n, outputs)`` of encoded points ``(n, inputs)``."""
        for layer in self:
            encoded = layer(encoded)
        return encoded


def _check(name: str, given: str, known: Mapping[str, object] | Sequence[str]) -> None:
    if given not in known:
        raise ConfigError(
            f"unknown {name}",
            where=f"sampler.hypernetwork.{name}",
            given=given,
            expected=f"one of {', '.join(known)}",
            fix=did_you_mean(given, known),
        )
