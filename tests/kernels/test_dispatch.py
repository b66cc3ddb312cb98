"""Which path is taken and why, and what happens when a kernel does not run."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import pytest
import torch

from hypertune import kernels
from hypertune.errors import ConfigError, FamilyError
from hypertune.kernels import _dispatch

X = torch.ones(3)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the machine launched kernels for tensors on a CPU."""
    monkeypatch.setattr(_dispatch, "_machine", lambda op, device: _dispatch._failed.get(op))


def fails() -> None:
    raise RuntimeError("PassManager::run failed\nin many lines")


def test_a_cpu_takes_the_reference_and_says_why() -> None:
    assert _dispatch.taken() == {}
    assert _dispatch.path("op", X) == "reference"
    assert _dispatch.taken()["op"].path == "reference"
    assert "cpu" in _dispatch.taken()["op"].reason
    with pytest.raises(TypeError):
        _dispatch.taken()["op"] = None  # type: ignore[index]


@pytest.mark.parametrize(
    ("mode", "device", "why"),
    [
        ("auto", "cpu", "tensors on cpu"),
        ("", "mps", "tensors on mps"),
        ("reference", "cuda", "HYPERTUNE_KERNELS=reference"),
        ("triton", "cpu", "tensors on cpu"),
        ("auto", "cuda", None),
        ("triton", "cuda", None),
    ],
)
def test_the_machine_decides(mode: str, device: str, why: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("HYPERTUNE_KERNELS", mode)
    found = _dispatch._machine("op", device)
    assert found is None if why is None else why in str(found)


def test_the_interpreter_takes_a_cpu_when_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert _dispatch._machine("op", "cpu") is not None
    monkeypatch.setenv("HYPERTUNE_KERNELS", "triton")
    assert _dispatch._machine("op", "cpu") is None
    assert _dispatch.choose("op", X) == _dispatch.Chosen("triton", "in Triton's interpreter")


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dispatch, "_HAS_TRITON", False)
    assert _dispatch._machine("op", "cuda") == "Triton is not installed"
    monkeypatch.setenv("HYPERTUNE_KERNELS", "triton")
    with pytest.raises(ConfigError, match="not installed"):
        _dispatch._machine("op", "cuda")


def test_a_wrong_mode_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERTUNE_KERNELS", "referense")
    with pytest.raises(ConfigError, match=r"HYPERTUNE_KERNELS.*did you mean 'reference'"):
        _dispatch.path("op", X)


# torch's own, when it first differentiates forward.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.usefixtures("gpu")
def test_transforms_take_the_reference() -> None:
    found = []

    def note(x: torch.Tensor) -> torch.Tensor:
        found.append(_dispatch.choose("op", x))
        return x * 1

    note(X)
    torch.func.vmap(note)(torch.ones(2, 3))
    torch.func.grad(lambda x: note(x).sum())(X)
    torch.func.jvp(note, (X,), (X,))
    with torch.autograd.forward_ad.dual_level():
        note(torch.autograd.forward_ad.make_dual(X, X))
    assert [chosen.path for chosen in found] == ["triton", *["reference"] * 4]
    assert "torch.func" in found[1].reason
    assert "forward-mode" in found[4].reason


@pytest.mark.usefixtures("gpu")
def test_what_tensors_rule_out() -> None:
    large = torch.ones(1).expand(2**31)
    assert "2**31" in _dispatch.choose("op", X, large).reason
    assert _dispatch.choose("op", X, large, int64_offsets=True).path == "triton"
    assert "devices" in _dispatch.choose("op", X, torch.empty(3, device="meta")).reason
    assert _dispatch.choose("op", X, unless="no such layout") == _dispatch.Chosen("reference", "no such layout")


@pytest.mark.usefixtures("gpu")
def test_a_kernel_that_fails_falls_back_for_good_with_one_warning() -> None:
    with pytest.warns(RuntimeWarning) as caught:
        assert _dispatch.run("op", fails, lambda: 7, X) == 7
    (warning,) = caught
    text = str(warning.message)
    assert "'op'" in text
    assert "the CPU" in text
    assert f"torch {torch.__version__}" in text
    assert "triton " in text
    assert "PassManager::run failed" in text
    assert "many lines" not in text
    launched = []
    assert _dispatch.run("op", lambda: launched.append(1), lambda: 8, X) == 8
    assert not launched
    assert _dispatch.path("op", X) == "reference"
    assert "PassManager" in _dispatch.taken()["op"].reason
    # Another op is another kernel.
    assert _dispatch.run("other", lambda: 9, lambda: 8, X) == 9


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("error", [FamilyError("n does not divide"), torch.OutOfMemoryError("full")])
def test_what_is_no_failure_of_triton_is_raised(error: Exception) -> None:
    def wrong() -> None:
        raise error

    with pytest.raises(type(error)):
        _dispatch.run("op", wrong, lambda: None, X)
    assert _dispatch.path("op", X) == "triton"


@pytest.mark.usefixtures("gpu")
def test_asked_for_triton_the_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERTUNE_KERNELS", "triton")
    with pytest.raises(RuntimeError, match="PassManager"):
        _dispatch.run("op", fails, lambda: 7, X)


def test_an_operator_on_a_cpu_computes_the_reference_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _dispatch.run("op", fails, lambda: 7, X) == 7


def test_importing_every_kernel_imports_neither_triton_nor_dynamo() -> None:
    code = (
        "import sys; from hypertune import kernels; assert 'torch' not in sys.modules; "
        "all(map(kernels.load, kernels.names())); "
        "assert not {'triton', 'torch._dynamo'} & set(sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_are_the_files() -> None:
    assert {"phm_weight", "row_dropout"} <= set(kernels.names())
    assert not {"contract", "report", "measure"} & set(kernels.names())
    assert all(kernels.load(name).name == name for name in kernels.names())
