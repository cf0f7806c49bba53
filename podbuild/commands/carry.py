"""What other tools' files say of images, carried over into a podbuild.toml, and what could not be.

The readers are carry_bake, carry_compose and carry_workflow.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from podbuild.config.document import as_toml
from podbuild.config.toml import toml_key
from podbuild.oci import kinds
from podbuild.oci.names import DOCKER_HUB

_HOST = re.compile(r"[^/]*[.:{}][^/]*|localhost")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_PLACEHOLDER = re.compile(r"\{")
_PLAIN_PATH = re.compile(r"(?![a-z+]+://|git@).+")
NETWORKS = ("host", "none")  # of a build, that podbuild.toml knows by the same name
_MERGED = ("args", "labels", "contexts")  # of a bake target that inherits
_WAYS = {  # by bake's names; compose writes them with _
    "annotations": '[images.NAME] annotations = { "key" = "value" }',
    "cache-from": "[cache] repository keeps layers between runners",
    "cache-to": "[cache] repository keeps layers between runners",
    "dockerfile-inline": "write it to a file, and name that with containerfile",
    "no-cache": "podbuild build --no-cache",
    "pull": 'pull = "always" is how it is without the key',
}


def way_for(key: str) -> str:
    """Give what stands in for a key that podbuild.toml lacks."""
    return _WAYS.get(key.replace("_", "-"), "podbuild has no key for it")


@dataclass(frozen=True)
class LeftOut:
    """Something that podbuild.toml does not say: where it stands, what it is, and what to do."""

    line: int
    what: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class CarriedImage:
    """One image: its keys in podbuild.toml, and the references that it was published under."""

    name: str
    keys: Mapping[str, object]
    references: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Carried:
    """All that could be carried over from one file; tags are templates of podbuild's."""

    images: tuple[CarriedImage, ...]
    left_out: tuple[LeftOut, ...] = ()
    release: tuple[str, ...] = ()
    branches: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)  # other keys of [tags]
    files: Mapping[str, str] = field(default_factory=dict)  # Containerfiles that stood in the file


def named(text: str) -> str:
    """Give the nearest name that podbuild.toml takes.

    >>> named("My_App")
    'my-app'
    """
    return _NOT_IN_NAMES.sub("-", text.lower()).strip("-") or "image"


def literal(text: str) -> str:
    """Give a text whose braces are no placeholders."""
    return text.replace("{", "{{").replace("}", "}}")


def plain_text(template: str) -> str | None:
    """Give the text of a template without placeholders; None for one that has some.

    >>> plain_text("FROM a{{1}}"), plain_text("FROM {env.BASE}")
    ('FROM a{1}', None)
    """
    if _PLACEHOLDER.search(template.replace("{{", "")):
        return None
    return template.replace("{{", "{").replace("}}", "}")


def merged_over(base: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Give a target over one that it inherits: tables are merged, all else is replaced."""
    found = {**base, **own}
    for key in _MERGED:
        tables = [each.get(key) for each in (base, own)]
        merged = [item for each in tables if isinstance(each, dict) for item in each.items()]
        if merged:
            found[key] = dict(merged)
    return found


def line_of_block(text: str, title: str, key: str) -> int:
    """Find a block of HCL or JSON, and a key in it, by its text; 1 where it is not found."""
    block = re.search(rf'"{re.escape(title)}"\s*[:{{]', text)
    if block is None:
        return 1
    place = block.start()
    inner = re.compile(rf'^\s*"?{re.escape(key)}"?\s*[=:]', re.MULTILINE) if key else None
    if inner and (found := inner.search(text, place)):
        place = found.end()
    return text.count("\n", 0, place) + 1


def inline_file(name: str) -> str:
    """Give the path for the Containerfile of an image that stood in another tool's file."""
    return f"{name}.Containerfile"


def repository_of(reference: str) -> str:
    """Give a reference without its tag or digest, with the host that it means.

    >>> repository_of("acme/web:1.2"), repository_of("localhost:5000/web")
    ('docker.io/acme/web', 'localhost:5000/web')
    """
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = f"{head}{slash}{last.partition(':')[0]}"
    host, slash, _ = name.partition("/")
    if not slash:
        return f"{DOCKER_HUB}/library/{name}"
    return name if _HOST.fullmatch(host) else f"{DOCKER_HUB}/{name}"


def tag_of(reference: str) -> str:
    """Give the tag of a reference; empty where it has none.

    >>> tag_of("localhost:5000/web:1.2"), tag_of("localhost:5000/web")
    ('1.2', '')
    """
    return reference.partition("@")[0].rpartition("/")[2].partition(":")[2]


def image_name(references: Iterable[str], otherwise: str) -> str:
    """Name an image after the repository that it goes to, so that one template fits them all."""
    for reference in references:
        last = repository_of(reference).rpartition("/")[2]
        if named(last) == last:
            return last
    return named(otherwise)


def distinct_names(wanted: Mapping[str, str]) -> dict[str, str]:
    """Give each its name; where several want one, the nearest to what they were called."""
    taken = [*wanted.values()]
    return {key: name if taken.count(name) == 1 else named(key) for key, name in wanted.items()}


def is_path(text: str) -> bool:
    """Tell a folder from a URL or a git repository."""
    return bool(_PLAIN_PATH.fullmatch(text))


def below(folder: str, path: str) -> str:
    """Give a path as it is from the project's folder on."""
    return posixpath.normpath(posixpath.join(folder, path))


def containerfile_of(context: str, written: str) -> str:
    """Give the path of a Containerfile that is named from its context on."""
    return below(context, written or "Dockerfile")


def secret_of(text: str) -> dict[str, str] | None:
    """Give `id=x,src=y` or `id=x,env=Y` as a secret of podbuild.toml; None for what is none."""
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    name = parts.get("id", "")
    file = parts.get("src") or parts.get("source")
    if not name:
        return None
    return {"id": name, "file": file} if file else {"id": name, "env": parts.get("env") or name}


def config_text(carried: Carried, *, file: str, project: str, source: str = "") -> str:
    """Give the podbuild.toml; its comments name what was not carried over, with lines."""
    return "\n".join(_lines(carried, file, project, source)) + "\n"


def _lines(carried: Carried, file: str, project: str, source: str) -> Iterator[str]:
    yield f"# Carried over from {file} by `podbuild init`. `podbuild check` validates this file."
    yield from _table("project", {"name": project} | ({"source": source} if source else {}))
    shared = {image.keys.get("platforms") or None for image in carried.images}
    if shared == {None}:
        yield from ("", "# No platforms were named there. Without this line: linux/arm64, too.")
        yield from tuple(_table("defaults", {"platforms": ("linux/amd64",)}))[1:]
    elif len(shared) == 1:
        yield from _table("defaults", {"platforms": min(shared, key=str)})
    places = _registries(carried)
    suffixes = _suffixes(carried.images)
    for image in carried.images:
        keys = _keys(image, places)
        if suffix := suffixes.get(image.name):
            keys["tags"] = {**_own_tags(image), "suffix": suffix}
        if len(shared) == 1:
            keys.pop("platforms", None)
        yield from _table(f"images.{toml_key(image.name)}", keys)
    for place, name in places.items():
        yield from _table(f"registries.{name}", {"kind": _kind(place), "repository": place})
    rules: dict[str, object] = {"release": carried.release} if carried.release else {}
    rules |= {"branches": dict(carried.branches)} if carried.branches else {}
    rules |= {name: value for name, value in carried.tags.items() if value}
    if rules:
        yield from _table("tags", rules)
    if carried.left_out:
        yield from ("", "# Not carried over:")
    for each in carried.left_out:
        yield f"# {file}:{each.line}: {each.what} ({each.hint})"


def _keys(image: CarriedImage, places: Mapping[str, str]) -> dict[str, object]:
    keys = {name: value for name, value in image.keys.items() if value}
    own = tuple(places[place] for place in _places(image) if place in places)
    if image.keys.get("publish") is False or (places and not own):
        keys["publish"] = False  # nothing there has a name to go by
    elif len(own) < len(places):
        keys["registries"] = own
    return keys


def _own_tags(image: CarriedImage) -> dict[str, object]:
    tags = image.keys.get("tags")
    return dict(tags) if isinstance(tags, dict) else {}


def _suffixes(images: Iterable[CarriedImage]) -> Mapping[str, str]:
    """Give what tells the tags of images apart that go to one repository.

    It is what their tags did not share there, else the image's name.
    """
    shared: dict[tuple[str, str], list[CarriedImage]] = {}
    for image in images:
        for place in _places(image) if image.keys.get("publish") is not False else ():
            key = (place.replace("{image}", image.name), str(_own_tags(image)))
            shared.setdefault(key, []).append(image)
    found: dict[str, str] = {}
    for (place, _), group in shared.items():
        if len(group) > 1:
            tags = [
                next(tag_of(each) for each in image.references if repository_of(each) == place)
                for image in group
            ]
            names = [image.name for image in group]
            found |= dict(zip(names, _endings(tags, names), strict=True))
    return found


def _endings(tags: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    common = posixpath.commonprefix(tags)
    if common not in tags:
        common = common.rpartition("-")[0]
    endings = [tag.removeprefix(common) for tag in tags]
    endings = [each if each[:1] in ("-", "") else f"-{each}" for each in endings]
    return endings if len(set(endings)) == len(tags) else [f"-{name}" for name in names]


def _table(name: str, keys: Mapping[str, object]) -> Iterator[str]:
    yield ""
    yield f"[{name}]"
    yield from (f"{key} = {as_toml(value)}" for key, value in keys.items())


def _places(image: CarriedImage) -> tuple[str, ...]:
    """Give the templates of the repositories that an image goes to, each once."""
    found = (repository_of(each).rpartition("/") for each in image.references)
    places = (f"{head}/{'{image}' if last == image.name else last}" for head, _, last in found)
    return tuple(dict.fromkeys(places))


def _registries(carried: Carried) -> Mapping[str, str]:
    """Give a name for each place that images go to."""
    found: dict[str, str] = {}
    published = (each for each in carried.images if each.keys.get("publish") is not False)
    for place in (each for image in published for each in _places(image)):
        host = place.partition("/")[0].strip("{}").removeprefix("env.")
        name = named(host) if _kind(place) == "oci" else _kind(place)
        taken = [*found.values()]
        names = (name if number == 1 else f"{name}-{number}" for number in itertools.count(1))
        if place not in found:
            found[place] = next(each for each in names if each not in taken)
    return found


def _kind(place: str) -> str:
    return kinds.kind_of(place.partition("/")[0]).value
