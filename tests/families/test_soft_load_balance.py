import pytest
import torch

from hypertune.auxiliary_loss import auxiliary_loss
from hypertune.families._load_balance import load_balance
from hypertune.families._soft_hyperedge import SoftHyperedges


def frequencies(chosen, hyperedges):
    return torch.bincount(chosen.flatten(), minlength=hyperedges) / chosen.numel()


def test_equals_a_loop_over_the_definition():
    scores = torch.randn(5, 7, dtype=torch.float64)
    chosen = scores.topk(3, dim=1).indices
    expected = []
    for b in range(5):
        total = 0.0
        for m in range(7):
            selected = sum(m in row for row in chosen.tolist())
            total += selected / (5 * 3) * (scores[b, m].exp() / scores[b].exp().sum()).item()
        expected.append(7 * total)
    torch.testing.assert_close(load_balance(scores, chosen), torch.tensor(expected, dtype=torch.float64))


def test_is_1_when_balanced_and_hyperedges_over_k_when_collapsed():
    turns = torch.arange(8)[:, None]
    scores = torch.randn(8, 8)
    torch.testing.assert_close(load_balance(scores, turns), torch.ones(8))
    collapsed = torch.full((8, 8), -50.0)
    collapsed[:, :2] = 50.0
    torch.testing.assert_close(load_balance(collapsed, collapsed.topk(2).indices), torch.full((8,), 4.0))


def test_the_gradient_lowers_what_is_selected_too_often():
    scores = torch.zeros(6, 4, requires_grad=True)
    chosen = torch.tensor([[0], [0], [0], [0], [1], [2]])
    load_balance(scores, chosen).mean().backward()
    slope = scores.grad.sum(dim=0)
    assert slope[0] > 0.1
    assert (slope[1:] < 0).all()
    assert slope[3] < slope[1]  # never selected: raised most


def test_half_precision_scores_are_summed_in_single_precision():
    scores = torch.randn(64, 32).bfloat16()
    chosen = scores.topk(4, dim=1).indices
    losses = load_balance(scores, chosen)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), load_balance(scores.double(), chosen), rtol=1e-6, atol=1e-6)


def imbalance(layer, x):
    """Squared deviation of the selection frequencies from 1/M, as a multiple of 1/M**2, averaged over M."""
    with torch.no_grad():
        layer.train()(x)
        mean = x.mean(dim=1)
        prototypes = layer.projection(
            layer.context(torch.cat((mean, x.amax(dim=1)), dim=1)).view(len(x), -1, layer.width)
        )
        chosen = (prototypes @ mean[:, :, None]).squeeze(2).topk(layer.top_k, dim=1).indices
    return (frequencies(chosen, layer.hyperedges) * layer.hyperedges - 1).square().mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_200_steps_balance_the_selection(seed):
    torch.manual_seed(seed)
    x = torch.randn(128, 6, 16) + torch.randn(128, 1, 16) + 1.0
    layer = SoftHyperedges(16, 12, heads=1, top_k=3, dropout=0.0, balance=1.0)
    before = imbalance(layer, x)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(200):
        optimizer.zero_grad()
        layer.train()(x)
        auxiliary_loss(layer).backward()
        optimizer.step()
    assert before > 0.3
    assert imbalance(layer, x) < 0.05 * before
