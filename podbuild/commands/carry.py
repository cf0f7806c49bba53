"""What other tools' files say of images, carried over into a podbuild.toml, and what could not be.

The readers are carry_bake, carry_compose and carry_workflow.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from podbuild.config.document import as_toml
from podbuild.config.toml import toml_key
from podbuild.oci import kinds
from podbuild.oci.names import DOCKER_HUB

_HOST = re.compile(r"[^/]*[.:{}][^/]*|localhost")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_PLACEHOLDER = re.compile(r"\{")
_PLAIN_PATH = re.compile(r"(?![a-z][a-z0-9+.-]*:/|git@).+")
_OUTSIDE = re.compile(r"/|~|\.\.(?:/|$)")
_VARIABLE = re.compile(r"(?<!\{)\{env\.(\w+)\}")
_OF_A_USER = re.compile(  # a variable that stands for no host
    r"\{env\.\w*(?:USER|ORG|OWNER|NAMESPACE|ACTOR|DOCKER_?HUB|GITHUB_REPOSITORY)\w*\}",
    re.IGNORECASE,
)
_WITH_PLACEHOLDERS = frozenset({"build-args", "labels", "annotations", "contexts", "tags"})
NETWORKS = ("host", "none")  # of a build, that podbuild.toml knows by the same name
_MERGED = ("args", "labels", "contexts")  # of a bake target that inherits
_WAYS = {  # by bake's names; compose writes them with _
    "annotations": '[images.NAME] annotations = { "key" = "value" }',
    "attest": "[attest] says what is said of images",
    "cache-from": "[cache] repository keeps layers between runners",
    "cache-to": "[cache] repository keeps layers between runners",
    "dockerfile-inline": "write it to a file, and name that with containerfile",
    "network": 'network = "host" and network = "none" are known',
    "no-cache": "podbuild build --no-cache",
    "provenance": "[attest] says what is said of images",
    "sbom": "[attest] says what is said of images",
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
    """All that could be carried over from one file."""

    images: tuple[CarriedImage, ...]
    left_out: tuple[LeftOut, ...] = ()
    tags: Mapping[str, object] = field(default_factory=dict)  # keys of [tags]
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
        every = [item for each in tables if isinstance(each, dict) for item in each.items()]
        merged = [(name, value) for name, value in every if value is not None]  # as bake has it
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
        whole = _VARIABLE.fullmatch(host)  # of an owner and a name, or of more
        official = "" if _OF_A_USER.fullmatch(host) else "library/"
        return name if whole and official else f"{DOCKER_HUB}/{official}{name}"
    at_home = not _HOST.fullmatch(host) or _OF_A_USER.fullmatch(host)
    return f"{DOCKER_HUB}/{name}" if at_home else name


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
    names = {key: name if taken.count(name) == 1 else named(key) for key, name in wanted.items()}
    found: dict[str, str] = {}
    for key, name in names.items():
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        free = (each for each in (name, *itertools.islice(numbered, len(names))))
        others = {*found.values()}
        found[key] = next(each for each in free if each not in others)
    return found


def plain_keys(keys: Mapping[str, object], leave: Callable[[str, str], None]) -> dict[str, object]:
    """Give keys without those that need a variable where podbuild.toml takes none.

    `leave` is told the key and what to do; also of paths that lead out of the project.
    """
    found = dict(keys)
    for name, value in keys.items():
        if name in _WITH_PLACEHOLDERS:
            continue
        needed = [*dict.fromkeys(_VARIABLE.findall(str(value)))]
        if needed:
            leave(name, f"write its value: it comes from {', '.join(needed)}")
            del found[name]
        elif name == "platforms" and isinstance(value, tuple):
            for each in (one for one in value if not one.startswith("linux/")):
                leave(name, f"{each}: images are for Linux")
            found[name] = tuple(each for each in value if each.startswith("linux/"))
        elif name in ("context", "containerfile"):
            found[name] = path = plain_text(str(value)) or str(value)
            if _OUTSIDE.match(path):
                leave(name, f"{path} is outside: --allow-outside, if it is meant")
    return found


def merged_images(images: Iterable[CarriedImage]) -> tuple[CarriedImage, ...]:
    """Make one image of those that go to the same references, alike but for the platforms."""
    found: dict[str, CarriedImage] = {}
    names: dict[str, str] = {}
    images = tuple(images)
    for image in images:
        keys = {name: value for name, value in image.keys.items() if name != "platforms"}
        own = image.name if not image.references else sorted({*image.references})
        key = f"{own} {sorted(keys.items())}"
        known = found.setdefault(key, image)
        if known is not image:
            every = (*_platforms_of(known), *_platforms_of(image))
            merged = {**known.keys, "platforms": tuple(dict.fromkeys(every))}
            name = image_name(image.references, known.name)
            taken = name in {each.name for each in images} - {known.name, image.name}
            found[key] = replace(known, name=known.name if taken else name, keys=merged)
            names |= {known.name: found[key].name, image.name: found[key].name}
    return tuple(replace(each, keys=_renamed(each.keys, names)) for each in found.values())


def _platforms_of(image: CarriedImage) -> tuple[str, ...]:
    found = image.keys.get("platforms")
    return found if isinstance(found, tuple) else ()


def _renamed(keys: Mapping[str, object], names: Mapping[str, str]) -> Mapping[str, object]:
    contexts = keys.get("contexts")
    if not isinstance(contexts, dict):
        return keys
    renamed = {
        key: f"image:{names.get(image, image)}" if prefix else value
        for key, value in contexts.items()
        for prefix, image in [(str(value)[:6] == "image:", str(value)[6:])]
    }
    return {**keys, "contexts": renamed}


def is_path(text: str) -> bool:
    """Tell a folder from a URL or a git repository."""
    return bool(_PLAIN_PATH.fullmatch(text))


def is_context(text: str) -> bool:
    """Tell whether a text is a context that podbuild.toml takes, but for those by target."""
    is_folder = is_path(text) and not text.startswith(("target:", "service:"))
    return is_folder or text.startswith("docker-image://")


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
    lines = [*_lines(carried, file, project, source)]
    said = (line for line in lines if not line.startswith("#"))
    needed = dict.fromkeys(name for line in said for name in _VARIABLE.findall(line))
    if needed:
        lines.insert(1, f"# Read from the environment, and must be set: {', '.join(needed)}")
    return "\n".join(lines) + "\n"


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
        keys, suffix = _keys(image, places), suffixes.get(image.name)
        if suffix:
            keys["tags"] = {**_own_tags(image), "suffix": suffix}
        if len(shared) == 1:
            keys.pop("platforms", None)
        yield from _table(f"images.{toml_key(image.name)}", keys)
        if suffix == f"-{image.name}":
            yield "# Another image had its tags there, too: the suffix keeps them apart."
    for place, name in places.items():
        yield from _table(f"registries.{name}", {"kind": _kind(place), "repository": place})
    if rules := {name: value for name, value in carried.tags.items() if value}:
        yield from _table("tags", rules)
    yield from _remarks(carried.left_out, file)


def _remarks(left_out: Sequence[LeftOut], file: str) -> Iterator[str]:
    if left_out:
        yield from ("", "# Not carried over:")
    for each in left_out:
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
    endings = ["" if each == "-latest" else each for each in endings]
    return endings if len(set(endings)) == len(tags) else [f"-{name}" for name in names]


def _table(name: str, keys: Mapping[str, object]) -> Iterator[str]:
    yield ""
    yield f"[{name}]"
    yield from (f"{key} = {as_toml(value)}" for key, value in keys.items())


def _places(image: CarriedImage) -> tuple[str, ...]:
    """Give the templates of the repositories that an image goes to, each once."""
    found = (repository_of(each).rpartition("/") for each in image.references)
    places = (
        f"{head}{slash}{'{image}' if slash and last == image.name else last}"
        for head, slash, last in found
    )
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
