"""Where builders are: what ssh takes, and nothing that a shell or another program would."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.config.load import parse_config
from podbuild.errors import ConfigError

TEXT = '[project]\nname = "shop"\n[images.web]\n[builders.far]\nhost = {}\n'


def read(host: str) -> str:
    config = parse_config(TEXT.format(host), Path("/p/podbuild.toml"), {})
    return config.builders.each[0].host


@pytest.mark.parametrize(
    "host",
    [
        "far",
        "me@far.example.com",
        "ssh://me@far:2222",
        "ssh://[fe80::1%25eth0]:22",
        "a-b_c",
        "me+x@a",
    ],
)
def test_what_ssh_takes_is_taken(host: str) -> None:
    assert read(f'"{host}"') == host


@pytest.mark.parametrize(
    "host",
    [
        *("-oProxyCommand=id", "me@-oProxyCommand=id", "ssh://-oProxyCommand=id", "ssh://a@-x"),
        *("`id`.example.com", "$(id)", "a;id", "a|id", "a&id", "a>x", "a<x", "{a,b}", "a*", "a b"),
    ],
)
def test_what_a_shell_or_an_option_would_be_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"podbuild.toml:5: builders.far.host"):
        read(f"'{host}'")
