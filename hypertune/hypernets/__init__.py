"""Networks from hyperparameters to weights: best responses attached to a plain ``nn.Module``, and whole predictions."""

from __future__ import annotations

from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.contract import BestResponse, TuningOptions
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.hypernets.mip import MIPHypernetwork
from hypertune.hypernets.stn import STN

__all__ = ["STN", "BestResponse", "DeltaSTN", "MIPHypernetwork", "ResponseModel", "TuningOptions", "attach"]
