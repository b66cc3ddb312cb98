"""Attach a best response to an unmodified ``nn.Module``.

References:
    [MacKay19] MacKay, Vicol, Lorraine, Duvenaud, Grosse. Self-Tuning Networks: Bilevel Optimization of
        Hyperparameters using Structured Best-Response Functions. ICLR 2019, arXiv 1903.03088.
    [Bae20] Bae, Grosse. Delta-STN: Efficient Bilevel Optimization for Neural Networks using Structured Response
        Jacobians. NeurIPS 2020, arXiv 2010.13514.
"""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from hypertune.auxiliary_loss import auxiliary_loss
from hypertune.effects.catalogue import effects
from hypertune.errors import FamilyError, SpaceError
from hypertune.hypernets.activation_penalty import penalize_activations
from hypertune.hypernets.auxiliary_loss import TunedAuxiliaryLoss
from hypertune.hypernets.binding import Bindings, Target, resolve_bindings
from hypertune.hypernets.context import BatchAxis, Context, ContextHook
from hypertune.hypernets.dropout import TunedDropout
from hypertune.hypernets.hyperparameters import TunedHyperparameters
from hypertune.hypernets.layers._choose import response_layer
from hypertune.hypernets.layers.contract import ResponseLayer
from hypertune.hypernets.weight_noise import add_weight_noise
from hypertune.records import Params
from hypertune.space import SearchSpace

__all__ = ["ResponseModel", "attach"]


class ResponseModel(nn.Module):
    """A model whose weights respond to hyperparameters; made by `attach`.

    Attributes:
        model: The model with best-response layers and tuned dropout in the places of the plain ones.
        hyperparameters: What is tuned.
        bindings: What each hyperparameter does inside the model.
        treated: Paths of the layers that respond.
        untreated: Paths of the layers that stay plain, with the reason.
    """

    def __init__(
        self,
        model: nn.Module,
        hyperparameters: TunedHyperparameters,
        context: Context,
        bindings: Bindings,
        treated: Sequence[str],
        untreated: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.model = model
        self.hyperparameters = hyperparameters
        self.bindings = bindings
        self.treated = tuple(treated)
        self.untreated = dict(untreated)
        self.context = context

    def forward(self, x: Any, displacement: Tensor | None = None, values: Mapping[str, Tensor] | None = None) -> Tensor:
        """Run the model with each example's own weights.

        Args:
            x: What the plain model takes; the examples along the first axis.
            displacement: h, ``(batch, h)``, or ``(1, h)`` shared by all examples; None: the plain weights.
            values: Value in effect of the hyperparameters that act inside the model, ``(batch,)`` or ``(1,)`` each;
                None: none acts, dropout is off.

        Returns:
            The model's outputs.
        """
        outputs, _ = self.outputs_and_penalties(x, displacement, values)
        return outputs

    def outputs_and_penalties(
        self, x: Any, displacement: Tensor | None = None, values: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the outputs, and what must be added to each example's loss: decay of its weights, activations.

        Args:
            x: As for `forward`.
            displacement: As for `forward`.
            values: As for `forward`.

        Returns:
            Outputs, and ``(batch,)`` or ``(1,)``; None without values.
        """
        outputs, added, penalized = self.outputs_and_penalized(x, displacement, values)
        return outputs, None if values is None else self.penalty(added, penalized, displacement, values)

    def outputs_and_penalized(
        self, x: Any, displacement: Tensor | None = None, values: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the outputs, what `penalty` adds as it is, and what it squares.

        Args:
            x: As for `forward`.
            displacement: As for `forward`.
            values: As for `forward`.

        Returns:
            Outputs; the sum of the auxiliary losses, ``(batch,)`` or ``(1,)``, 0 where there is none; and tensors
            ``(batch or 1, entries)``; see `Context.penalized`.
        """
        plain = displacement is None
        with (
            self.context.using(displacement, values) as context,
            contextlib.nullcontext() if plain else _no_fast_path(),
        ):
            outputs: Tensor = self.model(x)
            return outputs, self._added(context), list(context.penalized)

    def linearized_outputs_and_penalized(
        self, x: Any, perturbation: Tensor, values: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Do what `outputs_and_penalized` does with the model linearised in the displacement at 0: ``f + J_h f eps``.

        By forward-mode differentiation ([Bae20] section 4.2). With the plain weights fixed no graph is kept of the
        values, only of their derivatives: nothing else depends on the response.

        Args:
            x: As for `forward`.
            perturbation: eps, ``(batch, h)`` or ``(1, h)``.
            values: As for `forward`.
        """
        with forward_ad.dual_level():
            displacement = forward_ad.make_dual(torch.zeros_like(perturbation), perturbation)  # type: ignore[no-untyped-call]
            with self.context.using(displacement, values, linearized=True) as context, _no_fast_path():
                outputs: Tensor = self.model(x)
                added = self._added(context)
                return _extrapolated(outputs), _extrapolated(added), [_extrapolated(rows) for rows in context.penalized]

    def _added(self, context: Context) -> Tensor:
        added = torch.zeros(1, device=self.hyperparameters.raw.device)
        constant = auxiliary_loss(self.model)
        for term in context.added if constant is None else (*context.added, constant):
            added = added + term
        return added

    def penalty(
        self, added: Tensor, penalized: Sequence[Tensor], displacement: Tensor | None, values: Mapping[str, Tensor]
    ) -> Tensor:
        """Return what must be added to each example's loss: auxiliary losses, activations, decay of its weights.

        Args:
            added: From `outputs_and_penalized`.
            penalized: From `outputs_and_penalized`.
            displacement: As for `forward`.
            values: As for `forward`.

        Returns:
            ``(batch,)`` or ``(1,)``.
        """
        total = added
        for rows in penalized:
            total = total + rows.square().sum(dim=1)
        for name, paths in self.bindings.paths["weight_decay"].items():
            total = total + 0.5 * values[name] * self.squared_norm(displacement, paths)
        return total

    def squared_norm(self, displacement: Tensor | None, paths: Collection[str] | None = None) -> Tensor:
        """Return the squared L2 norm of all trainable weights, each example's own ones.

        Args:
            displacement: ``(batch, h)``, ``(1, h)`` or None.
            paths: Modules to count; all by default. A parameter that several of them share counts once.

        Returns:
            ``(batch,)`` or ``(1,)``.
        """
        total = torch.zeros(1, device=self.hyperparameters.raw.device)
        seen: set[nn.Parameter] = set()
        for path, layer in self._owners():
            if paths is not None and path not in paths:
                continue
            if isinstance(layer, ResponseLayer):
                total = total + layer.squared_norm(displacement)
            else:
                for weight in layer.parameters(recurse=False):
                    if weight.requires_grad and weight not in seen:
                        seen.add(weight)
                        total = total + weight.abs().square().sum()
        return total

    def general_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the trainable plain weights: what the plain model would train."""
        seen: set[nn.Parameter] = set()
        for _, layer in self._owners():
            plain = layer.plain.parameters() if isinstance(layer, ResponseLayer) else layer.parameters(recurse=False)
            for weight in plain:
                if weight.requires_grad and weight not in seen:
                    seen.add(weight)
                    yield weight

    def response_parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the parameters of the response."""
        for layer in self._responding().values():
            yield from layer.response_parameters()

    @torch.no_grad()
    def absorb(self, displacement: Tensor) -> None:
        """Move the plain weights to where the response puts them, in place.

        Args:
            displacement: ``(h,)``.
        """
        for layer in self._responding().values():
            plain = dict(layer.plain.named_parameters())
            for name, weight in layer.responded(displacement).items():
                plain[name].copy_(weight)

    @torch.no_grad()
    def detach_response(self, displacement: Tensor | None = None) -> nn.Module:
        """Return a plain copy of the model with the weights w(h), for deployment.

        Args:
            displacement: ``(h,)``; None: the plain weights.

        Returns:
            The model as it was given to `attach`, with new weights; dropout modules have the current rates.
        """
        # Copied as a whole, so that modules which appear twice in the model do so in the copy.
        plain = copy.deepcopy(self)
        if displacement is not None:
            plain.absorb(displacement)
        rates = {name: float(value) for name, value in self.hyperparameters.current().items()}  # type: ignore[arg-type]
        model = _replaced(plain.model, lambda module: _plain(module, rates))
        for module in model.modules():
            for key, hook in list(module._forward_hooks.items()):
                if isinstance(hook, ContextHook):
                    del module._forward_hooks[key]
        return model

    def plain_state_dict(self, displacement: Tensor | None = None) -> dict[str, Any]:
        """Return the state dict of `detach_response`, without copying the model.

        Args:
            displacement: ``(h,)``; None: the plain weights.
        """
        responding = self._responding()
        moved = {
            _join(path, f"plain.{name}"): weight
            for path, layer in responding.items()
            if displacement is not None
            for name, weight in layer.responded(displacement).items()
        }
        state = self.model.state_dict()
        names = self._plain_names(state)
        content = type(state)()
        for key, value in state.items():
            if key in names:
                content[names[key]] = moved.get(key, value)
        return content

    def load_plain_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the plain model's state dict as the weights at h = 0; the response stays as it is.

        Raises:
            FamilyError: Keys are missing, unexpected, or of another shape.
        """
        own = self.model.state_dict()
        inner = {name: key for key, name in self._plain_names(own).items()}
        wrong = sorted(set(inner).symmetric_difference(state))
        if wrong:
            raise FamilyError(
                "the state dict is of another model",
                where=f"model.{wrong[0]}",
                given="missing" if wrong[0] in inner else "unexpected",
                fix="load the state dict of the plain model",
            )
        try:
            self.model.load_state_dict({**own, **{inner[key]: value for key, value in state.items()}})
        except RuntimeError as error:
            raise FamilyError(f"the state dict is of another model: {error}", where="model") from error

    def _plain_names(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the plain model's name of each key; keys of the response are left out."""
        names = {key: key for key in keys}
        for path in self._responding():
            for key in list(names):
                if key.startswith(_join(path, "response.")):
                    del names[key]
                elif key.startswith(_join(path, "plain.")):
                    names[key] = _join(path, key.removeprefix(_join(path, "plain.")))
        return names

    def _responding(self) -> dict[str, ResponseLayer]:
        return {path: layer for path, layer in self.model.named_modules() if isinstance(layer, ResponseLayer)}

    def _owners(self) -> Iterator[tuple[str, nn.Module]]:
        """Iterate over the best-response layers and the plain modules that own parameters."""
        inside: tuple[str, ...] = ()
        for path, module in self.model.named_modules():
            if inside and path.startswith(inside):
                continue
            if isinstance(module, ResponseLayer):
                inside = (*inside, f"{path}." if path else "")
                yield path, module
            elif next(module.parameters(recurse=False), None) is not None:
                yield path, module


def attach(
    model: nn.Module,
    space: SearchSpace,
    start: Params,
    *,
    outside: Collection[str] | None = None,
    bind: Mapping[str, Target] | None = None,
    rank: int = 0,
    include: Sequence[str | type[nn.Module]] = ("*",),
    exclude: Sequence[str | type[nn.Module]] = (),
    batch_axes: Mapping[str, BatchAxis] | None = None,
    scale: float | Mapping[str, float] = 0.5,
    size: int | None = None,
) -> ResponseModel:
    """Let a model's weights respond to hyperparameters.

    The model is copied; the copy has best-response layers in the places of the layers that can respond, and dropout
    modules that read their rate per example. At zero displacement it computes what the given model computes.

    Args:
        model: Any module.
        space: Its self-tuned hyperparameters are tuned; all of them when none is marked.
        start: Values to start from, by name.
        outside: Names of hyperparameters that act outside the model, on inputs, targets or losses; those of all known
            effects by default.
        bind: What hyperparameters act on, where the name does not tell; see `binding.resolve_bindings`.
        rank: 0: the weights of each output unit grow and shrink as a whole. r > 0: they move along r learned
            directions, at the cost of as many further products with the input.
        include: Path patterns or types of the layers that shall respond.
        exclude: Path patterns or types of the layers that shall stay plain.
        batch_axes: Axis of the batch in the inputs of layers by path pattern, where it is not the first; ``"merged"``
            where the first axis is batch times something.
        scale: Initial standard deviation of the perturbations.
        size: Length of a displacement, where it is not that of the hyperparameters but features of them; 0: all layers
            stay plain, and the hyperparameters only act.

    Returns:
        The responding model, on the device of the given one.

    Raises:
        SpaceError: There is nothing to tune, or a hyperparameter acts on nothing or cannot be tuned this way.
        FamilyError: No layer of the model can respond.
    """
    names = [name for name in space.names if name in space.self_tuned] or list(space.names)
    tuned = SearchSpace({name: space.distributions[name] for name in names}, space.self_tuned)
    for name in names:
        if name not in start:
            raise SpaceError("value is missing", where=f"start.{name}", fix="give every tuned hyperparameter a start")
    hyperparameters = TunedHyperparameters(tuned, start, scale=scale)
    bindings = resolve_bindings(model, names, bind=bind or {}, outside=effects() if outside is None else outside)
    context = Context(batch_axes)
    model = copy.deepcopy(model)
    tied = _shared_parameters(model)
    treated: list[str] = []
    untreated: dict[str, str] = {}
    layers: dict[int, nn.Module | None] = {}
    for path, module in list(model.named_modules()):
        if next(module.parameters(recurse=False), None) is None:
            continue
        reason = "nothing responds" if size == 0 else _stays_plain(path, module, include, exclude, tied)
        layer = None if reason else response_layer(module, context, size=size or len(names), rank=rank, path=path)
        layers[id(module)] = layer
        if layer is None:
            untreated[path] = reason or f"no best response is known for {type(module).__name__}"
        else:
            treated.append(path)
    if not treated and size != 0:
        raise FamilyError(
            "no layer of the model can respond to hyperparameters",
            where="model",
            given="; ".join(f"{path}: {reason}" for path, reason in untreated.items()) or "no parameters",
            expected="at least one linear, convolution, normalization, embedding or recurrent layer",
            fix="widen `include`, or register a best response for the layer's type",
        )
    rates = {path: name for name, paths in bindings.paths["dropout"].items() for path in paths}
    weights = {path: name for name, paths in bindings.paths["auxiliary_loss"].items() for path in paths}
    reading: dict[int, nn.Module] = {}
    for path, module in model.named_modules():
        if path in rates:
            reading[id(module)] = TunedDropout(module, context, name=rates[path], path=path)
        elif path in weights:
            reading[id(module)] = TunedAuxiliaryLoss(context, name=weights[path], path=path)
    replaced = _replaced(model, lambda module: reading.get(id(module)) or layers.get(id(module)))
    for name, paths in bindings.paths["weight_noise"].items():
        add_weight_noise(replaced, context, name=name, paths=paths)
    for name, paths in bindings.paths["activation_penalty"].items():
        penalize_activations(replaced, context, name=name, paths=paths)
    device = next(model.parameters()).device
    return ResponseModel(replaced, hyperparameters, context, bindings, treated, untreated).to(device)


def _extrapolated(tensor: Tensor) -> Tensor:
    """Return value plus derivative of a dual tensor."""
    at, slope = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return at if slope is None else at + slope  # type: ignore[no-any-return]


@contextlib.contextmanager
def _no_fast_path() -> Iterator[None]:
    """Keep torch's transformer layers from reading their layers' weights in place of calling them."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _stays_plain(
    path: str,
    module: nn.Module,
    include: Sequence[str | type[nn.Module]],
    exclude: Sequence[str | type[nn.Module]],
    tied: Collection[int],
) -> str | None:
    if not _matches(path, module, include):
        return "not included"
    if _matches(path, module, exclude):
        return "excluded"
    weights = list(module.parameters())
    if not any(weight.requires_grad for weight in weights):
        return "frozen"
    if any(id(weight) in tied for weight in weights):
        return "shares a parameter with another module"
    return None


def _matches(path: str, module: nn.Module, patterns: Sequence[str | type[nn.Module]]) -> bool:
    return any(
        fnmatchcase(path, pattern) if isinstance(pattern, str) else isinstance(module, pattern) for pattern in patterns
    )


def _shared_parameters(model: nn.Module) -> set[int]:
    owners = Counter(id(weight) for module in model.modules() for weight in module.parameters(recurse=False))
    return {weight for weight, count in owners.items() if count > 1}


def _replaced(module: nn.Module, replacement: Any) -> nn.Module:
    """Replace modules below ``module``, and it itself, wherever ``replacement(module)`` gives another one.

    A module that appears twice is replaced by one module, and what replaces a module is not searched.
    """
    done: dict[int, nn.Module] = {}

    def visit(module: nn.Module) -> nn.Module:
        if id(module) not in done:
            new = replacement(module)
            done[id(module)] = module if new is None else new
            if new is None:
                for name, child in list(module._modules.items()):
                    if child is not None:
                        module._modules[name] = visit(child)
        return done[id(module)]

    return visit(module)


def _plain(module: nn.Module, rates: Mapping[str, float]) -> nn.Module | None:
    if isinstance(module, ResponseLayer):
        return module.plain
    if isinstance(module, TunedDropout | TunedAuxiliaryLoss):
        return module.restored(rates[module.name])
    return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
