from __future__ import annotations

import pytest
import yaml

from hypertune.errors import ConfigError
from hypertune.reporting.dashboards import dashboard_file, shipped_dashboards


def test_shipped_dashboards_are_found_by_name():
    assert "study" in shipped_dashboards()
    content = yaml.safe_load(dashboard_file("study").read_text())
    for template in content["filters"].values():
        assert "r1" in template.format_map({"parent_run_id": "r1"})
    with pytest.raises(ConfigError, match="did you mean 'study'"):
        dashboard_file("studdy")
