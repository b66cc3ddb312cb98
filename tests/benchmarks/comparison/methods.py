"""The methods of the table, peers and ours."""

from __future__ import annotations

from collections.abc import Mapping

from comparison.peers import PEERS, Method
from comparison.self_tuning import ABLATIONS, plain_single, stn, stn_single, tpe_long

__all__ = ["METHODS", "OURS", "TABLE"]

OURS: Mapping[str, Method] = {"stn-single": stn_single, "stn": stn}
"""Our methods by name; the report compares each with the best peer."""

TABLE: Mapping[str, Method] = {**PEERS, "tpe-long": tpe_long, "start-single": plain_single, **OURS}
"""The methods of the table by name, in its order."""

METHODS: Mapping[str, Method] = {**TABLE, **ABLATIONS}
"""Every method by name."""
