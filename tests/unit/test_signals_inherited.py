"""What tests start does not depend on the signals that the test run itself was started with."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.integration  # it starts a process
def test_what_tests_start_can_be_interrupted() -> None:
    program = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout == b"False\n"
