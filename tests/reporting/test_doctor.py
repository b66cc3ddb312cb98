from __future__ import annotations

from importlib.metadata import version

from hypertune.reporting import doctor


def test_versions_are_the_installed_ones():
    found = {finding.what: finding for finding in doctor.examine()}
    for package in ("torch", "optuna", "mlflow"):
        assert (found[package].good, found[package].text) == (True, version(package))


def test_what_is_missing_or_broken_is_said_and_nothing_raises(monkeypatch):
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package-here",))

    def broken(name):
        raise OSError("driver mismatch\nsecond line")

    monkeypatch.setattr(doctor, "_module", broken)
    found = {finding.what: finding for finding in doctor.examine()}
    assert found["no-such-package-here"].text.startswith("not installed")
    assert (found["gpu"].good, found["gpu"].text) == (False, "OSError: driver mismatch")


def test_every_kernel_says_the_path_it_takes_and_why():
    found = {finding.what: finding for finding in doctor.examine_kernels()}
    assert {"phm_weight", "row_dropout"} <= set(found)
    assert found["phm_weight"].text.split(":")[0] in ("reference", "triton")
    assert found["phm_weight"].good == found["phm_weight"].text.startswith("triton")


def test_a_broken_kernel_is_a_finding(monkeypatch):
    def broken(name):
        raise OSError("no torch\nsecond line")

    monkeypatch.setattr(doctor, "_module", broken)
    (finding,) = doctor.examine_kernels()
    assert (finding.what, finding.good, finding.text) == ("kernels", False, "OSError: no torch")
