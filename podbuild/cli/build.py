"""`podbuild build [IMAGE...]`."""

from __future__ import annotations

from typing import Any

import click

from podbuild.cli.answers import give_report
from podbuild.cli.options import (
    Common,
    Typed,
    build_args,
    common_options,
    completes,
    fail_fast,
    gathered,
    image_arguments,
    jobs,
    no_builders,
    no_cache,
    no_reuse,
    only_builder,
    only_platform,
    option,
    secrets,
    target,
    timeout,
)
from podbuild.cli.session import open_session, read_hand_over
from podbuild.commands import build

_asked = gathered(
    "typed",
    image_arguments,
    option(
        "--image",
        "more",
        multiple=True,
        metavar="NAME",
        shell_complete=completes("image"),
        help="The same as IMAGE; repeatable.",
    ),
    only_platform,
    target,
    build_args,
    secrets,
    no_cache,
    no_reuse,
    jobs,
    only_builder,
    no_builders,
)
_left = gathered(
    "left",
    option(
        "--load",
        "loads",
        is_flag=True,
        help="Also tag it in local storage, as localhost/IMAGE:TAG.",
    ),
    option(
        "--push",
        "pushes",
        is_flag=True,
        help="Publish each by digest as soon as it is ready; no tag moves.",
    ),
    option(
        "--hand-over",
        metavar="oci:REPO:TAG",
        help="Leave what a join needs in a registry: a few KB, as --push has sent the layers.",
    ),
    option(
        "--thin",
        is_flag=True,
        help="Leave no layers in dist/staging: --push has sent them already.",
    ),
    option(
        "--tag-children",
        "tags_children",
        is_flag=True,
        help="Name each pushed platform leg-DIGEST, where what has no tag is soon deleted.",
    ),
)
_with_version = gathered(
    "typed",
    option(
        "--version",
        "wanted",
        metavar="VERSION",
        help="The version that inputs use; default: the git tag that is checked out.",
    ),
    fail_fast,
)


@click.command(
    epilog="\b\nExamples:\n  podbuild build\n  podbuild build web --platform linux/arm64\n"
    "  podbuild build web && podbuild run web\n"
    "  podbuild build --platform linux/arm64 --push "
    "--hand-over oci:ghcr.io/acme/shop-hand-over:7-linux-arm64"
)
@_asked
@_left
@_with_version
@timeout
@common_options
def command(common: Common, typed: Typed, left: dict[str, Any], timeout: str | None) -> None:
    """Build images into staging; publish nothing unless told to.

    What is built lies in dist/staging, an OCI layout, and can be pushed, assembled, or handed to
    another machine together with dist/state.json. No git tag and no registry is needed.

    With --push this is a leg of a fan-out: the layers go to the registries by digest, what can't
    start or fails another check ends it (exit 10), and `podbuild release --from` joins the legs.
    """
    with open_session(common, timeout) as session:
        leaving = build.Leaving(**{**left, "hand_over": read_hand_over(left["hand_over"])})
        report = build.build(session.services(), session.request(typed), leaving)
        give_report(session.ui, report)
