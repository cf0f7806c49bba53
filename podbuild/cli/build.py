"""`podbuild build [IMAGE...]`."""

from __future__ import annotations

import click

from podbuild.build import parcel
from podbuild.cli.answers import give_report
from podbuild.cli.asking import make_request, read_duration
from podbuild.cli.options import (
    Common,
    build_args,
    common_options,
    completes,
    fail_fast,
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
from podbuild.cli.session import open_session
from podbuild.commands import build, planning
from podbuild.errors import ConfigError


@click.command(
    epilog="\b\nExamples:\n  podbuild build\n  podbuild build web --platform linux/arm64\n"
    "  podbuild build web && podbuild run web\n"
    "  podbuild build --platform linux/arm64 --push "
    "--hand-over oci:ghcr.io/acme/shop-hand-over:7-linux-arm64"
)
@click.argument("images", nargs=-1, metavar="[IMAGE]...", shell_complete=completes("image"))
@option(
    "--image",
    "more",
    multiple=True,
    metavar="NAME",
    shell_complete=completes("image"),
    help="The same as IMAGE; repeatable.",
)
@only_platform
@target
@build_args
@secrets
@no_cache
@no_reuse
@jobs
@only_builder
@no_builders
@option("--load", is_flag=True, help="Also tag it in local storage, as localhost/IMAGE:TAG.")
@option("--push", is_flag=True, help="Publish each by digest as soon as it is ready; no tag moves.")
@option(
    "--hand-over",
    "leaves_at",
    metavar="oci:REPO:TAG",
    help="Leave what a join needs in a registry: a few KB, as --push has sent the layers.",
)
@option(
    "--thin", is_flag=True, help="Leave no layers in dist/staging: --push has sent them already."
)
@option(
    "--tag-children",
    is_flag=True,
    help="Name each pushed platform leg-DIGEST, where what has no tag is soon deleted.",
)
@option(
    "--version",
    metavar="VERSION",
    help="The version that inputs use; default: the git tag that is checked out.",
)
@fail_fast
@timeout
@common_options
def command(
    common: Common,
    images: tuple[str, ...],
    more: tuple[str, ...],
    platforms: tuple[str, ...],
    target: str | None,
    build_args: tuple[str, ...],
    secrets: tuple[str, ...],
    no_cache: bool,
    no_reuse: bool,
    jobs: int | None,
    builders: tuple[str, ...],
    no_builders: bool,
    load: bool,
    push: bool,
    leaves_at: str | None,
    thin: bool,
    tag_children: bool,
    version: str | None,
    fail_fast: bool,
    timeout: str | None,
) -> None:
    """Build images into staging; publish nothing unless told to.

    What is built lies in dist/staging, an OCI layout, and can be pushed, assembled, or handed to
    another machine together with dist/state.json. No git tag and no registry is needed.

    With --push this is a leg of a fan-out: the layers go to the registries by digest, what can't
    start or fails another check ends it (exit 10), and `podbuild release --from` joins the legs.
    """
    with open_session(common, timeout=read_duration(timeout)) as session:
        request = make_request(
            images=(*images, *more),
            platforms=platforms,
            target=target,
            build_args=build_args,
            secrets=secrets,
            directory=session.directory,
            jobs=jobs,
            cache=not no_cache,
            reuse=not no_reuse,
            fail_fast=fail_fast,
            builders=builders,
            remote=not no_builders,
        )
        place = parcel.read_place(leaves_at) if leaves_at else None
        if leaves_at and place is None:
            raise ConfigError(
                f"--hand-over {leaves_at}: no registry's reference",
                hint="write it as oci:REPO:TAG; in dist/ it is handed over anyway, see --thin",
            )
        leaving = build.Leaving(
            loads=load,
            pushes=push,
            thin=thin,
            hand_over=place,
            tags_children=tag_children,
        )
        asked = planning.Asked(version=version, loose=True, request=request)
        report = build.build(session.services(), asked, leaving)
        give_report(session.ui, report)
