import pytest
import torch
from torch import nn
from torch.nn import functional

from hypertune.errors import FamilyError
from hypertune.families._attention import EncoderBlock
from hypertune.families._token_networks import PatchTransformer, insert_blocks
from hypertune.records import TaskSpec


def torchs_own(block, width, heads, hidden):
    """torch's transformer layer with the block's weights."""
    layer = nn.TransformerEncoderLayer(
        width, heads, hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": block.attention.inputs.weight,
            "self_attn.in_proj_bias": block.attention.inputs.bias,
            "self_attn.out_proj.weight": block.attention.outputs.weight,
            "self_attn.out_proj.bias": block.attention.outputs.bias,
            "linear1.weight": block.mlp[0].weight,
            "linear1.bias": block.mlp[0].bias,
            "linear2.weight": block.mlp[3].weight,
            "linear2.bias": block.mlp[3].bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.mlp_norm.weight,
            "norm2.bias": block.mlp_norm.bias,
        }
    )
    return layer


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_encoder_block_is_torchs_transformer_layer(heads):
    block = EncoderBlock(8, heads=heads, mlp_ratio=3, dropout=0.0).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.5)
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), torchs_own(block, 8, heads, 24)(x), rtol=1e-11, atol=1e-11)


# Torch's own, at the first use of forward mode.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_encoder_block_can_be_differentiated_forwards():
    block = EncoderBlock(8, heads=2, mlp_ratio=2, dropout=0.0).double()
    x, direction = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    value, slope = torch.func.jvp(block, (x,), (direction,))
    step = 1e-6
    numeric = (block(x + step * direction) - block(x - step * direction)) / (2 * step)
    torch.testing.assert_close(value, block(x), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-8)


def test_encoder_block_refuses_heads_that_do_not_divide():
    with pytest.raises(FamilyError, match="3 heads do not divide 8") as caught:
        EncoderBlock(8, heads=3, mlp_ratio=2, dropout=0.0)
    assert caught.value.where == "family.heads"


@pytest.mark.parametrize(("patch_size", "filling"), [(2, (0, 0, 0, 1)), (3, (0, 2, 0, 1)), (8, (0, 4, 0, 3))])
def test_patches_are_torchs_own_cut_with_zeros_at_the_end(patch_size, filling):
    spec = TaskSpec("t", "classification", (3, 5, 4), 2)
    model = PatchTransformer(spec, width=6, depth=0, heads=2, patch_size=patch_size).double().eval()
    with torch.no_grad():
        model.positions.normal_()
    x = torch.randn(4, 3, 5, 4, dtype=torch.float64)
    cut = functional.unfold(functional.pad(x, filling), patch_size, stride=patch_size).mT
    tokens = cut @ model.patches.weight.flatten(1).T + model.patches.bias + model.positions
    features = functional.layer_norm(tokens, (6,)).mean(dim=1)
    torch.testing.assert_close(model(x), features @ model.head.weight.T + model.head.bias, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 11), (1, 6, 5), (1, 4, 3, 5)])
def test_every_layout(shape):
    spec = TaskSpec("t", "regression", shape, 2)
    model = PatchTransformer(spec, width=8, depth=2, heads=2, patch_size=2, dropout=0.1)
    assert model(torch.randn(3, *shape)).shape == (3, 2)


def test_positions_tell_patches_apart():
    spec = TaskSpec("t", "classification", (1, 8), 2)
    model = PatchTransformer(spec, width=8, depth=1, heads=2, patch_size=2).eval()
    x = torch.randn(3, 1, 8)
    swapped = x.view(3, 1, 4, 2).flip(2).reshape(3, 1, 8)
    assert not torch.allclose(model(x), model(swapped))
    nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(x), model(swapped))


def test_every_dropout_has_the_rate():
    spec = TaskSpec("t", "classification", (1, 8), 2)
    model = PatchTransformer(spec, width=8, depth=2, heads=2, patch_size=2, dropout=0.3)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3] * 8


def test_insertions():
    stages = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1))
    made = [nn.Identity() for _ in stages]
    assert insert_blocks(stages, made.__getitem__, "none") is stages
    assert list(insert_blocks(stages, made.__getitem__, "after_backbone")) == [*stages, made[2]]
    expected = [module for pair in zip(stages, made, strict=True) for module in pair]
    assert list(insert_blocks(stages, made.__getitem__, "after_each")) == expected
