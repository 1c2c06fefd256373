"""What every test may use: `needs` marks, and the rule that nothing is skipped on the machine that judges."""

from __future__ import annotations

import os

import pytest

from tests.needs import missing


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        absent = [name for server in mark.args for name in missing(server)]
        if not absent:
            continue
        reason = f"{', '.join(absent)} is not installed: run `make setup` as root"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
