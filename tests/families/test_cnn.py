import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families.cnn import FAMILY
from hypertune.families.phnn import FAMILY as PHNN
from hypertune.records import TaskSpec

DIGITS = TaskSpec("digits", "classification", (1, 8, 8), 10)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 20), (3, 7, 5), (1, 6, 5, 4)])
def test_every_layout_and_kernel(shape, kernel_size):
    model = FAMILY.build({"kernel_size": kernel_size, "depth": 3}, TaskSpec("t", "regression", shape, 2))
    assert model(torch.randn(3, *shape)).shape == (3, 2)


def test_is_the_real_twin_of_phnn():
    """With n = 1 and A = 1 the two are one function: carry the weights over and compare."""
    phnn, cnn = (family.build({"n": 1, "width": 6}, DIGITS).eval() for family in (PHNN, FAMILY))
    state = {}
    for name, value in phnn.state_dict().items():
        if name.endswith(".F"):
            state[f"{name.removesuffix('.F')}.weight"] = value[0]
        elif not name.endswith(".A"):
            state[name] = value
    for module in phnn.modules():
        if hasattr(module, "A"):
            nn.init.ones_(module.A)
    cnn.load_state_dict(state)
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(cnn(x), phnn(x))


def test_flat_inputs_are_refused_with_the_way_out():
    with pytest.raises(FamilyError, match=r"flat inputs.*mlp or phnn"):
        FAMILY.build({}, TaskSpec("wine", "classification", (13,), 3))


@pytest.mark.parametrize(
    ("params", "where"), [({"kernel_size": 4}, "family.kernel_size"), ({"width": 0}, "family.width")]
)
def test_wrong_values_are_named(params, where):
    with pytest.raises(FamilyError) as caught:
        FAMILY.build(params, DIGITS)
    assert caught.value.where == where


def test_same_seed_same_model():
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(FAMILY.build({}, DIGITS))
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in models), strict=True))
