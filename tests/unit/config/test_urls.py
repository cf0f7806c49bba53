"""URLs of the configuration, which everybody can read on the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.config.load import parse_config
from podbuild.errors import ConfigError

KEYS = ("source", "url", "documentation")


def read(key: str, url: str) -> None:
    text = f'[project]\nname = "shop"\n{key} = "{url}"\n[images.web]\n'
    parse_config(text, Path("/p/podbuild.toml"), {})


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "url",
    [
        *("https://user:pa55@host/x", "https://user:p@pa55@host/x", "https://pa55@host/x"),
        *("https://pa55:@host", "http://:pa55@host/x", "https://user:pa55/x@host/y"),
        *("https://user:pa55?x@host/y", "https://user:pa55#x@host/y", "https://pa55%40host@x/y"),
        *("https://host/x?private_token=pa55", "https://host/x?a=b&access_token=pa55"),
        *("https://host/x?PASSWORD=pa55", "https://host/x?sig=pa55", "https://host/x#token=pa55"),
        *("HTTPS://user:pa55@host/x", "ftp://user:pa55@host/x", "https://user:pa55@ho st/x"),
        *("https://host/?x-amz-signature=pa55", "https://@host/pa55"),
    ],
)
def test_login_in_a_url_is_refused_and_not_quoted(key: str, url: str) -> None:
    with pytest.raises(ConfigError, match=f":3: project.{key}: ") as caught:
        read(key, url)
    assert "pa55" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://github.com/acme/shop",
            "http://host",
            "https://host:8080/x",
            "https://host?page=2",
        ),
        *(
            "https://host/@acme/x",
            "https://host/a@b",
            "https://host/x#install",
            "https://[::1]:80/x",
        ),
    ],
)
def test_ordinary_urls_are_taken(key: str, url: str) -> None:
    read(key, url)


@pytest.mark.parametrize("table", ["labels", "annotations"])
def test_login_in_a_label_s_url_is_refused(table: str) -> None:
    text = f'[project]\nname = "s"\n[images.web]\n{table} = {{ a = "https://u:pa55word@host/x" }}\n'
    with pytest.raises(ConfigError, match=f":4: images.web.{table}.a: a secret") as caught:
        parse_config(text, Path("/p/podbuild.toml"), {})
    assert "pa55" not in caught.value.message


def test_variable_with_a_login_in_its_url_is_refused() -> None:
    text = '[project]\nname = "s"\n[images.web]\nlabels = { a = "{env.CI_REPOSITORY_URL}" }\n'
    environment = {"CI_REPOSITORY_URL": "https://gitlab-ci-token:abc@gitlab.com/a/b.git"}
    with pytest.raises(ConfigError, match="CI_REPOSITORY_URL is a secret"):
        parse_config(text, Path("/p/podbuild.toml"), environment)
