"""Whatever a configuration can say is read back as it was written."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from podbuild.config.choices import (
    Compression,
    Context,
    FolderContext,
    Format,
    IndexPolicy,
    Isolation,
    Pull,
    ReferenceContext,
    RunNetwork,
    Timestamp,
)
from podbuild.config.document import as_toml
from podbuild.config.image import Image, ImageTags, Secret
from podbuild.config.keys import declared
from podbuild.config.load import parse_config
from podbuild.config.model import CacheSettings, Project, PruneRule, Registry, Retention, TagRules
from podbuild.config.template import Template, tag_template
from podbuild.config.toml import toml_key
from podbuild.oci.names import Platform, RegistryKind
from podbuild.semver import Version

ROOT = Path("/project")

names = st.from_regex(r"[a-z0-9]{1,6}(?:[._-][a-z0-9]{1,4})?", fullmatch=True)
words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}"), min_size=1
).filter(str.strip)
hosts = st.from_regex(r"[a-z0-9]{1,6}(?:[.-][a-z0-9]{1,4})?", fullmatch=True)
urls = names.map(lambda name: f"https://{name}.example.com/x?y=#z")
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: ROOT.joinpath(*parts))
seconds = st.integers(1, 10**6).map(float)
templates = st.one_of(
    texts.map(Template),
    st.sampled_from(["{version}", "a-{sha}-{branch}", "{{}}", "{env.X}/{image}"]).map(Template),
)
tags = st.sampled_from(["{version}", "v{major}.{minor}", "latest", "x-{project}", "{patch}_"])
branch_words = st.sampled_from(["{branch}", "b-{sha}", "{branch}-{image}"])
platforms = st.sampled_from(
    [Platform("linux", each) for each in ("amd64", "arm64", "s390x")]
    + [Platform("linux", "arm", "v7")]
)


T = TypeVar("T")


def several(each: st.SearchStrategy[T], least: int = 0) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(each, min_size=least, max_size=3, unique_by=str).map(tuple)


release_tags = several(tags.map(tag_template))
branches = st.dictionaries(texts, several(branch_words.map(tag_template)), max_size=2)
# A template names X: as a secret's variable it would rightly be refused.
secret_variables = words.filter(lambda name: name != "X")
secrets = st.one_of(
    st.builds(Secret, id=words, env=secret_variables), st.builds(Secret, id=words, file=paths)
)
contexts: st.SearchStrategy[Context] = st.one_of(
    paths.map(FolderContext), names.map(lambda name: ReferenceContext(f"example.com/{name}:1"))
)
patterns = st.sampled_from([r"\d+", "sha-[0-9a-f]{7}", '"', r"a\\b"]).map(re.compile)
images = st.builds(
    Image,
    name=names,
    containerfile=paths,
    context=paths,
    target=st.none() | texts,
    contexts=st.dictionaries(texts, contexts, max_size=2),
    build_args=st.dictionaries(words, templates, max_size=2),
    secrets=st.lists(secrets, max_size=2, unique_by=lambda secret: secret.id).map(tuple),
    ssh=several(words | st.builds("{}={},{}".format, words, paths, paths)),
    labels=st.dictionaries(texts, templates, max_size=2),
    annotations=st.dictionaries(texts, templates, max_size=2),
    ignorefile=st.none() | paths,
    publish=st.booleans(),
    tags=st.builds(ImageTags, release=st.none() | release_tags, branches=st.none() | branches),
    platforms=several(platforms, 1),
    format=st.just(Format.OCI),
    compression=st.sampled_from(Compression),
    index=st.sampled_from(IndexPolicy),
    layers=st.booleans(),
    timestamp=st.sampled_from(Timestamp),
    isolation=st.sampled_from(Isolation),
    network=st.sampled_from(RunNetwork),
    pull=st.sampled_from(Pull),
    timeout=st.none() | seconds,
)
projects = st.builds(
    Project,
    name=names,
    description=texts,
    source=urls,
    vendor=texts,
    licenses=texts,
    output=paths,
)
registries = st.builds(
    Registry,
    name=names,
    kind=st.sampled_from([RegistryKind.GHCR, RegistryKind.DOCKERHUB, RegistryKind.OCI]),
    repository=hosts.map(lambda name: Template(f"{name}.example.com/{{project}}/{{image}}")),
    required=st.booleans(),
    insecure=st.booleans(),
    api=st.none() | urls,
)
rules = st.builds(
    TagRules,
    release=release_tags,
    branches=branches,
    yanked=several(st.builds(Version, *[st.integers(0, 99)] * 3)),
)
retentions = st.builds(
    Retention,
    superseded=st.booleans(),
    grace=seconds,
    protect=several(patterns),
    prune=several(
        st.builds(PruneRule, match=patterns, keep=st.integers(0, 99), older_than=seconds)
    ),
)
caches = st.builds(
    CacheSettings,
    repository=st.none() | st.sampled_from([Template("r.example/{project}/cache-{image}")]),
    read=st.booleans(),
    write=st.booleans(),
    mounts=st.booleans(),
    keep=st.integers(0, 99),
    older_than=seconds,
)


def inline(value: object) -> str:
    """Write a value, also one that is a table of its own."""
    match value:
        case tuple():
            return f"[{', '.join(map(inline, value))}]"
        case Mapping():
            items = (f"{toml_key(str(name))} = {inline(item)}" for name, item in value.items())
            return f"{{ {', '.join(items)} }}"
        case _ if dataclasses.is_dataclass(value) and declared(type(value)):
            return f"{{ {', '.join(lines(value))} }}"
        case _:
            return as_toml(value)


def lines(table: object) -> list[str]:
    """Write a table's keys; what is not set is left out."""
    values = vars(table)
    return [
        f"{each.name} = {inline(values[each.field])}"
        for each in declared(type(table))
        if values[each.field] not in (None, "")
    ]


def table(header: str, content: object) -> str:
    return "\n".join([f"[{header}]", *lines(content), ""])


@given(projects, images, registries, rules, retentions, caches)
def test_every_configuration_is_read_back_as_it_was_written(
    project: Project,
    image: Image,
    registry: Registry,
    tag_rules: TagRules,
    retention: Retention,
    cache: CacheSettings,
) -> None:
    text = (
        table("project", project)
        + table(f"images.{toml_key(image.name)}", image)
        + table(f"registries.{toml_key(registry.name)}", registry)
        + table("tags", tag_rules)
        + table("retention", retention)
        + table("cache", cache)
    )
    config = parse_config(text, ROOT / "podbuild.toml", {})
    assert config.project == project
    assert config.images == (image,)
    assert config.registries == (registry,)
    assert config.tags == tag_rules
    assert config.retention == retention
    assert config.cache == cache
