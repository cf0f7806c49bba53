"""What podbuild.toml says of the project as a whole, as frozen types that declare their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property
from pathlib import Path

from podbuild.config.attest import Attest
from podbuild.config.builders import Builders, CiSettings
from podbuild.config.choices import AFFIX, IGNORED, NAME, TAG_FORM, TAGS, URL
from podbuild.config.following import (
    CostSettings,
    Deployment,
    HistorySettings,
    NotesSettings,
    NotifySettings,
)
from podbuild.config.image import Image
from podbuild.config.keys import (
    COUNT,
    DURATION,
    FLAG,
    PATH,
    REGEX,
    TEMPLATE,
    TEXT,
    choice,
    declared,
    key,
    list_of,
    map_of,
    parsed,
    table_of,
)
from podbuild.config.template import Template, tag_template
from podbuild.config.toml import refuse_unknown
from podbuild.config.trials import CheckCommand
from podbuild.errors import ConfigError
from podbuild.oci.names import RegistryKind
from podbuild.semver import Scheme, TagForm, Version
from podbuild.system.later import dataclass

DAY = 86400.0  # seconds


def _any_version(text: str) -> Version:
    """Read a version of either scheme: which one is this project's stands in another table."""
    return Version.read(text) or Version.parse(text)


@dataclass(frozen=True, kw_only=True)
class Project:
    """What all images of a project share; the texts become labels and annotations."""

    name: str = field(
        metadata=key(NAME, "the project's name, {project} in templates", example='"shop"')
    )
    description: str = field(
        default="", metadata=key(TEXT, "one line about the project", example='"A shop"')
    )
    source: str = field(
        default="",
        metadata=key(
            URL,
            "where the source is; GHCR links the package to it",
            example='"https://github.com/acme/shop"',
        ),
    )
    url: str = field(
        default="",
        metadata=key(
            URL, "where to find more about the project", example='"https://shop.example.com"'
        ),
    )
    documentation: str = field(
        default="",
        metadata=key(URL, "where its documentation is", example='"https://shop.example.com/docs"'),
    )
    licenses: str = field(
        default="", metadata=key(TEXT, "an SPDX licence expression", example='"Apache-2.0"')
    )
    vendor: str = field(
        default="", metadata=key(TEXT, "who distributes the images", example='"Acme"')
    )
    tag: str = field(
        default="",
        metadata=key(
            TAG_FORM,
            "the form of this project's git tags, others are not its own; without it a version "
            "with or without v",
            example='"web-v{version}"',
        ),
    )
    scheme: Scheme = field(
        default=Scheme.SEMVER,
        metadata=key(
            choice(Scheme),
            "how versions are numbered; calver is two to four numbers, such as 2024.01.15",
            example='"calver"',
        ),
    )
    output: Path = field(
        default=Path("dist"), metadata=key(PATH, "the folder for everything that podbuild writes")
    )
    require_tag: bool | None = field(
        default=None,
        metadata=key(
            FLAG,
            "true: a release needs its git tag, as with --require-tag; false: there need be none; "
            "without it a missing one is a warning",
            example="true",
        ),
    )

    @property
    def form(self) -> TagForm:
        """Give what reads and writes this project's git tags."""
        return TagForm(self.tag, self.scheme)


@dataclass(frozen=True, kw_only=True)
class TagRules:
    """Which tags a release and a push to a branch write."""

    release: tuple[Template, ...] = field(
        default=tuple(map(Template, ("{version}", "{major}.{minor}", "{major}", "latest"))),
        metadata=key(
            TAGS,
            "tags of a release; {major} is left out for 0.x, and a prerelease gets only those "
            "that hold the full version",
            example='["{version}", "{major}.{minor}", "{major}", "latest"]',
        ),
    )
    branches: Mapping[str, tuple[Template, ...]] = field(
        default_factory=dict,
        hash=False,
        metadata=key(
            map_of(TAGS),
            "tags of `podbuild snapshot`, by branch (or pattern such as feature/*)",
            example='{ main = ["edge", "sha-{sha}"] }',
        ),
    )
    pull_requests: tuple[Template, ...] = field(
        default=(),
        metadata=key(
            TAGS,
            "tags of `podbuild snapshot` for a pull request, instead of a branch's",
            example='["pr-{pr}"]',
        ),
    )
    schedule: tuple[Template, ...] = field(
        default=(),
        metadata=key(
            TAGS,
            "tags of a scheduled `podbuild snapshot`, besides the branch's",
            example='["nightly", "nightly-{date}"]',
        ),
    )
    prefix: str = field(default="", metadata=key(AFFIX, "before every tag", example='"web-"'))
    suffix: str = field(
        default="", metadata=key(AFFIX, "after every tag, latest too", example='"-alpine"')
    )
    yanked: tuple[Version, ...] = field(
        default=(),
        metadata=key(
            list_of(parsed(_any_version, "version")),
            "versions that no guard counts any more",
            example='["2.0.0"]',
        ),
    )

    def affixed(self) -> TagRules:
        """Give the same with prefix and suffix in each template; raises what no tag can be."""

        def whole(templates: tuple[Template, ...]) -> tuple[Template, ...]:
            texts = (f"{self.prefix}{each}{self.suffix}" for each in templates)
            return tuple(map(tag_template, texts))

        return replace(
            self,
            release=whole(self.release),
            branches={name: whole(found) for name, found in self.branches.items()},
            pull_requests=whole(self.pull_requests),
            schedule=whole(self.schedule),
        )


@dataclass(frozen=True, kw_only=True)
class Registry:
    """One place that images are published to."""

    name: str
    kind: RegistryKind = field(
        default=RegistryKind.OCI,
        metadata=key(choice(RegistryKind), "what it is; layout is a folder", example='"ghcr"'),
    )
    repository: Template | None = field(
        default=None,
        metadata=key(TEMPLATE, "where an image goes", example='"ghcr.io/acme/{image}"'),
    )
    path: Template | None = field(
        default=None,
        metadata=key(
            TEMPLATE,
            "the folder of a layout, instead of repository",
            example='"dist/registry/{image}"',
        ),
    )
    required: bool = field(
        default=True, metadata=key(FLAG, "false: its failure is reported and not fatal")
    )
    insecure: bool = field(default=False, metadata=key(FLAG, "true: plain HTTP"))
    ca: Path | None = field(
        default=None,
        metadata=key(PATH, "certificates to trust besides the system's", example='"ca.pem"'),
    )
    api: str | None = field(
        default=None,
        metadata=key(
            URL,
            "the API for deletions where it is not the usual one",
            example='"https://api.example.com"',
        ),
    )
    untag: bool = field(
        default=False,
        metadata=key(FLAG, "ghcr: free one tag of several by moving it to a placeholder first"),
    )

    def __post_init__(self) -> None:
        """Refuse a registry without a place, or with the wrong kind of place."""
        if self.kind is RegistryKind.LAYOUT:
            if self.path is None or self.repository is not None:
                raise ConfigError(
                    "a layout needs path and no repository",
                    hint='such as path = "dist/registry/{image}"',
                )
        elif self.repository is None or self.path is not None:
            raise ConfigError(
                "a registry needs repository and no path",
                hint='such as repository = "ghcr.io/acme/{image}", or kind = "layout" with a path',
            )

    @property
    def host(self) -> str:
        """Give the host of its repositories; empty for a layout."""
        return self.repository.text.partition("/")[0] if self.repository else ""

    @property
    def template(self) -> Template:
        """Give the template of the place, a repository or a folder."""
        place = self.repository or self.path
        if place is None:  # pragma: no cover  # __post_init__ refuses it
            raise ConfigError(f"registry {self.name} has no place")
        return place


@dataclass(frozen=True, kw_only=True)
class PruneRule:
    """Tags to delete: those that match, outside the newest `keep` and older than `older_than`."""

    match: re.Pattern[str] = field(
        metadata=key(REGEX, "the whole tag must match", example="'sha-[0-9a-f]{7}'")
    )
    keep: int = field(metadata=key(COUNT, "how many of the newest stay", example="10"))
    older_than: float = field(  # seconds
        default=0.0, metadata=key(DURATION, "only what is older than this", example='"30d"')
    )


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What cleanup may delete. Nothing unless written."""

    superseded: bool = field(
        default=False,
        metadata=key(FLAG, "true: after a release, delete what its moving tags left"),
    )
    grace: float = field(  # seconds
        default=DAY, metadata=key(DURATION, "only what was left longer ago than this")
    )
    protect: tuple[re.Pattern[str], ...] = field(
        default=(),
        metadata=key(list_of(REGEX), "tags that are never deleted", example=r"['\d+\.\d+\.\d+']"),
    )
    prune: tuple[PruneRule, ...] = field(
        default=(),
        metadata=key(
            list_of(table_of(PruneRule, declared(PruneRule), "{ match, keep, older-than }")),
            "tags that `podbuild prune` deletes: outside keep and older than",
            example="[{ match = 'sha-[0-9a-f]{7}', keep = 10, older-than = \"30d\" }]",
        ),
    )


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """The layer cache between runners."""

    repository: Template | None = field(
        default=None,
        metadata=key(
            TEMPLATE,
            "the repository for cached layers of all platforms",
            example='"ghcr.io/acme/cache/{image}"',
        ),
    )
    read: bool = field(
        default=True, metadata=key(FLAG, "false: take no layers from it, only fill it")
    )
    write: bool = field(
        default=True, metadata=key(FLAG, "false: only take from it, such as in pull requests")
    )
    mounts: bool = field(
        default=False, metadata=key(FLAG, "true: carry cache mounts between runners too")
    )
    keep: int = field(
        default=0,
        metadata=key(COUNT, "how many of the entries used last `podbuild prune` keeps in any case"),
    )
    older_than: float = field(  # seconds
        default=14 * DAY,
        metadata=key(DURATION, "`podbuild prune` deletes entries that no build used for so long"),
    )


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """What is not said of images."""

    ignore: tuple[str, ...] = field(
        default=(),
        metadata=key(
            list_of(IGNORED),
            "rules that are silent: RULE for all images, IMAGE:RULE for one (docs/checks.md)",
            example='["web:foreign-binary"]',
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole podbuild.toml. Paths are absolute."""

    path: Path
    root: Path  # the folder of podbuild.toml
    project: Project
    images: tuple[Image, ...]
    registries: tuple[Registry, ...]
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    tags: TagRules = TagRules()
    retention: Retention = Retention()
    cache: CacheSettings = CacheSettings()
    attest: Attest | None = None  # None: nothing is said of images
    audit: AuditSettings = AuditSettings()
    notes: NotesSettings = field(default_factory=NotesSettings)
    history: HistorySettings = field(default_factory=HistorySettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    cost: CostSettings = field(default_factory=CostSettings)
    deploy: tuple[Deployment, ...] = ()
    ci: CiSettings = field(default_factory=CiSettings)
    builders: Builders = field(default_factory=Builders)
    checks: tuple[CheckCommand, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)  # what {env.NAME} may give

    @property
    def output(self) -> Path:
        """Give the folder that podbuild writes to."""
        return self.root / self.project.output

    def image(self, name: str) -> Image:
        """Give one image; raises ConfigError naming those there are."""
        return self._named.get(name) or refuse_unknown(name, "image", self._named)

    @cached_property
    def _named(self) -> Mapping[str, Image]:
        return {image.name: image for image in self.images}

    def registry(self, name: str) -> Registry:
        """Give one registry; raises ConfigError naming those there are."""
        known = {each.name: each for each in self.registries}
        return known.get(name) or refuse_unknown(name, "registry", known)

    def tags_of(self, image: Image) -> TagRules:
        """Give the tags that an image gets: its own, where it has any, instead of [tags]."""
        own, shared = image.tags, self.tags
        rules = replace(
            shared,
            release=shared.release if own.release is None else own.release,
            branches=shared.branches if own.branches is None else own.branches,
            pull_requests=shared.pull_requests if own.pull_requests is None else own.pull_requests,
            schedule=shared.schedule if own.schedule is None else own.schedule,
            prefix=shared.prefix if own.prefix is None else own.prefix,
            suffix=shared.suffix if own.suffix is None else own.suffix,
        )
        return rules.affixed() if rules.prefix or rules.suffix else rules
