"""The tables of podbuild.toml, in the order in which people read them.

Placeholders of contexts are replaced when the configuration is read, and when a plan is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from podbuild.config.attest import Attest
from podbuild.config.builders import BuilderHost, Builders, CiSettings
from podbuild.config.checks import check_contexts
from podbuild.config.choices import ALWAYS_KNOWN, PREFIX, Context, OpenContext
from podbuild.config.following import (
    CostSettings,
    Deployment,
    HistorySettings,
    NotesSettings,
    NotifySettings,
)
from podbuild.config.image import Image
from podbuild.config.keys import Declared, Invalid, Schema, declared, list_of, map_of, table_schema
from podbuild.config.model import (
    AuditSettings,
    CacheSettings,
    Config,
    Project,
    Registry,
    Retention,
    TagRules,
)
from podbuild.config.template import Placeholders
from podbuild.config.toml import dotted, line_of, read_config, shown
from podbuild.config.trials import CheckCommand
from podbuild.errors import ConfigError, PodbuildError


def located(wrong: Invalid, config: Config) -> ConfigError:
    """Give what is wrong with the file, line and key that say so."""
    text = read_config(config.path) if config.path.is_file() else ""
    line = line_of(text, wrong.path)
    message = f"{shown(config.path)}:{line}: {dotted(wrong.path)}: {wrong.message}"
    return ConfigError(message, hint=wrong.hint)


def close_known(config: Config) -> Config:
    """Replace what the project and the environment tell; raises Invalid.

    What a variable that is not set, or a plan, would tell stays open.
    """
    known = ALWAYS_KNOWN | {f"env.{name}" for name in config.env}
    return _closed(
        config, lambda image: _values(config, image), lambda each: each.template.names <= known
    )


def close_contexts(config: Config, values: Callable[[str], Placeholders]) -> Config:
    """Replace all that is open; raises ConfigError with file, line and key.

    `values` are those of an image, by its name.
    """
    try:
        return _closed(config, lambda image: values(image.name), lambda _: True)
    except Invalid as wrong:
        raise located(wrong, config) from None


def without_unset(config: Config) -> Config:
    """Leave out the contexts that wait for a variable, for what only looks at the rest."""
    unset = {(image.name, name) for image, name, _ in _unset(config)}

    def known(image: Image) -> Image:
        kept = {
            name: each for name, each in image.contexts.items() if (image.name, name) not in unset
        }
        return replace(image, contexts=kept)

    return replace(config, images=tuple(map(known, config.images))) if unset else config


def without_texts(config: Config) -> Config:
    """Leave out the images' texts, and what is open, for what only asks where images are."""

    def bare(image: Image) -> Image:
        closed = {
            name: each for name, each in image.contexts.items() if not isinstance(each, OpenContext)
        }
        return replace(image, build_args={}, labels={}, annotations={}, contexts=closed)

    return replace(config, images=tuple(map(bare, config.images)))


def unset_variables(config: Config) -> Iterator[ConfigError]:
    """Give what is said of each context that waits for a variable that is not set."""
    for image, name, context in _unset(config):
        try:
            context.closed(_values(config, image))
        except PodbuildError as error:
            way = ("images", image.name, "contexts", name)
            yield located(Invalid(error.message, hint=error.hint, path=way), config)


def _unset(config: Config) -> Iterator[tuple[Image, str, OpenContext]]:
    for image in config.images:
        for name, context in image.contexts.items():
            if isinstance(context, OpenContext) and context.template.variables - config.env.keys():
                yield image, name, context


def _values(config: Config, image: Image) -> Placeholders:
    return Placeholders(
        project=config.project.name, image=image.name, sha="0" * 7, branch="b", env=config.env
    )


def _closed(
    config: Config,
    values: Callable[[Image], Placeholders],
    is_known: Callable[[OpenContext], bool],
) -> Config:
    def one(image: Image, name: str, context: Context | OpenContext) -> Context | OpenContext:
        if not isinstance(context, OpenContext) or not is_known(context):
            return context
        try:
            return context.closed(values(image))
        except (Invalid, PodbuildError) as wrong:
            way = ("images", image.name, "contexts", name)
            raise Invalid(wrong.message, hint=wrong.hint, path=way) from None

    def all_of(image: Image) -> Image:
        if not any(isinstance(each, OpenContext) for each in image.contexts.values()):
            return image
        contexts = {name: one(image, name, each) for name, each in image.contexts.items()}
        return replace(image, contexts=contexts)

    images = tuple(map(all_of, config.images))
    if images == config.images:
        return config
    found = replace(config, images=images)
    check_contexts(found)
    return found


MIRRORS = map_of(list_of(PREFIX, least=1), names=PREFIX)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table: its keys, and whether there is one of them or one by each name.

    `own` are keys of the table itself, beside the tables by name in it.
    """

    name: str
    help: str
    sample: str  # the least that it is, in one line
    keys: tuple[Declared, ...] = ()
    own: tuple[Declared, ...] = ()
    named: bool = False
    listed: bool = False  # [[name]], any number of them
    required: bool = False

    @property
    def schema(self) -> Schema:
        """Give its JSON schema."""
        if not self.keys:
            return {**MIRRORS.schema, "description": self.help}
        table = table_schema(self.keys)
        if self.named:
            own = {"properties": table_schema(self.own)["properties"]} if self.own else {}
            table = {"type": "object", **own, "additionalProperties": table}
        if self.listed:
            table = {"type": "array", "items": table}
        return {**table, "description": self.help}


IMAGE_KEYS = declared(Image)

SECTIONS = (
    Table(
        name="project",
        sample='[project], and below it name = "shop"',
        help="what all images share; its texts become labels and annotations",
        keys=declared(Project),
        required=True,
    ),
    Table(
        name="defaults",
        sample='[defaults], and below it platforms = ["linux/amd64"]',
        help="keys of images, for all of them; tables are merged, the image's own entries win",
        keys=tuple(each for each in IMAGE_KEYS if each.key.cascades),
    ),
    Table(
        name="images",
        sample="[images.web], a table for each image",
        help="one table for each image, [images.NAME]",
        keys=IMAGE_KEYS,
        named=True,
        required=True,
    ),
    Table(
        name="registries",
        sample="[registries.ghcr], a table for each registry",
        help="one table for each place to publish to, [registries.NAME]; without any, OCI layouts "
        "under dist/registry",
        keys=declared(Registry),
        named=True,
    ),
    Table(
        name="mirrors",
        sample='"docker.io" = ["mirror.example.com/hub"]',
        help="where bases come from first, by registry; the Containerfile stays as it is",
    ),
    Table(
        name="tags",
        sample='[tags], and below it release = ["{version}", "latest"]',
        help="which tags are written",
        keys=declared(TagRules),
    ),
    Table(
        name="retention",
        sample="[retention], and below it superseded = true",
        help="what may be deleted; nothing unless written",
        keys=declared(Retention),
    ),
    Table(
        name="cache",
        sample='[cache], and below it repository = "ghcr.io/acme/cache/{image}"',
        help="layers kept between runners",
        keys=declared(CacheSettings),
    ),
    Table(
        name="builders",
        sample="[builders.arm1], a table for each machine",
        help="other machines that build, one table for each, [builders.NAME] (docs/builders.md)",
        keys=declared(BuilderHost),
        own=declared(Builders),
        named=True,
    ),
    Table(
        name="attest",
        sample='[attest], and below it sign = { key = "env:COSIGN_PRIVATE_KEY" }',
        help="what is said of every published image, so that it can be verified; nothing unless "
        "written (docs/supply-chain.md)",
        keys=declared(Attest),
    ),
    Table(
        name="audit",
        sample='[audit], and below it ignore = ["web:foreign-binary"]',
        help="what is said of the images that were built",
        keys=declared(AuditSettings),
    ),
    Table(
        name="notes",
        sample="[notes], and below it update = true",
        help="the images of a release in its notes on GitHub, GitLab, Gitea or Forgejo "
        "(`podbuild notes`)",
        keys=declared(NotesSettings),
    ),
    Table(
        name="deploy",
        sample='[deploy.production], and below it files = ["deploy/*.yaml"]',
        help="one table for each set of files that deploys images, [deploy.NAME] (`podbuild pin`)",
        keys=declared(Deployment),
        named=True,
    ),
    Table(
        name="history",
        sample='[history], and below it repository = "ghcr.io/acme/shop-history"',
        help="what runs cost, over time (`podbuild history`, docs/history.md)",
        keys=declared(HistorySettings),
    ),
    Table(
        name="notify",
        sample='[notify], and below it webhook-env = "PODBUILD_WEBHOOK"',
        help="who is told how a release ended",
        keys=declared(NotifySettings),
    ),
    Table(
        name="cost",
        sample="[cost], and below it runner-minute = 0.008",
        help="your own prices, for the report; without them no cost is shown",
        keys=declared(CostSettings),
    ),
    Table(
        name="ci",
        sample="[ci], and below it slices = 4",
        help="what `podbuild ci` makes pipelines of (docs/ci.md)",
        keys=declared(CiSettings),
    ),
    Table(
        name="checks",
        sample='[[checks]], and below it run = ["scan", "$PODBUILD_LAYOUT"]',
        help="commands that judge each image before it gets a tag (docs/checks.md)",
        keys=declared(CheckCommand),
        listed=True,
    ),
)


def section(name: str) -> Table:
    """Give one of the tables."""
    return next(each for each in SECTIONS if each.name == name)
