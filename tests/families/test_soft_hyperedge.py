import copy
import io
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

from hypertune.auxiliary_loss import auxiliary_loss
from hypertune.errors import FamilyError
from hypertune.families._load_balance import load_balance
from hypertune.families._soft_hyperedge import SoftHyperedges

# Both orders of the last product: fewer hyperedges than vertices, and not.
SHAPES = [(9, 8, 4, 2), (3, 6, 5, 3), (1, 4, 3, 1), (5, 4, 5, 4)]
SPARSE = {"top_k": 2, "fixed": 1}


def by_the_equations(layer, x):
    """Loops over examples, hyperedges, vertices and heads; all hyperedges exist and a mask takes those not selected."""
    size = layer.width // layer.heads
    total = layer.fixed + layer.hyperedges
    offsets, base = layer.context.weight, layer.context.bias.view(total, layer.width)
    projection = layer.projection.weight.T  # what the vertices are projected with
    results = []
    for vertices in x:
        context = torch.cat((vertices.mean(dim=0), vertices.max(dim=0).values))
        prototypes = base + (offsets @ context).view(total, layer.width)
        logits = torch.zeros(len(vertices), total, dtype=x.dtype)
        for n, vertex in enumerate(vertices):
            projected = projection @ vertex
            for m, prototype in enumerate(prototypes):
                for head in range(layer.heads):
                    part = slice(head * size, (head + 1) * size)
                    logits[n, m] += projected[part] @ prototype[part] / math.sqrt(size) / layer.heads
        mask = torch.ones(total, dtype=x.dtype)
        if layer.top_k is not None:
            scores = logits.sum(dim=0)[layer.fixed :]
            ranked = sorted(range(layer.hyperedges), key=lambda m, scores=scores: -scores[m])
            for m in ranked[layer.top_k :]:
                mask[layer.fixed + m] = 0.0
        participation = (logits.exp() / logits.exp().sum(dim=0)) * mask
        features = [
            functional.gelu(layer.edge.weight @ (participation[:, m] @ vertices) + layer.edge.bias)
            for m in range(total)
        ]
        rows = []
        for n, vertex in enumerate(vertices):
            message = sum(participation[n, m] * features[m] for m in range(total))
            rows.append(vertex + functional.gelu(layer.vertex.weight @ message + layer.vertex_bias))
        results.append(torch.stack(rows))
    return torch.stack(results)


def made(width, hyperedges, heads, **options):
    return SoftHyperedges(width, hyperedges, heads=heads, **options).double().eval()


@pytest.mark.parametrize("options", [{}, SPARSE, {"top_k": 1}, {"top_k": 3, "fixed": 2}])
@pytest.mark.parametrize(("vertices", "width", "hyperedges", "heads"), SHAPES)
def test_equals_the_equations(vertices, width, hyperedges, heads, options):
    layer = made(width, hyperedges, heads, **options)
    x = 2 * torch.randn(3, vertices, width, dtype=torch.float64)
    torch.testing.assert_close(layer(x), by_the_equations(layer, x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("options", [{}, SPARSE])
def test_the_order_of_the_vertices_does_not_matter(options):
    layer = made(8, 6, 2, **options)
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    order = torch.randperm(7)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], rtol=1e-12, atol=1e-13)


def test_selecting_all_is_dense():
    dense, sparse = made(8, 6, 2), made(8, 6, 2, top_k=6)
    sparse.load_state_dict(dense.state_dict())
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    assert torch.equal(sparse(x), dense(x))
    apart = made(8, 4, 2, top_k=4, fixed=2)
    apart.load_state_dict(dense.state_dict())
    assert torch.equal(apart(x), dense(x))


def test_examples_select_their_own_hyperedges():
    layer = made(8, 6, 2, top_k=2)
    x = torch.randn(4, 7, 8, dtype=torch.float64) * 3
    together = layer(x)
    torch.testing.assert_close(together, torch.cat([layer(example[None]) for example in x]), rtol=1e-12, atol=1e-13)
    dense = made(8, 6, 2)
    dense.load_state_dict(layer.state_dict())
    assert not torch.allclose(dense(x), together)


def test_all_similarities_dropped_is_the_same_for_all_vertices():
    layer = made(8, 5, 2).train()
    layer.dropout.p = 1.0
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    features = functional.gelu(layer.edge(x.mean(dim=1)))
    expected = x + functional.gelu(5 / 6 * layer.vertex(features) + layer.vertex_bias)[:, None]
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-13)


# Torch's own, at the first use of forward mode.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("options", [{}, SPARSE])
@pytest.mark.parametrize("vertices", [3, 6])
def test_gradients(vertices, options):
    layer = made(4, 5, 2, **options)
    x = torch.randn(2, vertices, 4, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *values), check_forward_ad=True)


@pytest.mark.parametrize("options", [{}, SPARSE])
def test_every_parameter_has_a_gradient(options):
    layer = SoftHyperedges(8, 6, heads=2, **options)
    layer(torch.randn(5, 7, 8)).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in layer.parameters())


def test_hands_over_the_load_balance_while_training():
    layer = SoftHyperedges(8, 6, heads=2, balance=0.5, **SPARSE)
    x = torch.randn(5, 7, 8)
    layer(x)
    losses = layer.balance.take()
    assert losses.shape == (5,)
    mean = x.mean(dim=1)
    prototypes = layer.context(torch.cat((mean, x.amax(dim=1)), dim=1)).view(5, 7, 8) @ layer.projection.weight.T
    scores = (prototypes @ mean[:, :, None]).squeeze(2)[:, 1:] / math.sqrt(16)
    torch.testing.assert_close(losses, load_balance(scores, scores.topk(2).indices))
    layer(x)
    handed = auxiliary_loss(layer)
    torch.testing.assert_close(handed, 0.5 * losses.mean())
    handed.backward()
    assert layer.context.weight.grad[8:].abs().max() > 0  # the dynamic ones
    assert layer.context.weight.grad[:8].abs().max() == 0  # the fixed one is not balanced
    assert layer.projection.weight.grad.abs().max() > 0


def test_no_load_balance_in_evaluation_or_without_a_selection():
    sparse, dense = SoftHyperedges(8, 6, heads=2, **SPARSE).eval(), SoftHyperedges(8, 6, heads=2)
    for layer in (sparse, dense):
        layer(torch.randn(5, 7, 8))
        assert auxiliary_loss(layer) is None
    assert dense.balance is None


def test_can_be_copied_and_saved_between_forward_and_backward():
    layer = SoftHyperedges(8, 6, heads=2, dropout=0.0, **SPARSE)
    x = torch.randn(5, 7, 8)
    outputs = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), outputs)
    assert auxiliary_loss(layer) is not None


def test_state_dict_round_trip():
    layer, other = SoftHyperedges(8, 6, heads=2, **SPARSE).eval(), SoftHyperedges(8, 6, heads=2, **SPARSE).eval()
    x = torch.randn(5, 7, 8)
    assert not torch.equal(layer(x), other(x))
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(layer(x), other(x))


@pytest.mark.parametrize("options", [{}, SPARSE])
def test_is_compiled_as_one_graph(options):
    layer = SoftHyperedges(8, 6, heads=2, dropout=0.0, **options)
    x = torch.randn(5, 7, 8)
    expected, balance = layer(x), auxiliary_loss(layer)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    outputs = compiled(x)
    torch.testing.assert_close(outputs, expected)
    loss = auxiliary_loss(layer)
    assert (loss is None) == (not options)
    torch.testing.assert_close(loss, balance)
    (outputs.square().mean() if loss is None else outputs.square().mean() + loss).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


@pytest.mark.parametrize("options", [{}, SPARSE])
def test_is_exported_for_any_batch(options):
    layer = SoftHyperedges(8, 6, heads=2, **options).eval()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(layer, (torch.randn(4, 7, 8),), dynamic_shapes=({0: batch},))
    x = torch.randn(9, 7, 8)
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.parametrize("options", [{}, SPARSE])
def test_autocast_stays_close(options):
    layer = SoftHyperedges(16, 6, heads=2, dropout=0.0, **options)
    # The selection of the examples shall not hang on the last bit.
    x = torch.randn(8, 9, 16) + 2 * torch.randn(8, 1, 16)
    expected, full = layer(x), auxiliary_loss(layer)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = layer(x)
    outputs.float().square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())
    # The messages are of size 1, and bfloat16 has 8 bits.
    torch.testing.assert_close(outputs.float(), expected, rtol=0, atol=2e-2)
    if options:
        loss = auxiliary_loss(layer)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, full, rtol=2e-2, atol=0)


def test_starts_as_its_parts_start():
    layer = SoftHyperedges(64, 32)
    assert layer.context.bias.abs().max() <= math.sqrt(6 / (32 + 64))
    assert layer.context.bias.std() > 0.9 * math.sqrt(6 / (32 + 64)) / math.sqrt(3)
    assert layer.vertex_bias.abs().max() <= 1 / 8
    assert isinstance(layer.dropout, nn.Dropout)
    assert "hyperedges=32" in repr(layer)


@pytest.mark.parametrize(
    ("arguments", "options", "where"),
    [
        ((10, 4), {"heads": 4}, "family.hyperedge_heads"),
        ((8, 4), {"heads": 0}, "family.hyperedge_heads"),
        ((8, 4), {"heads": 2, "top_k": 5}, "family.top_k"),
        ((8, 4), {"heads": 2, "top_k": 0}, "family.top_k"),
        ((8, 4), {"heads": 2, "top_k": 2.0}, "family.top_k"),
        ((8, 4), {"heads": 2, "fixed": 1}, "family.fixed_hyperedges"),
        ((8, 4), {"heads": 2, "top_k": 2, "fixed": -1}, "family.fixed_hyperedges"),
        ((8, 0), {"heads": 2}, "family.hyperedges"),
        ((8, True), {"heads": 2}, "family.hyperedges"),
        ((0, 4), {"heads": 2}, "family.width"),
        ((8, 4), {"heads": 2, "top_k": 2, "balance": -1.0}, "auxiliary_loss.weight"),
    ],
)
def test_wrong_sizes_are_refused_when_built(arguments, options, where):
    with pytest.raises(FamilyError) as caught:
        SoftHyperedges(*arguments, **options)
    assert caught.value.where == where


@pytest.mark.parametrize("shape", [(7, 8), (2, 7, 9), (2, 8, 3, 3)])
def test_wrong_inputs_are_refused(shape):
    with pytest.raises(FamilyError, match=r"\(batch, vertices, 8\)"):
        SoftHyperedges(8, 4)(torch.randn(shape))
