"""Whitening against matrix square roots by eigendecomposition, statistics against numpy, gradients against differences."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import scipy.linalg
import torch

from hypertune.errors import FamilyError
from hypertune.families._complex_normalization import ComplexBatchNorm, ComplexLayerNorm

SHAPES = [(6, 3), (6, 3, 5), (4, 3, 5, 2), (3, 3, 2, 3, 2)]


def correlated(*shape, seed=1):
    """Complex numbers whose parts have different variances, are correlated, and have a mean; per channel its own."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    channel = (1 + torch.arange(shape[1], dtype=torch.float64)).reshape(1, -1, *(1,) * (len(shape) - 2))
    return torch.complex(channel * a + 3, 0.7 * a - 0.4 * channel * b - 1)


def parts(z, axis):
    """Return the two parts of each slice along ``axis`` as rows, ``(slices, 2, n)``."""
    rows = z.movedim(axis, 0).flatten(1)
    return torch.stack((rows.real, rows.imag), dim=1)


def reference(x, weight, bias, eps):
    """Normalize with numpy and SciPy's matrix square root, channel by channel."""
    made = torch.empty_like(x)
    for channel in range(x.shape[1]):
        z = x[:, channel].numpy()
        rows = np.stack((z.real.ravel(), z.imag.ravel()))
        centered = rows - rows.mean(axis=1, keepdims=True)
        spread = centered @ centered.T / rows.shape[1] + eps * np.eye(2)
        rr, ii, ri = weight[channel].tolist()
        y = np.array([[rr, ri], [ri, ii]]) @ np.linalg.inv(scipy.linalg.sqrtm(spread)) @ centered
        made[:, channel] = torch.from_numpy((y[0] + 1j * y[1]).reshape(z.shape)) + bias[channel]
    return made


def random_affine(layer):
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    return layer


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_normalization_equals_the_definition(shape):
    layer = random_affine(ComplexBatchNorm(3, dtype=torch.complex128))
    x = correlated(*shape)
    expected = reference(x, layer.weight.detach(), layer.bias.detach(), layer.eps)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("affine", [True, False])
def test_whitened_parts_have_identity_covariance(shape, affine):
    layer = ComplexBatchNorm(3, eps=1e-12, affine=affine, dtype=torch.complex128)
    rows = parts(layer(correlated(*shape)), 1)
    covariance = rows @ rows.mT / rows.shape[2]
    scale = 0.5 if affine else 1.0  # gamma is 1/sqrt(2), so that E|y|^2 is 1
    torch.testing.assert_close(covariance, scale * torch.eye(2, dtype=torch.float64).expand(3, 2, 2), atol=1e-8, rtol=0)
    torch.testing.assert_close(rows.mean(dim=2), torch.zeros(3, 2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_outputs_do_not_depend_on_rotation_and_stretch_of_the_inputs():
    """Whitened numbers of ``A x + b`` are those of x up to a rotation, so their moduli are the same."""
    layer = ComplexBatchNorm(1, eps=1e-12, affine=False, dtype=torch.complex128)
    x = torch.randn(50, 1, dtype=torch.complex128)
    stretched = torch.complex(2 * x.real + 0.3 * x.imag + 1, -0.5 * x.real + x.imag)
    torch.testing.assert_close(layer(stretched).abs(), layer(x).abs())


def test_running_statistics_are_numpys_and_evaluation_uses_them():
    layer = random_affine(ComplexBatchNorm(3, momentum=0.3, dtype=torch.complex128))
    mean, spread = np.zeros(3, complex), np.tile([np.sqrt(0.5), np.sqrt(0.5), 0.0], (3, 1))
    for seed in range(3):
        x = correlated(5, 3, 4, seed=seed)
        layer(x)
        rows = parts(x, 1).numpy()
        batch = np.array([np.cov(channel) for channel in rows])  # with n - 1
        mean += 0.3 * (rows.mean(axis=2) @ [1, 1j] - mean)
        spread += 0.3 * (np.stack((batch[:, 0, 0], batch[:, 1, 1], batch[:, 0, 1]), axis=1) - spread)
    np.testing.assert_allclose(layer.running_mean.numpy(), mean)
    np.testing.assert_allclose(layer.running_covariance.numpy(), spread)
    assert layer.num_batches_tracked == 3
    layer.eval()
    x = correlated(2, 3, 4, seed=9)
    made = layer(x)
    for channel, (rr, ii, ri) in enumerate(spread):
        whitening = np.linalg.inv(scipy.linalg.sqrtm(np.array([[rr, ri], [ri, ii]]) + layer.eps * np.eye(2)))
        z = x[:, channel].numpy().ravel() - mean[channel]
        a, b, c = layer.weight[channel].tolist()
        y = np.array([[a, c], [c, b]]) @ whitening @ np.stack((z.real, z.imag))
        expected = y[0] + 1j * y[1] + layer.bias[channel].item()
        np.testing.assert_allclose(made[:, channel].detach().numpy().ravel(), expected)
    # Each example for itself: no batch is in it, and a single one will do.
    torch.testing.assert_close(layer(x[:1]), made[:1])


def test_without_momentum_all_batches_weigh_the_same():
    layer = ComplexBatchNorm(3, momentum=None, dtype=torch.complex128)
    batches = [correlated(5, 3, 4, seed=seed) for seed in range(4)]
    for x in batches:
        layer(x)
    torch.testing.assert_close(layer.running_mean, torch.cat(batches).mean(dim=(0, 2)))


def test_without_running_statistics_evaluation_uses_the_batch():
    layer = ComplexBatchNorm(3, track_running_stats=False, dtype=torch.complex128)
    x = correlated(5, 3, 4)
    trained = layer(x)
    torch.testing.assert_close(layer.eval()(x), trained)
    assert not list(layer.buffers())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [ComplexBatchNorm, ComplexLayerNorm])
def test_gradients(kind, training):
    layer = random_affine(kind(2, dtype=torch.complex128)).train(training)
    x = correlated(3, 2, 2).requires_grad_()

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    values = (x, layer.weight, layer.bias)
    assert torch.autograd.gradcheck(run, values)
    assert torch.autograd.gradgradcheck(run, values, fast_mode=True)


def test_the_written_out_gradient_is_that_of_elementary_operations(monkeypatch):
    layer = random_affine(ComplexBatchNorm(3, dtype=torch.complex128))
    x = correlated(5, 3, 4).requires_grad_()
    probe = torch.randn(5, 3, 4, dtype=torch.complex128)
    leaves = (x, layer.weight, layer.bias)
    quick = torch.autograd.grad((layer(x) * probe).real.sum(), leaves)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    plain = torch.autograd.grad((layer(x) * probe).real.sum(), leaves)
    for a, b in zip(quick, plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("frozen", ["x", "weight", "bias"])
def test_gradients_of_some_inputs_only(frozen):
    layer = random_affine(ComplexBatchNorm(2, dtype=torch.complex128))
    x = correlated(3, 2, 2).requires_grad_()
    leaves = {"x": x, "weight": layer.weight, "bias": layer.bias}
    expected = torch.autograd.grad(layer(x).abs().sum(), list(leaves.values()))
    leaves[frozen].requires_grad_(False)
    kept = [leaf for name, leaf in leaves.items() if name != frozen]
    made = torch.autograd.grad(layer(x).abs().sum(), kept, create_graph=True)
    wanted = [value for name, value in zip(leaves, expected, strict=True) if name != frozen]
    for a, b in zip(made, wanted, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own forward mode
def test_forward_mode_gives_the_slope_and_tracks_as_a_plain_pass_does():
    layer = random_affine(ComplexBatchNorm(2, dtype=torch.complex128))
    other = copy.deepcopy(layer)
    x, direction = correlated(3, 2, 2), torch.randn(3, 2, 2, dtype=torch.complex128)
    step = 1e-6
    difference = (layer(x + step * direction) - layer(x - step * direction)) / (2 * step)
    layer.load_state_dict(other.state_dict())
    _, slope = torch.func.jvp(layer, (x,), (direction,))
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-7)
    other(x)
    for name, buffer in layer.named_buffers():
        torch.testing.assert_close(buffer, dict(other.named_buffers())[name])


def test_real_numbers_and_constants_do_not_blow_up():
    """A part without variance, parts in proportion, and a constant: nothing to whiten by."""
    for kind in (ComplexBatchNorm, ComplexLayerNorm):
        layer = kind(2)
        real = torch.randn(64, 2, 9).to(torch.complex64)
        for x in (real, real * (1e3 + 2e3j), torch.full((64, 2, 9), 3 - 2j)):
            x = x.clone().requires_grad_()
            y = layer(x)
            y.abs().square().sum().backward()
            assert torch.isfinite(torch.view_as_real(y)).all()
            assert torch.isfinite(torch.view_as_real(x.grad)).all()
            assert y.abs().max() < 20


@pytest.mark.parametrize("shape", SHAPES)
def test_layer_normalization_equals_batch_normalization_of_each_example(shape):
    """With one example as the single channel of a batch norm."""
    x = correlated(*shape)
    layer = random_affine(ComplexLayerNorm(3, dtype=torch.complex128))
    whitened = torch.stack(
        [
            reference(z.reshape(1, 1, -1), torch.tensor([[1.0, 1.0, 0.0]]), torch.zeros(1), layer.eps).reshape(z.shape)
            for z in x
        ]
    )
    channel = (3, *(1,) * (len(shape) - 2))
    rr, ii, ri = (entry.reshape(channel) for entry in layer.weight.unbind(1))
    expected = torch.complex(rr * whitened.real + ri * whitened.imag, ri * whitened.real + ii * whitened.imag)
    torch.testing.assert_close(layer(x), expected + layer.bias.reshape(channel))
    torch.testing.assert_close(ComplexLayerNorm(3, affine=False, dtype=torch.complex128)(x), whitened)


@pytest.mark.parametrize("kind", [ComplexBatchNorm, ComplexLayerNorm])
def test_state_dict_round_trip(kind):
    layer = random_affine(kind(3))
    x = correlated(5, 3, 4).to(torch.complex64)
    layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = kind(3)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.eval()(x), layer.eval()(x))


@pytest.mark.parametrize("kind", [ComplexBatchNorm, ComplexLayerNorm])
def test_stays_complex64_under_autocast(kind):
    layer = random_affine(kind(3))
    x = correlated(5, 3, 4).to(torch.complex64)
    plain = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        made = layer(x)
    assert made.dtype == torch.complex64
    assert torch.equal(made, plain)


@pytest.mark.parametrize("kind", [ComplexBatchNorm, ComplexLayerNorm])
def test_wrong_inputs_are_refused(kind):
    layer = kind(3)
    with pytest.raises(FamilyError, match=r"torch.complex\(real, imag\)"):
        layer(torch.randn(5, 3, 4))
    with pytest.raises(FamilyError, match=r"expected \(batch, 3, \.\.\.\)"):
        layer(torch.randn(5, 4, 3, dtype=torch.complex64))
    with pytest.raises(FamilyError, match="not a size"):
        kind(0)


def test_a_single_value_per_channel_cannot_be_trained_on():
    with pytest.raises(FamilyError, match="no covariance"):
        ComplexBatchNorm(3)(torch.randn(1, 3, dtype=torch.complex64))


def test_repr_shows_the_options():
    assert repr(ComplexBatchNorm(3)) == (
        "ComplexBatchNorm(3, eps=1e-05, affine=True, momentum=0.1, track_running_stats=True)"
    )
