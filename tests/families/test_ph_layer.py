"""What all hypercomplex layers keep: algebras, initialisation, the kept weight, and working with the rest of torch."""

import copy
import io
import math
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from hypertune.errors import FamilyError
from hypertune.families.phnn import PHConv1d, PHConv2d, PHConv3d, PHMLinear
from hypertune.hypernets.attach import attach
from hypertune.space import SearchSpace

DIMENSIONS = {"learned": 4, "real": 1, "complex": 2, "quaternion": 4, "dihedron": 4}
CUSTOM = 3 * torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
MAKERS = {
    "linear": (lambda n, **o: PHMLinear(n, 4 * n, 8 * n, **o), ()),
    "conv1d": (lambda n, **o: PHConv1d(n, 4 * n, 4 * n, 3, padding="same", groups=2, **o), (5,)),
    "conv2d": (lambda n, **o: PHConv2d(n, 4 * n, 4 * n, 3, stride=2, padding=1, groups=2, **o), (5, 4)),
    "conv3d": (lambda n, **o: PHConv3d(n, 2 * n, 4 * n, 2, dilation=2, **o), (4, 3, 4)),
}
LAYERS = pytest.mark.parametrize(("make", "space"), MAKERS.values(), ids=MAKERS)


def inputs(layer, space, batch=2):
    width = layer.in_features if isinstance(layer, PHMLinear) else layer.in_channels
    return torch.randn(batch, width, *space, dtype=layer.F.dtype)


def counted(layer, monkeypatch):
    """Count how often a layer assembles its weight."""
    calls, weight = [], layer.weight
    monkeypatch.setattr(layer, "weight", lambda: calls.append(1) or weight())
    return calls


# Algebras


@LAYERS
@pytest.mark.parametrize("algebra", [*DIMENSIONS, "custom"])
def test_rules_are_learned_or_fixed(make, space, algebra):
    n = DIMENSIONS.get(algebra, 3)
    layer = make(n, algebra=CUSTOM if algebra == "custom" else algebra, bias=False)
    weights = math.prod(layer.weight().shape)
    learned = algebra == "learned"
    assert sum(p.numel() for p in layer.parameters()) == weights // n + (n**3 if learned else 0)
    assert ("A" in dict(layer.named_parameters())) == learned
    assert ("A" in dict(layer.named_buffers())) != learned
    assert set(layer.state_dict()) == {"A", "F"}
    assert f"algebra={algebra}" in repr(layer)
    before = layer.A.clone()
    layer(inputs(layer, space)).square().sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    assert torch.equal(layer.A, before) != learned


def test_custom_rules_are_those_given():
    layer = PHMLinear(3, 3, 3, algebra=CUSTOM, dtype=torch.float64)
    torch.testing.assert_close(layer.weight(), torch.einsum("iab,ioc->aobc", CUSTOM, layer.F).reshape(3, 3))


@pytest.mark.parametrize("initial", ["complex", torch.tensor([[[1, 0], [0, 1]], [[0, -1], [1, 0]]])])
def test_learned_rules_may_start_from_known_ones(initial):
    layer, fixed = PHMLinear(2, 4, 4, initial=initial), PHMLinear(2, 4, 4, algebra="complex")
    assert isinstance(layer.A, nn.Parameter)
    assert torch.equal(layer.A, fixed.A)
    layer.reset_parameters()
    assert torch.equal(layer.A, fixed.A)


def test_real_weights_are_the_filters_themselves():
    for make, space in MAKERS.values():
        layer = make(1, algebra="real")
        assert torch.equal(layer.weight(), layer.F[0])
        assert layer(inputs(layer, space)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"algebra": "quaternoin"}, "algebra"),
        ({"algebra": "quaternion"}, "n"),
        ({"algebra": torch.ones(2, 2)}, "algebra"),
        ({"algebra": torch.ones(4, 4, 4)}, "algebra"),
        ({"initial": "quaternion"}, "n"),
        ({"initial": "learned"}, "initial"),
        ({"initial": torch.ones(2)}, "algebra"),
        ({"algebra": "complex", "initial": "complex"}, "initial"),
    ],
)
@LAYERS
def test_wrong_algebras_are_named(make, space, options, where):
    with pytest.raises(FamilyError) as caught:
        make(2, **options)
    assert caught.value.where == f"family.{where}"


# Initialisation


@pytest.mark.parametrize("algebra", [*DIMENSIONS, "custom"])
@pytest.mark.parametrize("scheme", ["torch", "he", "glorot"])
@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_initial_variance_is_the_plain_layers(algebra, scheme, kind):
    n = DIMENSIONS.get(algebra, 3)
    rules = CUSTOM if algebra == "custom" else algebra
    if kind == "linear":
        layer, plain = PHMLinear(n, 144, 240, algebra=rules), nn.Linear(144, 240)
    else:
        layer, plain = PHConv2d(n, 48, 72, 3, groups=2, algebra=rules), nn.Conv2d(48, 72, 3, groups=2)
    fan_in, fan_out = plain.weight[0].numel(), plain.weight.shape[0] * math.prod(plain.weight.shape[2:])
    if scheme == "he":
        nn.init.kaiming_uniform_(plain.weight, nonlinearity="relu")
        layer.reset_parameters(variance=2 / fan_in)
    elif scheme == "glorot":
        nn.init.xavier_uniform_(plain.weight)
        layer.reset_parameters(variance=2 / (fan_in + fan_out))
    # Five standard errors: a variance estimated from m independent uniform numbers has a relative one of sqrt(0.8/m);
    # with dense rules blocks are correlated sums, and sqrt(2/m) over the entries of one filter is an upper bound.
    filters = layer.F.numel() if algebra != "custom" else layer.F[0].numel()
    tolerance = 5 * math.sqrt((0.8 if algebra != "custom" else 2) / filters) + 5 * math.sqrt(0.8 / plain.weight.numel())
    assert layer.weight().var().item() == pytest.approx(plain.weight.var().item(), rel=tolerance)
    assert layer.bias.abs().max() <= 1 / math.sqrt(fan_in)
    assert layer.bias.var().item() == pytest.approx(1 / (3 * fan_in), rel=5 * math.sqrt(0.8 / layer.bias.numel()))


def test_parameters_drawn_after_allocation_elsewhere():
    with torch.device("meta"):
        layer = PHConv2d(4, 8, 8, 3, algebra="dihedron")
    assert layer.A.is_meta
    layer = layer.to_empty(device="cpu")
    layer.reset_parameters()
    assert torch.equal(layer.A, PHConv2d(4, 8, 8, 3, algebra="dihedron").A)
    assert layer.weight().abs().max() <= 1 / math.sqrt(72)


# Gradients


@LAYERS
@pytest.mark.parametrize("algebra", ["learned", "complex"])
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, in forward mode
def test_gradients_of_every_layer(make, space, algebra):
    layer = make(2, algebra=algebra, dtype=torch.float64)
    names, values = zip(*layer.named_parameters(), strict=True)
    assert ("A" in names) == (algebra == "learned")

    def run(x, *values):
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    x = inputs(layer, space, batch=1).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *values), check_forward_ad=True)


# The kept weight


@LAYERS
@pytest.mark.parametrize("algebra", ["learned", "quaternion"])
def test_evaluation_assembles_once(make, space, algebra, monkeypatch):
    layer = make(4, algebra=algebra).eval()
    x = inputs(layer, space)
    expected = layer(x).detach()
    calls = counted(layer, monkeypatch)
    with torch.no_grad():
        assert all(torch.equal(layer(x), expected) for _ in range(3))
    with torch.inference_mode():
        assert torch.equal(layer(x), expected)
    assert len(calls) == 1
    layer(x)  # gradients are wanted: assembled
    layer.train()
    with torch.no_grad():
        layer(x)
        layer(x)
    assert len(calls) == 4


def other(layer):
    made = copy.deepcopy(layer)
    made.reset_parameters()
    return made


@torch.no_grad()
def _trained(layer):
    x = torch.ones(1, 8)
    layer(x)
    with torch.enable_grad():
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        layer(x).square().sum().backward()
        optimizer.step()


CHANGES = {
    "filters in place": lambda layer: layer.F.data.mul_(2),
    "rules in place": lambda layer: layer.A.data.neg_(),
    "an optimizer step in eval": _trained,
    "load_state_dict": lambda layer: layer.load_state_dict(other(layer).state_dict()),
    "load_state_dict by assignment": lambda layer: layer.load_state_dict(other(layer).state_dict(), assign=True),
    "another parameter": lambda layer: setattr(layer, "F", nn.Parameter(torch.randn_like(layer.F))),
    "drawn again": lambda layer: layer.reset_parameters(),
    "vector_to_parameters": lambda layer: nn.utils.vector_to_parameters(
        torch.randn(sum(p.numel() for p in layer.parameters())), layer.parameters()
    ),
}


@pytest.mark.parametrize("algebra", ["learned", "quaternion"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_counts_at_once(algebra, change):
    layer, x = PHMLinear(4, 8, 12, algebra=algebra).eval(), torch.randn(3, 8)
    with torch.no_grad():
        before = layer(x)
        change(layer)
        expected = nn.functional.linear(x, layer.weight(), layer.bias)
        assert torch.equal(layer(x), expected)
        assert not torch.equal(layer(x), before)


def test_another_data_type_counts_and_frees_the_kept_weight():
    layer = PHMLinear(2, 4, 4).eval()
    with torch.no_grad():
        layer(torch.ones(1, 4))
        assert layer._cache._kept is not None
        layer.double()
        assert layer._cache._kept is None
        assert layer(torch.ones(1, 4, dtype=torch.float64)).dtype == torch.float64
        layer.train()
        assert layer._cache._kept is None


def test_the_public_weight_is_never_the_kept_one():
    layer, x = PHMLinear(2, 4, 4).eval(), torch.ones(1, 4)
    with torch.no_grad():
        before = layer(x)
        layer.weight().zero_()
        assert torch.equal(layer(x), before)


# The rest of torch


@LAYERS
@pytest.mark.parametrize("algebra", ["learned", "quaternion"])
def test_copies_and_pickles_are_independent_and_small(make, space, algebra):
    layer = make(4, algebra=algebra).eval()
    x = inputs(layer, space)
    with torch.no_grad():
        fresh = len(pickle.dumps(layer))
        expected = layer(x)
        assert len(pickle.dumps(layer)) == fresh
        for made in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(made(x), expected)
            made.F.neg_()
            assert not torch.equal(made(x), expected)
            assert torch.equal(layer(x), expected)


@LAYERS
def test_a_state_dict_carries_the_rules(make, space):
    layer, target = make(4, algebra="quaternion"), make(4)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    target.load_state_dict(torch.load(file, weights_only=True))
    x = inputs(layer, space)
    assert torch.equal(layer(x), target(x))


@LAYERS
@pytest.mark.parametrize("algebra", ["learned", "complex"])
@pytest.mark.parametrize("grad", [True, False])
def test_many_sets_of_weights_at_once(make, space, algebra, grad):
    """As a hypernetwork does: functional_call under vmap."""
    layers = [make(2, algebra=algebra, dtype=torch.float64).eval() for _ in range(3)]
    x = inputs(layers[0], space)
    with torch.no_grad():
        expected = torch.stack([layer(x) for layer in layers])
    parameters, buffers = stack_module_state(layers)
    base = layers[0]

    def run(parameters, buffers):
        return functional_call(base, (parameters, buffers), (x,))

    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(vmap(run)(parameters, buffers), expected)
        torch.testing.assert_close(vmap(lambda p: functional_call(base, p, (x,)))(parameters), expected)
    with torch.no_grad():
        assert torch.equal(base(x), expected[0])


def test_generated_filters_pass_gradients_to_their_generator():
    layer = PHConv2d(2, 4, 4, 3, padding=1, algebra="complex", bias=False)
    generator = nn.Linear(3, layer.F.numel())
    code = torch.randn(5, 3)
    filters = generator(code).reshape(5, *layer.F.shape)
    x = torch.randn(2, 4, 5, 5)
    vmap(lambda f: functional_call(layer, {"F": f}, (x,)))(filters).square().sum().backward()
    assert generator.weight.grad.abs().sum() > 0


@LAYERS
def test_autocast_rounds_as_the_plain_layer_does(make, space):
    layer = make(4)
    x = inputs(layer, space)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.weight().dtype == torch.float32
        made = layer(x)
        if isinstance(layer, PHMLinear):
            plain = nn.functional.linear(x, layer.weight(), layer.bias)
        else:
            sides = tuple(left for left, _ in layer.padding)
            plain = type(layer).convolve(
                x, layer.weight(), layer.bias, layer.stride, sides, layer.dilation, layer.groups
            )
        assert made.dtype == torch.bfloat16
        assert torch.equal(made, plain)
    made.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layer.parameters())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.eval()(x), plain)
        assert torch.equal(layer(x), plain)


@LAYERS
def test_parameters_of_half_precision(make, space):
    layer = make(2).to(torch.bfloat16)
    exact = copy.deepcopy(layer).double()
    x = inputs(layer, space)
    made = layer(x)
    assert made.dtype == torch.bfloat16
    # bfloat16 has 8 bits; the weights are sums of two rounded products, the outputs of at most 16.
    torch.testing.assert_close(made.double(), exact(x.double()), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_compiles_into_one_graph(kind):
    make, space = MAKERS[kind]
    layer = make(4, algebra="quaternion" if kind == "conv2d" else "learned").eval()
    x = inputs(layer, space)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected = layer(x)
    expected.square().sum().backward()
    wanted = {name: p.grad.clone() for name, p in layer.named_parameters()}
    layer.zero_grad()
    made = compiled(x)
    torch.testing.assert_close(made, expected)
    made.square().sum().backward()
    for name, p in layer.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name])
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), expected)
        layer.F.mul_(2)  # nothing may be frozen into the graph
        torch.testing.assert_close(compiled(x), layer(x))
    torch._dynamo.reset()


@LAYERS
def test_exports_with_the_assembly_inside(make, space):
    layer = make(4).eval()
    x = inputs(layer, space)
    with torch.no_grad():
        layer(x)  # a kept weight must not become a constant of the program
        program = torch.export.export(layer, (x,))
        expected = layer(x)
    assert {"A", "F", "bias"} <= set(program.state_dict)
    torch.testing.assert_close(program.module()(x), expected)
    runnable = program.module()
    with torch.no_grad():
        runnable.F.mul_(2)
        layer.F.mul_(2)
    torch.testing.assert_close(runnable(x), layer(x))
    assert not torch.allclose(layer(x), expected)


# Best responses


@pytest.mark.parametrize("algebra", ["learned", "quaternion"])
def test_best_responses_keep_the_algebra(algebra):
    """A responding model is a hypercomplex model at every displacement, kept weights or not."""
    net = nn.Sequential(PHConv2d(4, 8, 8, 3, algebra=algebra), nn.Flatten(), nn.Dropout(0.3), PHMLinear(4, 32, 4))
    net = net.double()
    space = SearchSpace.load({"dropout": {"type": "float", "low": 0.0, "high": 0.9, "self_tune": True}})
    model = attach(net, space, {"dropout": 0.3}).eval()
    assert {"0", "3"} <= set(model.treated)
    x = torch.randn(3, 8, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), net.eval()(x))
        for parameter in model.response_parameters():
            parameter.copy_(torch.randn_like(parameter) / 4)
        h = torch.tensor([[0.7]])
        moved = model(x, h.double())
        assert not torch.allclose(moved, model(x))
        deployed = model.detach_response(h[0].double())
        torch.testing.assert_close(deployed.eval()(x), moved)
        if algebra == "quaternion":
            assert torch.equal(deployed[0].A, net[0].A)
