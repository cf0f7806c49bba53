"""What a chat is told: it shows what others wrote, and does nothing of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from podbuild.commands.notify import message
from podbuild.report.model import Failure
from tests.unit.report.test_formats import REPORT

RUN = {
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/shop",
    "GITHUB_RUN_ID": "7",
}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("<!channel> <https://evil.example|the log>", "&lt;!channel&gt; &lt;https://evil.example|"),
        ("a &amp; b", "a &amp;amp; b"),
        ("@channel @Here @everyone", "@\u200bchannel @\u200bHere @\u200beveryone"),
        ("one\n<@U123> two\x1b[2J", "one &lt;@U123&gt; two"),
    ],
)
def test_what_others_wrote_calls_nobody_and_links_nowhere(said: str, shown: str) -> None:
    failed = replace(REPORT, failure=Failure(exit_code=5, message=said, hint=""))
    text = message(failed, (), RUN)
    assert shown in text
    assert said not in text
    assert text.endswith("\nhttps://github.com/acme/shop/actions/runs/7")
