"""What the writers of pipelines share: YAML scalars, the shell's lines, the mark of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from podbuild.commands.pipeline.model import Leg, Pipeline
from podbuild.config.builders import Carrier

MARK = "# podbuild-ci: "
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/.-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
INSTALL = "pip install '{extras}' && podbuild toolchain install"
PYTHON = "docker.io/library/python:3.12"


def scalar(text: str) -> str:
    """Give a string as YAML: as it is where that is one, else in quotes.

    >>> scalar("linux/arm64"), scalar("on"), scalar("a: b")
    ('linux/arm64', '"on"', '"a: b"')
    """
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return text if plain else json.dumps(text)


def flow_map(values: Mapping[str, str]) -> str:
    """Give a table in one line."""
    return "{" + ", ".join(f"{name}: {scalar(value)}" for name, value in values.items()) + "}"


def flow_list(values: Iterable[str]) -> str:
    """Give a list in one line."""
    return "[" + ", ".join(map(scalar, values)) + "]"


def indented(lines: Iterable[str], spaces: int) -> Iterator[str]:
    """Give lines further to the right."""
    return (f"{' ' * spaces}{line}" if line else line for line in lines)


def head(pipeline: Pipeline) -> Iterator[str]:
    """Give what stands first in a file: who wrote it, and what for."""
    yield f"# Written by `podbuild ci init {pipeline.system}`, and yours to change."
    yield "# `podbuild ci check` says when podbuild.toml asks for something else."
    yield f"{MARK}{json.dumps(pipeline.facts, sort_keys=True)}"


def install(pipeline: Pipeline) -> str:
    """Give the command that installs podbuild and its toolchain; empty where an image has them."""
    return "" if pipeline.image else INSTALL.format(extras=pipeline.extras)


def leg_command(pipeline: Pipeline, run: str) -> str:
    """Give the command of a leg, for $PLATFORM and $SLUG.

    `run` is what tells one run of the pipeline from another, as the shell writes it.
    """
    words = ['podbuild build --platform "$PLATFORM"']
    match pipeline.carrier:
        case Carrier.REGISTRY:
            words.append(f"--push --hand-over {place(pipeline, run, '$SLUG')}")
        case Carrier.ARTIFACT:
            words.append("--push --thin")
        case Carrier.WHOLE:
            pass
    if pipeline.tag_children:
        words.append("--tag-children")
    return " ".join(words)


def join_command(pipeline: Pipeline, run: str, verb: str = "release") -> str:
    """Give the command that joins all legs."""
    if pipeline.is_single:
        return f"podbuild {verb}"
    places = (
        place(pipeline, run, leg.slug)
        if pipeline.carrier is Carrier.REGISTRY
        else f"legs/{leg.slug}"
        for leg in pipeline.legs
    )
    return " ".join((f"podbuild {verb}", *(f"--from {each}" for each in places)))


def place(pipeline: Pipeline, run: str, slug: str) -> str:
    """Give where a leg hands over, as the shell writes it."""
    return f'"oci:{pipeline.repository}:{run}-{slug}"'


def leg_values(pipeline: Pipeline, leg: Leg) -> dict[str, str]:
    """Give what tells one leg from another, by the names of variables."""
    found = {"PLATFORM": str(leg.platform), "SLUG": leg.slug}
    if any(each.images for each in pipeline.legs):
        found["PODBUILD_IMAGE"] = " ".join(leg.images)  # --image, without the shell's words
    return found


def tag_prefixes(form: str) -> tuple[str, str]:
    """Give what stands before and after the version in a project's git tags.

    >>> tag_prefixes("web-v{version}")
    ('web-v', '')
    """
    before, _, after = form.partition("{version}")
    return before, after
