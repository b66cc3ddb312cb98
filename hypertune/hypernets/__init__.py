"""Networks from hyperparameters to weights: best responses attached to a plain ``nn.Module``."""

from __future__ import annotations

from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.contract import BestResponse, TuningOptions
from hypertune.hypernets.delta_stn import DeltaSTN
from hypertune.hypernets.stn import STN

__all__ = ["STN", "BestResponse", "DeltaSTN", "ResponseModel", "TuningOptions", "attach"]
