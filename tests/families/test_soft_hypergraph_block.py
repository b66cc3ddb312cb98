import pytest
import torch

from hypertune.errors import FamilyError
from hypertune.families._soft_hypergraph_block import SoftHypergraphBlock


def twins(**options):
    tokens = SoftHypergraphBlock(8, 5, heads=2, **options).double().eval()
    cells = SoftHypergraphBlock(8, 5, heads=2, channels_first=True, **options).double().eval()
    cells.load_state_dict(tokens.state_dict())
    return tokens, cells


@pytest.mark.parametrize("options", [{}, {"top_k": 2, "fixed": 3}])
@pytest.mark.parametrize("space", [(7,), (3, 4), (2, 3, 2)])
def test_cells_of_a_map_are_tokens(space, options):
    tokens, cells = twins(**options)
    x = torch.randn(3, 8, *space, dtype=torch.float64)
    outputs = cells(x)
    assert outputs.shape == x.shape
    assert not torch.equal(outputs, x)
    torch.testing.assert_close(outputs.flatten(2).mT, tokens(x.flatten(2).mT), rtol=1e-12, atol=1e-13)


def test_moving_the_cells_moves_the_result():
    _, cells = twins()
    x = torch.randn(3, 8, 4, 5, dtype=torch.float64)
    for moved in (lambda x: x.flip(3), lambda x: x.roll((1, 2), (2, 3)), lambda x: x.mT):
        torch.testing.assert_close(cells(moved(x)), moved(cells(x)), rtol=1e-12, atol=1e-13)


def test_channels_last_memory_gives_the_same():
    _, cells = twins()
    x = torch.randn(3, 8, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(cells(x.to(memory_format=torch.channels_last)), cells(x), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [(3, 8), (3, 4, 8), (8, 4, 4, 8)])
def test_another_layout_is_refused(shape):
    _, cells = twins()
    with pytest.raises(FamilyError, match=r"\(batch, 8, \*space\)"):
        cells(torch.randn(shape, dtype=torch.float64))


def test_a_map_for_tokens_is_refused():
    tokens, _ = twins()
    with pytest.raises(FamilyError, match="use SoftHypergraphBlock"):
        tokens(torch.randn(3, 8, 4, 4, dtype=torch.float64))


def test_sizes_are_checked_when_built():
    with pytest.raises(FamilyError, match="top_k"):
        SoftHypergraphBlock(8, 4, top_k=5)
