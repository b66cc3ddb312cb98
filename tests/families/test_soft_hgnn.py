import pytest
import torch
from torch import nn

from hypertune.auxiliary_loss import AuxiliaryLoss, auxiliary_loss
from hypertune.errors import FamilyError
from hypertune.families.cnn import FAMILY as CNN
from hypertune.families.soft_hgnn import FAMILY, SoftHyperedges
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace

DIGITS = TaskSpec("digits", "classification", (1, 8, 8), 10)
BACKBONES = ["vit", "cnn"]
SMALL = {"width": 16, "depth": 2, "hyperedges": 6, "top_k": 3, "fixed_hyperedges": 2, "hyperedge_heads": 4}


def hypergraphs(model):
    return [module for module in model.modules() if isinstance(module, SoftHyperedges)]


def build(seed=0, spec=DIGITS, **params):
    torch.manual_seed(seed)
    return FAMILY.build({**SMALL, **params}, spec)


def test_without_insertion_the_cnn_is_the_family_cnn():
    params = {"depth": 3, "activation": "relu", "dropout": 0.2}
    mine = build(backbone="cnn", insertion="none", **{**params, "width": 16})
    torch.manual_seed(0)
    theirs = CNN.build({**params, "width": 4}, DIGITS)
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in mine.state_dict().items())
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(mine.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("insertion", "blocks"), [("none", 0), ("after_backbone", 1), ("after_each", 3)])
def test_insertions_add_blocks_and_nothing_else(backbone, insertion, blocks):
    model = build(backbone=backbone, insertion=insertion, depth=3)
    assert len(hypergraphs(model)) == blocks
    plain = build(backbone=backbone, insertion="none", depth=3)
    own = sum(parameter.numel() for block in hypergraphs(model) for parameter in block.parameters())
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (model, plain)]
    assert sizes[0] == sizes[1] + own
    widths = {"vit": [16, 16, 16], "cnn": [4, 8, 16]}[backbone]
    assert [block.width for block in hypergraphs(model)] == ([] if not blocks else widths[-blocks:])


def test_a_block_without_effect_leaves_the_backbone():
    """With W_v and b_v at 0 a block adds gelu(0) = 0 to every token."""
    model, plain = (build(insertion=insertion).eval() for insertion in ("after_each", "none"))
    for block in hypergraphs(model):
        nn.init.zeros_(block.vertex.weight)
        nn.init.zeros_(block.vertex_bias)
    for number, stage in enumerate(plain.stages):
        model.stages[2 * number].load_state_dict(stage.state_dict())
    rest = {key: value for key, value in plain.state_dict().items() if not key.startswith("stages.")}
    model.load_state_dict(rest, strict=False)
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(model(x), plain(x))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_selection_reaches_the_layers(backbone):
    dense = hypergraphs(build(backbone=backbone, selection="dense"))[0]
    sparse = hypergraphs(build(backbone=backbone, selection="sparse"))[0]
    assert (dense.hyperedges, dense.top_k, dense.fixed, dense.heads) == (6, None, 0, 4)
    assert (sparse.hyperedges, sparse.top_k, sparse.fixed, sparse.heads) == (6, 3, 2, 4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_sparse_block_hands_over_its_load_balance(backbone):
    model = build(backbone=backbone, selection="sparse", insertion="after_each", load_balance=0.2)
    assert [module.weight for module in model.modules() if isinstance(module, AuxiliaryLoss)] == [0.2, 0.2]
    model(torch.randn(5, 1, 8, 8))
    auxiliary_loss(model).backward()
    assert all(block.context.weight.grad.abs().max() > 0 for block in hypergraphs(model))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_both_dropouts_have_their_rates(backbone):
    model = build(backbone=backbone, dropout=0.3, hyperedge_dropout=0.2)
    block = hypergraphs(model)[0]
    assert block.dropout.p == 0.2
    others = [module.p for module in model.modules() if isinstance(module, nn.Dropout) and module is not block.dropout]
    assert others
    assert set(others) == {0.3}


@pytest.mark.parametrize("shape", [(2, 20), (3, 7, 5), (1, 6, 5, 4), (1, 1, 1)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_layout(backbone, shape):
    model = build(spec=TaskSpec("t", "regression", shape, 2), backbone=backbone, selection="sparse")
    assert model(torch.randn(3, *shape)).shape == (3, 2)


def test_corners_of_its_space_build():
    space = SearchSpace.load("soft_hgnn")
    x = torch.randn(2, 1, 8, 8)
    numeric = ("width", "depth", "top_k", "fixed_hyperedges")
    for low in (True, False):
        ends = {name: getattr(space.distributions[name], "low" if low else "high") for name in numeric}
        for backbone in BACKBONES:
            for heads in (1, 8):
                for hyperedges in (16, 64):
                    point = {**ends, "backbone": backbone, "heads": heads, "hyperedge_heads": heads}
                    point |= {"hyperedges": hyperedges, "selection": "sparse", "insertion": "after_each"}
                    assert FAMILY.build(point, DIGITS)(x).shape == (2, 10)


def test_widths_of_its_space_are_divided_by_heads_and_halved():
    space = SearchSpace.load("soft_hgnn")
    width = space.distributions["width"]
    for size in range(width.low, width.high + 1, width.step):
        assert size % 2 ** (space.distributions["depth"].high - 1) == 0
        assert all(
            size % heads == 0 for name in ("heads", "hyperedge_heads") for heads in space.distributions[name].choices
        )
    assert space.distributions["top_k"].high <= min(space.distributions["hyperedges"].choices)


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"selection": "sparse", "top_k": 7}, "family.top_k"),
        ({"heads": 3}, "family.heads"),
        ({"hyperedge_heads": 3}, "family.hyperedge_heads"),
        ({"backbone": "cnn", "width": 12, "depth": 4}, "family.width"),
        ({"backbone": "resnet"}, "family.backbone"),
        ({"insertion": "after"}, "family.insertion"),
        ({"selection": "spares"}, "family.selection"),
        ({"patch_size": 0}, "family.patch_size"),
        ({"fixed_hyperedges": -1}, "family.fixed_hyperedges"),
        ({"hyperedge_dropout": 1.0}, "family.hyperedge_dropout"),
        ({"load_balance": -0.1}, "family.load_balance"),
        ({"load_balance": "much"}, "family.load_balance"),
    ],
)
def test_wrong_values_are_named_when_built(params, where):
    with pytest.raises(FamilyError) as caught:
        build(**params)
    assert caught.value.where == where


@pytest.mark.parametrize("shape", [(13,), (1, 2, 2, 2, 2)])
def test_wrong_layouts_are_refused_when_built(shape):
    with pytest.raises(FamilyError, match="soft_hgnn") as caught:
        build(spec=TaskSpec("t", "classification", shape, 3))
    assert caught.value.where == "family.soft_hgnn"


@pytest.mark.parametrize("backbone", BACKBONES)
def test_is_compiled_and_exported(backbone):
    model = build(backbone=backbone, selection="sparse").eval()
    x = torch.randn(3, 1, 8, 8)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 1, 8, 8)
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_autocast_trains(backbone):
    model = build(backbone=backbone, insertion="after_each", selection="sparse")
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(torch.randn(5, 1, 8, 8))
    outputs.float().square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
