"""Tags that two writers would fight for, found before anything is built."""

from __future__ import annotations

from collections.abc import Mapping

from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.config.template import Placeholders
from podbuild.errors import ConfigError
from podbuild.oci.names import Tag
from podbuild.plan.model import Plan, Target
from podbuild.plan.tags import branch_tags, written_by_release


def check_collisions(config: Config, plan: Plan) -> None:
    """Raise ConfigError where a tag would have two writers.

    Two images, two registries that are the same place, or a branch and the releases.
    """
    owners: dict[tuple[str, Tag], Target] = {}
    for target in plan.targets:
        for move in target.tags:
            tag = move.named.tag
            other = owners.setdefault((target.place, tag), target)
            if other is not target:
                raise _two_writers(target, other, tag)
    if plan.version is None:
        _check_branch_tags(config, plan)
    else:
        _check_release_tags(config, plan)


def _two_writers(one: Target, other: Target, tag: Tag) -> ConfigError:
    if one.image == other.image:
        return ConfigError(
            f"registries {other.registry.name!r} and {one.registry.name!r} are the same place, "
            f"{one.place}",
            hint="take one of them out",
        )
    return ConfigError(
        f"images {other.image!r} and {one.image!r} both write {one.place}:{tag}",
        hint="put {image} in the repository, or give one of them other tags, such as "
        '["{version}-alpine"]',
    )


def _values_of(config: Config, image: Image, branch: str | None) -> Placeholders:
    return Placeholders(
        project=config.project.name,
        image=image.name,
        branch=branch,
        env=config.env,
        sha="0" * 7,
        scheme=config.project.scheme,
    )


def _by_place(config: Config, plan: Plan) -> Mapping[str, list[Image]]:
    """Give the images that write to each place."""
    found: dict[str, list[Image]] = {}
    for target in plan.targets:
        found.setdefault(target.place, []).append(config.image(target.image))
    return found


def _check_branch_tags(config: Config, plan: Plan) -> None:
    """Refuse a branch's tag that some release could write."""
    alongside = _by_place(config, plan)
    for target in plan.targets:
        for image in alongside[target.place]:
            templates = config.tags_of(image).release
            values = _values_of(config, image, plan.source.branch)
            for move in target.tags:
                if written_by_release(move.named.tag, templates, values):
                    raise _moving_twice(target, move.named.tag, f"releases of {image.name!r}")


def _check_release_tags(config: Config, plan: Plan) -> None:
    """Refuse a release's tag that a branch of the configuration writes."""
    alongside = _by_place(config, plan)
    for target in plan.targets:
        mine = {move.named.tag for move in target.tags}
        for image in alongside[target.place]:
            rules = config.tags_of(image).branches
            for branch in rules:
                named = branch_tags({branch: rules[branch]}, _values_of(config, image, branch))
                for tag in mine & {each.tag for each in named}:
                    raise _moving_twice(target, tag, f"the branch {branch}")


def _moving_twice(target: Target, tag: Tag, owner: str) -> ConfigError:
    return ConfigError(
        f"{target.place}:{tag} belongs to {owner}",
        hint="a tag belongs to releases or to one branch: give each a tag of its own",
    )
