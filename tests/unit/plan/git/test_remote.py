"""What is left of a remote's URL where others can read it."""

from __future__ import annotations

import pytest

from podbuild.commands.init import Seen, initial_files
from podbuild.plan.git.worktree import public_url

SECRETS = ("pass", "p@ss", "p/ss", "p?ss", "p#ss", "p@s/s", "p@s?s@x", "p:ss", "p%40ss", "p/s@s")


@pytest.mark.parametrize(
    ("remote", "public"),
    [
        ("https://github.com/acme/shop.git", "https://github.com/acme/shop.git"),
        ("https://user:pass@example.com:8443/a/b", "https://example.com:8443/a/b"),
        ("https://token@example.com/a/b", "https://example.com/a/b"),
        ("https://user:p@ss@example.com/a/b", "https://example.com/a/b"),
        ("https://example.com/a/b?private_token=x@y", "https://example.com/a/b"),
        ("https://u:p@example.com/a/b?private_token=x#y", "https://example.com/a/b"),
        ("https://example.com/a/b#x", "https://example.com/a/b"),
        ("https://example.com/@acme/b", "https://example.com/@acme/b"),
        ("https://[::1]:80/a/b", "https://[::1]:80/a/b"),
        ("ssh://git@example.com:22/a/b", "ssh://example.com:22/a/b"),
        ("git@github.com:acme/shop.git", "github.com:acme/shop.git"),
        ("user:p@ss@example.com:a/b", "example.com:a/b"),
        ("/srv/a@b?c/d", "/srv/a@b?c/d"),
        ("../a@b", "../a@b"),
        ("file:///srv/a@b", "file:///srv/a@b"),
        ("", ""),
    ],
)
def test_login_query_and_fragment_are_left_out(remote: str, public: str) -> None:
    assert public_url(remote) == public


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "form", ["https://user:{}@h.example/acme/shop", "https://user:{}@h.example/@a/b?t=c@d"]
)
def test_no_piece_of_a_password_is_left(form: str, secret: str) -> None:
    remote = form.format(secret)
    config = initial_files(Seen(folder="x", remote=remote))[0].text
    for piece in ("user", "ss", "p@", "p/", "c@d"):
        assert piece not in public_url(remote)
    assert "user:" not in config
    assert "ss@" not in config
