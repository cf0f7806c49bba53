"""`podbuild init`: a first configuration and Containerfile, guessed from what is there."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from podbuild.commands.carry import Carried, config_text
from podbuild.commands.init_read import ReadContainerfile, read_all
from podbuild.config.choices import Format
from podbuild.config.document import as_toml, commented
from podbuild.config.load import FILE_NAME
from podbuild.config.sections import section
from podbuild.errors import ConfigError
from podbuild.oci import kinds
from podbuild.oci.names import RegistryKind
from podbuild.plan.git.worktree import public_url
from podbuild.semver import Scheme, TagForm, guess_form

DEPTH = 4  # folders below the project's own that are looked into
_SKIPPED = frozenset({"node_modules", "vendor", "dist", "build", "target", "__pycache__", "venv"})
_KINDS = ("containerfile", "dockerfile")
_OTHERS = frozenset(
    {"containerignore", "dockerignore", "j2", "jinja", "jinja2", "tmpl", "template", "tpl", "erb"}
    | {"mustache", "in", "m4", "orig", "rej", "bak", "swp", "md", "txt", "json", "yml", "yaml"}
)  # what a file is instead, by its last part
_SHARED = frozenset({"containerfiles", "containers", "dockerfiles", "docker", "images", "build"})
_TESTS = frozenset({"test", "tests", "testdata", "e2e", "fixtures", "__tests__"})
_DASHED = re.compile(r"(?:containerfile|dockerfile)[-_](?P<rest>[\w-]+(?:\.\d+)*)", re.IGNORECASE)
_WINDOWS = "mcr.microsoft.com/windows"
_REMOTE = re.compile(
    r"(?:(?:https?|ssh)://(?P<host>[A-Za-z0-9.-]+)(?::\d+)?/|(?P<copied>[A-Za-z0-9.-]+):)"
    r"(?P<path>[^/\s][^\s]*?)(?:\.git)?/?"
)
_CONTAINERFILE = """\
# A first image. Heredocs make small files without files beside this one.
FROM docker.io/library/busybox:stable

COPY --chmod=755 <<'EOF' /usr/local/bin/hello
#!/bin/sh
echo "hello from $(uname -m)"
EOF

RUN <<EOF
addgroup -S hello
adduser -S -G hello hello
EOF

USER hello
CMD ["/usr/local/bin/hello"]
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is there: the folder's name, Containerfiles (relative, sorted), remote, .gitignore."""

    folder: str
    containerfiles: tuple[PurePosixPath, ...] = ()
    remote: str = ""
    tags: tuple[str, ...] = ()  # of git
    read: Mapping[PurePosixPath, ReadContainerfile] = field(default_factory=dict)
    left: Mapping[PurePosixPath, str] = field(default_factory=dict)  # files left alone, and why
    gitignore: str | None = None


@dataclass(frozen=True)
class NewFile:
    """A file to write, relative to the project's folder; `extends` one that may be there."""

    path: PurePosixPath
    text: str
    extends: bool = False


def look(folder: Path, remote: str = "", tags: tuple[str, ...] = ()) -> Seen:
    """Give what there is to guess from. `remote` is the URL of git's origin, `tags` its own."""
    path = folder / ".gitignore"
    gitignore = path.read_text("utf-8", "replace") if path.is_file() else None
    skipped = _SKIPPED if _ignores(gitignore or "", "build") else _SKIPPED - {"build"}
    every = read_all(folder, sorted(_containerfiles(folder, skipped)))
    left = {path: why for path, each in every.items() if (why := _why_left(path, each))}
    if len(left) == len(every):  # better these than none
        left = {}
    read = {path: each for path, each in every.items() if path not in left}
    return Seen(
        folder=folder.resolve().name,
        containerfiles=tuple(read),
        read=read,
        left=left,
        remote=remote,
        tags=tags,
        gitignore=gitignore,
    )


def _why_left(path: PurePosixPath, read: ReadContainerfile) -> str:
    """Say why a file makes no image to release; empty for one that does."""
    if _TESTS & {*path.parts[:-1]}:
        return "it belongs to tests"
    if read.bases and all(base.startswith(_WINDOWS) for base in read.bases):
        return "its base is not Linux"
    return ""


def initial_files(seen: Seen) -> tuple[NewFile, ...]:
    """Give the files that make a project of this folder; each is valid as it stands."""
    config = NewFile(PurePosixPath(FILE_NAME), "\n".join(_config_lines(seen)) + "\n")
    files = [config]
    if not seen.containerfiles:
        files.append(NewFile(PurePosixPath("Containerfile"), _CONTAINERFILE))
    if not _ignores_output(seen.gitignore or ""):
        files.append(NewFile(PurePosixPath(".gitignore"), "/dist/\n", extends=True))
    return tuple(files)


def carried_files(seen: Seen, carried: Carried, file: str) -> tuple[NewFile, ...]:
    """Give the files that make a project of what another tool's file says."""
    host, path = _host_and_path(seen.remote)
    source = f"https://{host}/{path}" if path else ""
    text = config_text(carried, file=file, project=_name(seen.folder), source=source)
    files = [NewFile(PurePosixPath(FILE_NAME), text)]
    files += [NewFile(PurePosixPath(path), each) for path, each in carried.files.items()]
    if not _ignores_output(seen.gitignore or ""):
        files.append(NewFile(PurePosixPath(".gitignore"), "/dist/\n", extends=True))
    return tuple(files)


def write_files(folder: Path, files: Iterable[NewFile]) -> tuple[Path, ...]:
    """Write the files and give their paths; raises ConfigError instead of overwriting one."""
    files = tuple(files)
    for file in files:
        if not file.extends and (folder / file.path).exists():
            raise ConfigError(
                f"{folder / file.path} is there already", hint="`podbuild check` validates it"
            )
        if file.extends and (folder / file.path).is_symlink():
            raise ConfigError(
                f"{folder / file.path} is a link, and what it leads to would be written",
                hint="make a file of it",
            )
        if (folder / file.path).is_dir():
            raise ConfigError(f"{folder / file.path} is a folder", hint="move it away")
    for file in files:
        path = folder / file.path
        before = path.read_bytes() if path.exists() else b""
        separator = "\n" if before and not before.endswith(b"\n") else ""
        with path.open("a" if file.extends else "x", encoding="utf-8") as target:
            target.write(separator + file.text)
    return tuple(folder / file.path for file in files)


def _containerfiles(folder: Path, skipped: Collection[str]) -> Iterator[PurePosixPath]:
    for here, folders, files in os.walk(folder):
        place = PurePosixPath(Path(here).relative_to(folder).as_posix())
        deep = len(place.parts) >= DEPTH
        within = skipped if place.name not in _SHARED else ()
        folders[:] = [each for each in folders if not (deep or each[0] == "." or each in within)]
        for name in files:
            if _DASHED.fullmatch(name) or _is_containerfile(name.lower().split(".")):
                yield place / name


def _is_containerfile(parts: list[str]) -> bool:
    return (
        any(part in _KINDS for part in parts)
        and parts[-1] not in _OTHERS
        and not parts[-1].endswith("~")
    )


def _config_lines(seen: Seen) -> Iterator[str]:
    project = _name(seen.folder)
    host, path = _host_and_path(seen.remote)
    given = {"name": as_toml(project)}
    if path:
        given["source"] = as_toml(f"https://{host}/{path}")
    given |= _versions(seen)
    yield "# What podbuild builds and where it goes. `podbuild check` validates this file."
    yield ""
    yield from commented(section("project"), given)
    yield ""
    platforms = {"platforms": as_toml(("linux/amd64", "linux/arm64"))}
    first = sorted(section("defaults").keys, key=lambda each: each.name not in platforms)
    yield from commented(section("defaults"), platforms, keys=first)
    yield from _image_lines(seen, project)
    yield ""
    yield "# Without a registry, images go to OCI layouts under dist/registry."
    yield from _registry_lines(host, path)
    yield ""
    yield "# [mirrors]"
    yield '# "docker.io" = ["mirror.example.com/hub"]  # bases come from here first'
    following = ("notes", "history", "notify", "cost")
    for name in ("tags", "retention", "cache", "attest", "audit", "checks", "ci", *following):
        yield ""
        yield from commented(section(name), {})
    yield ""
    yield from commented(section("deploy"), {}, name="production")
    yield ""
    yield from commented(section("builders"), {}, name="arm1")


def _versions(seen: Seen) -> dict[str, str]:
    """Guess how versions are tagged, where it is not as podbuild takes them without being told.

    Where several projects share a repository, the tags named after this folder are its own.
    """
    form = _form(seen)
    tag = {} if form.is_plain else {"tag": as_toml(form.text)}
    scheme = {} if form.scheme is Scheme.SEMVER else {"scheme": as_toml(form.scheme)}
    return tag | scheme


def _form(seen: Seen) -> TagForm:
    own = tuple(tag for tag in seen.tags if re.match(rf"{re.escape(seen.folder)}[/@_-]", tag))
    return guess_form(own or seen.tags) or TagForm("v{version}")


def first_tag(seen: Seen) -> str:
    """Give a git tag for a first release."""
    form = _form(seen)
    return form.tag("0.1.0" if form.scheme is Scheme.SEMVER else form.scheme.sample)


def _image_lines(seen: Seen, project: str) -> Iterator[str]:
    """Show the keys that only an image may have at the first of them."""
    keys = tuple(each for each in section("images").keys if not each.key.cascades)
    found = seen.containerfiles or (PurePosixPath("Containerfile"),)
    names = _names(found, project)
    for place, (name, path) in enumerate(zip(names, found, strict=True)):
        given = _given(path, name, frozenset(names), seen.read.get(path, ReadContainerfile()))
        every = section("images").keys
        shown = tuple(each for each in every if each.name in given or (place == 0 and each in keys))
        yield ""
        yield from commented(section("images"), given, name=name, keys=shown)
    if seen.left:
        yield ""
    yield from (f"# Left alone, as {why}: {path}" for path, why in seen.left.items())


def _given(
    path: PurePosixPath, name: str, names: frozenset[str], read: ReadContainerfile
) -> dict[str, str]:
    """Give the keys of an image that its Containerfile tells, as TOML."""
    given = {
        "containerfile": as_toml(path),
        "context": as_toml(read.context or _context(path)),
    }
    ours = {base: f"image:{base}" for base in read.bases if base in names and base != name}
    if ours:
        given["contexts"] = as_toml(ours)
    if read.secrets:
        tables = [as_toml({"id": secret, "env": variable}) for secret, variable in read.secrets]
        given["secrets"] = f"[{', '.join(tables)}]"
    if read.ssh:
        given["ssh"] = as_toml(read.ssh)
    if read.healthcheck:  # podman keeps it in this format alone
        given["format"] = as_toml(Format.DOCKER.value)
    return given


def _registry_lines(host: str, path: str) -> Iterator[str]:
    """Guess a registry from where the source is; it stays a comment until someone wants it."""
    owner = path.rpartition("/")[0].lower() or "acme"
    github = kinds.HOMES[RegistryKind.GHCR].host
    known = {
        "github.com": ("ghcr", RegistryKind.GHCR, f"{github}/{owner}/{{image}}"),
        "gitlab.com": ("gitlab", RegistryKind.OCI, f"registry.gitlab.com/{path.lower()}/{{image}}"),
    }
    name, kind, repository = known.get(host, known["github.com"])
    shown = {"kind": as_toml(kind), "repository": as_toml(repository)}
    yield f"# [registries.{name}]"
    for each in section("registries").keys:
        if each.name in shown:
            yield f"# {each.name} = {shown[each.name]}  # {each.key.help}"


def _host_and_path(remote: str) -> tuple[str, str]:
    found = _REMOTE.fullmatch(public_url(remote))
    return (found["host"] or found["copied"], found["path"]) if found else ("", "")


def _name(text: str) -> str:
    """Give the nearest name that podbuild.toml takes.

    >>> _name("My Shop!")
    'my-shop'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "project"


def _names(paths: Sequence[PurePosixPath], project: str) -> list[str]:
    """Name images after their file's other part (`web.Containerfile`), else their folder.

    Where several folders have such a file, both.
    """
    parts = [_own_part(path.name) for path in paths]
    names = []
    for path, part in zip(paths, parts, strict=True):
        folder = path.parent.name
        own = _name(project if folder in _SHARED or not folder else folder)
        if not part:
            names.append(own)
        else:
            names.append(_name(f"{own}-{part}" if parts.count(part) > 1 else part))
    return _distinct(names)


def _own_part(name: str) -> str:
    if dashed := _DASHED.fullmatch(name):
        return dashed["rest"]
    return next((part for part in name.split(".") if part.lower() not in _KINDS), "")


def _distinct(names: list[str]) -> list[str]:
    """Give each name that was there before a number."""
    return [
        f"{name}-{names[:place].count(name) + 1}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]


def _context(path: PurePosixPath) -> str:
    """Guess the context: beside the file, unless a folder only collects such files."""
    parents = path.parts[:-1]
    return "." if not parents or _SHARED & {*parents} else str(path.parent)


def _ignores_output(gitignore: str) -> bool:
    return _ignores(gitignore, "dist")


def _ignores(gitignore: str, folder: str) -> bool:
    return folder in {line.strip().strip("/") for line in gitignore.split("\n")}
