"""The section of release notes, and a text that gets it."""

from __future__ import annotations

import pytest

from podbuild.oci.names import Digest
from podbuild.report.notes import BEGIN, END, Noted, NotedImage, NotedPlatform, put_in, section

DIGEST = Digest(f"sha256:{'a' * 64}")
IMAGE = NotedImage(
    name="web",
    digest=DIGEST,
    places=(("ghcr", "ghcr.io/acme/web:1.2.3"), ("hub", "docker.io/acme/web:1.2.3")),
    pull=f"ghcr.io/acme/web@{DIGEST}",
    before="1.2.2",
    platforms=(
        NotedPlatform(name="linux/amd64", size=41_200_000, grown=-1_200_000, update=3_000_000),
        NotedPlatform(name="linux/arm64", size=40_000_000),
    ),
)
NOTED = Noted(images=(IMAGE,), public_key="cosign.pub", link="https://github.com/acme/shop")


def test_the_section_tells_how_to_pull_and_verify() -> None:
    assert section(NOTED) == (
        f"{BEGIN}\n## Images\n\n### web\n\n"
        "| registry | tag | digest |\n|---|---|---|\n"
        f"| ghcr | `ghcr.io/acme/web:1.2.3` | `{DIGEST}` |\n"
        f"| hub | `docker.io/acme/web:1.2.3` | `{DIGEST}` |\n\n"
        "| platform | size | since 1.2.2 | update from 1.2.2 |\n|---|---|---|---|\n"
        "| linux/amd64 | 41.2 MB | -1.2 MB | 3.0 MB |\n"
        "| linux/arm64 | 40.0 MB | new | 40.0 MB |\n\n"
        f"```sh\npodman pull ghcr.io/acme/web@{DIGEST}\n"
        f"cosign verify --key cosign.pub --insecure-ignore-tlog=true ghcr.io/acme/web@{DIGEST}\n"
        f"```\n{END}"
    )


@pytest.mark.parametrize(
    ("body", "before", "after"),
    [
        ("", "", ""),
        ("a", "a\n\n", ""),
        ("a\n", "a\n\n", ""),
        ("a\n\n", "a\n\n", ""),
        ("a\n\n\n", "a\n\n\n", ""),
        ("a\r\nb\r\n", "a\r\nb\r\n\r\n", ""),
        (f"{BEGIN}\nx\n{END}", "", ""),
        (f"a {BEGIN} b\n{BEGIN}\nx\n{END}\ntail", f"a {BEGIN} b\n", "\ntail"),
        (f"{END}\n{BEGIN}\r\n{END}\r\n", f"{END}\n", "\r\n"),
        (f"{BEGIN}\nlost\n{BEGIN}\nold\n{END}\n", f"{BEGIN}\nlost\n", "\n"),
        (f"{BEGIN}\nnever ended", f"{BEGIN}\nnever ended\n\n", ""),
    ],
)
def test_all_that_others_wrote_stays(body: str, before: str, after: str) -> None:
    found = put_in(body, NOTED)
    assert found is not None
    line_end = "\r\n" if "\r\n" in before + after else "\n"
    assert found == before + section(NOTED).replace("\n", line_end) + after
    assert put_in(found, NOTED) == found


def test_short_of_room_it_says_less_and_grows_again() -> None:
    short = put_in("x" * 1000, NOTED, 1300)
    assert short is not None
    assert len(short) <= 1300
    assert "cosign" not in short
    assert put_in(short, NOTED) == put_in("x" * 1000, NOTED)
    assert put_in("x" * 1000, NOTED, 1010) is None
