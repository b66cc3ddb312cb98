import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score, root_mean_squared_error

from hypertune.errors import TaskError
from hypertune.tasks._losses import (
    RootMeanSquaredError,
    accuracy,
    cross_entropy,
    default_loss,
    default_metrics,
    r2,
    squared_error,
)


def test_cross_entropy_is_minus_the_log_of_the_softmax():
    logits = torch.randn(5, 3, dtype=torch.float64)
    targets = torch.tensor([0, 2, 1, 1, 0])
    expected = [
        -math.log(math.exp(row[y]) / sum(math.exp(v) for v in row))
        for row, y in zip(logits.tolist(), targets.tolist(), strict=True)
    ]
    np.testing.assert_allclose(cross_entropy(logits, targets).numpy(), expected)


def test_squared_error_is_the_mean_over_targets():
    outputs = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
    targets = torch.tensor([[0.0, 4.0], [0.0, 1.0]])
    assert squared_error(outputs, targets).tolist() == [2.5, 2.0]


def test_metrics_equal_scikit_learns():
    outputs, targets = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, 3, dtype=torch.float64)
    classes = torch.randint(0, 3, (40,))
    assert r2(outputs, targets).item() == pytest.approx(r2_score(targets, outputs))
    # scikit-learn averages roots over targets, so compare on one.
    assert RootMeanSquaredError(2.0)(outputs[:, :1], targets[:, :1]).item() == pytest.approx(
        2 * root_mean_squared_error(targets[:, 0], outputs[:, 0])
    )
    assert accuracy(outputs, classes).item() == pytest.approx(accuracy_score(classes, outputs.argmax(1)))


@pytest.mark.filterwarnings("error")
def test_r2_of_a_constant_target_is_scikit_learns():
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    for outputs in (targets.clone(), targets + 1):
        assert r2(outputs, targets).item() == pytest.approx(r2_score(targets.numpy(), outputs.numpy()))


def test_a_vector_of_single_targets_is_not_broadcast():
    outputs, targets = torch.zeros(4, 1), torch.arange(4.0)
    assert squared_error(outputs, targets).tolist() == [0, 1, 4, 9]
    assert RootMeanSquaredError()(outputs, targets).item() == pytest.approx(math.sqrt(14 / 4))
    assert r2(outputs, targets).item() == pytest.approx(r2_score(targets, outputs))


def test_double_precision_targets_do_not_promote_the_loss():
    assert squared_error(torch.zeros(2, 1), torch.ones(2, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize("shape", [(3,), (4, 2), (1, 4)])
def test_shapes_that_do_not_fit_are_an_error(shape):
    with pytest.raises(TaskError, match="differ in shape"):
        squared_error(torch.zeros(4, 1), torch.zeros(shape))


def test_defaults_by_kind():
    assert default_loss("classification") is cross_entropy
    assert default_loss("regression") is squared_error
    assert set(default_metrics("classification")) == {"accuracy"}
    assert set(default_metrics("regression")) == {"rmse", "r2"}
