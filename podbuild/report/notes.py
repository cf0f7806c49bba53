"""The images of a release as a section of its notes, and that section put into a text.

The same release gives the same bytes: no times stand in it. Text outside the section stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from podbuild.oci.names import Digest
from podbuild.report.markdown import code, table, text
from podbuild.system.console.text import size

BEGIN = "<!-- podbuild:images begin -->"
END = "<!-- podbuild:images end -->"

# A beginning that another one follows has lost its end: what stands after it is not ours.
_SECTION = re.compile(
    rf"^{re.escape(BEGIN)}[ \t]*\r?\n(?:(?!{re.escape(BEGIN)})[^\n]*\n)*?{re.escape(END)}",
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class NotedPlatform:
    """One platform: what a first pull costs, and what an update from the version before (bytes)."""

    name: str
    size: int
    grown: int | None = None  # None: there is nothing to compare with
    update: int | None = None


@dataclass(frozen=True, kw_only=True)
class NotedImage:
    """One image: where it is, and for which platforms."""

    name: str
    digest: Digest
    places: tuple[tuple[str, str], ...]  # registry, and reference by tag
    pull: str  # a reference by digest; empty for a folder
    before: str  # the version that it is compared with; empty: none
    platforms: tuple[NotedPlatform, ...]


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What the section says. `link` leads to where the rest is, if there is no room."""

    images: tuple[NotedImage, ...]
    public_key: str = ""  # the file that verifies, where releases are signed
    link: str = ""


def section(noted: Noted) -> str:
    """Give the whole section, with its marks and without a line end at its end."""
    return _marked(["## Images", *(line for each in noted.images for line in _image(noted, each))])


def put_in(body: str, noted: Noted, limit: int | None = None) -> str | None:
    """Give a text with the section in it: in place of the present one, else at the end.

    Where there is no room for all of it the section is shortened, never what others wrote; None
    where not even a line has room. `limit` is in characters.
    """
    found = _SECTION.search(body)
    outside = body[: found.start()] + body[found.end() :] if found else body
    ends = "\r\n" if "\r\n" in (outside if "\n" in outside else body) else "\n"
    for make in (section, _short, _digests, _linked):
        with_it = _placed(body, found, make(noted).replace("\n", ends), ends)
        if limit is None or len(with_it) <= limit:
            return with_it
    return None


def _placed(body: str, found: re.Match[str] | None, new: str, ends: str) -> str:
    if found:
        return body[: found.start()] + new + body[found.end() :]
    if not body.strip():
        return body + new
    trailing = re.search(r"(?:\r?\n[ \t]*)*$", body)
    missing = 2 - (trailing[0].count("\n") if trailing else 0)
    return body + ends * missing + new


def _marked(lines: list[str]) -> str:
    return "\n".join((BEGIN, *lines, END))


def _short(noted: Noted) -> str:
    """Leave the tables of platforms out."""
    lines = ["## Images"]
    for each in noted.images:
        lines += ["", f"### {text(each.name)}", "", *_places(each)]
    return _marked(lines)


def _digests(noted: Noted) -> str:
    """Name each image once."""
    return _marked(
        ["## Images", "", *(f"- {text(each.name)}: {code(_pulled(each))}" for each in noted.images)]
    )


def _linked(noted: Noted) -> str:
    """Say no more than how many there are, and where."""
    count = f"{len(noted.images)} image{'s' if len(noted.images) != 1 else ''}"
    return _marked([f"[{count}]({noted.link})" if noted.link else count])


def _pulled(each: NotedImage) -> str:
    return each.pull or str(each.digest)


def _image(noted: Noted, each: NotedImage) -> Iterator[str]:
    yield from ("", f"### {text(each.name)}", "", *_places(each))
    header = ["platform", "size"]
    if each.before:
        header += [f"since {each.before}", f"update from {each.before}"]
    rows = [_platform(part)[: len(header)] for part in each.platforms]
    yield from ("", *table(header, rows))
    if each.pull:
        yield from ("", "```sh", f"podman pull {each.pull}", *_verify(noted, each), "```")


def _platform(part: NotedPlatform) -> list[str]:
    grown = "new" if part.grown is None else _change(part.grown)
    update = part.size if part.update is None else part.update
    return [text(part.name), size(part.size), grown, size(update)]


def _verify(noted: Noted, each: NotedImage) -> Iterator[str]:
    if noted.public_key:
        key = f"cosign verify --key {noted.public_key} --insecure-ignore-tlog=true"
        yield f"{key} {each.pull}"


def _places(each: NotedImage) -> Iterator[str]:
    rows = [(text(name), code(place), code(str(each.digest))) for name, place in each.places]
    yield from table(("registry", "tag", "digest"), rows)


def _change(count: int) -> str:
    return f"+{size(count)}" if count > 0 else size(count)
