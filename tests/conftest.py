"""What every test may use: `needs` marks, and the rule that nothing is skipped on the machine that judges."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.needs import missing


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        absent = [name for server in mark.args for name in missing(server)]
        if absent:
            pytest.skip(f"{', '.join(absent)} is not installed: run `make setup` as root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"with CI=true nothing is skipped: {reason}"
    return report
