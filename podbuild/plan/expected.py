"""Which tags a repository should hold, by configuration, git and journals.

A cleanup asks for those that a registry's list leaves out: a list may come from a cache, or lack a
page, and what it does not name would count as unreachable.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from podbuild.config.image import Image
from podbuild.config.model import Config
from podbuild.config.template import VERSION_NAMES, Placeholders, Template
from podbuild.errors import PodbuildError, ToolError, VersionError
from podbuild.oci.names import Tag
from podbuild.plan.git.worktree import TIMEOUT, git_runner
from podbuild.plan.journal import Section, TagKey, read_journal
from podbuild.plan.tags import branch_tags, release_tags
from podbuild.system.process import CommandError, Runner

MOST = 1000  # tags of one repository that are asked for, the newest versions first
_PATTERN = frozenset("*?[")  # a rule for several branches
_SHORT = 7  # characters of a commit in tags


@dataclass(frozen=True, kw_only=True)
class GitRefs:
    """The tags and branches that this clone knows, its remote's too, with their commits."""

    tags: Mapping[str, str] = field(default_factory=dict)
    branches: Mapping[str, str] = field(default_factory=dict)


def read_refs(runner: Runner, folder: Path) -> GitRefs:
    """Give what git knows; nothing where there is no repository."""
    shape = "--format=%(refname) %(objectname) %(*objectname)"
    try:
        found = git_runner(runner, folder)("git", "for-each-ref", shape, timeout=TIMEOUT).out
    except (ToolError, CommandError):
        return GitRefs()
    tags: dict[str, str] = {}
    branches: dict[str, str] = {}
    for name, *commits in (line.split() for line in found.splitlines() if line.strip()):
        kind, _, rest = name.removeprefix("refs/").partition("/")
        if kind == "tags":
            tags[rest] = commits[-1]
        elif kind == "heads":
            branches[rest] = commits[-1]
        elif kind == "remotes" and "/" in rest:
            branches.setdefault(rest.partition("/")[2], commits[-1])
    return GitRefs(tags=tags, branches=branches)


def journalled_tags(folder: Path, places: Iterable[str]) -> Iterator[Tag]:
    """Give the tags that the journals in a folder say were moved; `places` are registry/image."""
    wanted = frozenset(places)
    for path in sorted(folder.glob("state*.json")):
        try:
            found = read_journal(path)
        except PodbuildError:
            continue
        keys = map(TagKey.parse, found.sections[Section.MOVED] if found else ())
        yield from (key.tag for key in keys if key and key.place in wanted)


def fixed_tags(config: Config, image: Image) -> Iterator[Tag]:
    """Give the moving tags whose name never changes, such as `edge` or a branch's own."""
    values = _values(config, image)
    rules = config.tags_of(image)
    yield from _known_now(rules.release, values)
    for branch, templates in rules.branches.items():
        name = None if set(branch) & _PATTERN else branch
        yield from _known_now(templates, replace(values, branch=name))
    yield from _known_now(rules.schedule, values)


def expected_tags(config: Config, image: Image, refs: GitRefs) -> Iterator[Tag]:
    """Give what releases of the versions and branches that git knows would write.

    The fixed ones come first, then those of branches, then those of versions, the newest first.
    """
    yield from fixed_tags(config, image)
    values = _values(config, image)
    rules = config.tags_of(image)
    for branch, commit in refs.branches.items():
        here = replace(values, branch=branch, sha=commit[:_SHORT])
        known = {name: _complete(each, here) for name, each in rules.branches.items()}
        with suppress(VersionError):
            yield from (each.tag for each in branch_tags(known, here))
    form = config.project.form
    read = ((form.read(tag), commit) for tag, commit in refs.tags.items())
    versions = {version: commit for version, commit in read if version is not None}
    for version in sorted(versions, reverse=True):
        here = replace(values, version=version, sha=versions[version][:_SHORT])
        with suppress(VersionError):
            yield from (each.tag for each in release_tags(_complete(rules.release, here), here))


def _values(config: Config, image: Image) -> Placeholders:
    return Placeholders(
        project=config.project.name,
        image=image.name,
        env=config.env,
        scheme=config.project.scheme,
    )


def _complete(templates: Iterable[Template], values: Placeholders) -> tuple[Template, ...]:
    return tuple(each for each in templates if None not in map(values.value, each.names))


def _known_now(templates: Iterable[Template], values: Placeholders) -> Iterator[Tag]:
    """Give the tags of templates that no version, commit or unknown branch changes."""
    for template in _complete(templates, values):
        if not template.names & VERSION_NAMES:
            yield Tag(template.expand(values))
