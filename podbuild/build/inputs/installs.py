"""Commands that install: what they leave in a layer, and which files they need before."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from podbuild.build.inputs.scripts import Command, Script
from podbuild.system.records import json_of


@dataclass(frozen=True, kw_only=True)
class Manager:
    """A package manager's installing: `leaves` is what stays in the layer without more ado.

    `spared` are words, `cleaned` a pattern in the script, `variables` in ENV, that each keep it
    from leaving anything.
    """

    name: str
    commands: tuple[str, ...]
    actions: tuple[str, ...]  # empty: any
    leaves: str
    spared: tuple[str, ...] = ()
    cleaned: str = r"(?!)"
    variables: tuple[str, ...] = ()
    system: bool = False
    instead: str = ""

    def installs(self, command: Command) -> bool:
        """Tell whether a command is such an installation."""
        if command.name not in self.commands:
            return False
        return not self.actions or any(word in self.actions for word in command.operands[:2])


MANAGERS = (
    Manager(
        name="apt",
        commands=("apt-get", "apt", "aptitude"),
        actions=("install",),
        leaves="/var/lib/apt/lists",
        cleaned=r"rm\s[^\n;&]*/var/lib/apt(/lists)?",
        system=True,
        instead="--mount=type=cache,target=/var/lib/apt,sharing=locked (and /var/cache/apt), or "
        "rm -rf /var/lib/apt/lists/* in this RUN",
    ),
    Manager(
        name="apk",
        commands=("apk",),
        actions=("add",),
        leaves="/var/cache/apk",
        spared=("--no-cache",),
        cleaned=r"rm\s[^\n;&]*/var/cache/apk|apk\s+cache\s+clean",
        system=True,
        instead="apk add --no-cache, or --mount=type=cache,target=/var/cache/apk",
    ),
    Manager(
        name="dnf",
        commands=("dnf", "dnf5", "microdnf", "yum", "tdnf"),
        actions=("install", "groupinstall"),
        leaves="/var/cache/dnf",
        cleaned=r"(dnf5?|microdnf|yum|tdnf)\s+(-\S+\s+)*clean|rm\s[^\n;&]*/var/cache",
        system=True,
        instead="--mount=type=cache,target=/var/cache/dnf, or dnf clean all in this RUN",
    ),
    Manager(
        name="zypper",
        commands=("zypper",),
        actions=("install", "in"),
        leaves="/var/cache/zypp",
        cleaned=r"zypper\s+(-\S+\s+)*(clean|cc)|rm\s[^\n;&]*/var/cache",
        system=True,
        instead="--mount=type=cache,target=/var/cache/zypp, or zypper clean -a in this RUN",
    ),
    Manager(
        name="pip",
        commands=("pip", "pip3"),
        actions=("install",),
        leaves="~/.cache/pip",
        spared=("--no-cache-dir", "--no-cache"),
        cleaned=r"pip3?\s+cache\s+purge|rm\s[^\n;&]*\.cache",
        variables=("PIP_NO_CACHE_DIR",),
        instead="--mount=type=cache,target=/root/.cache/pip, or --no-cache-dir",
    ),
    Manager(
        name="uv",
        commands=("uv",),
        actions=("sync", "install"),
        leaves="~/.cache/uv",
        spared=("--no-cache", "-n"),
        cleaned=r"uv\s+cache\s+clean|rm\s[^\n;&]*\.cache",
        variables=("UV_NO_CACHE",),
        instead="--mount=type=cache,target=/root/.cache/uv, or --no-cache",
    ),
    Manager(
        name="poetry",
        commands=("poetry",),
        actions=("install",),
        leaves="~/.cache/pypoetry",
        spared=("--no-cache",),
        cleaned=r"poetry\s+cache\s+clear|rm\s[^\n;&]*(\.cache|POETRY_CACHE_DIR)",
        instead="--mount=type=cache,target=/root/.cache/pypoetry",
    ),
    Manager(
        name="npm",
        commands=("npm",),
        actions=("ci", "install", "i"),
        leaves="~/.npm",
        cleaned=r"npm\s+cache\s+clean|rm\s[^\n;&]*\.npm",
        instead="--mount=type=cache,target=/root/.npm, or npm cache clean --force in this RUN",
    ),
    Manager(
        name="yarn",
        commands=("yarn",),
        actions=("install",),
        leaves="/usr/local/share/.cache/yarn",
        cleaned=r"yarn\s+cache\s+clean|rm\s[^\n;&]*cache",
        instead="--mount=type=cache,target=/usr/local/share/.cache/yarn, or yarn cache clean",
    ),
    Manager(
        name="pnpm",
        commands=("pnpm",),
        actions=("install", "i"),
        leaves="~/.local/share/pnpm/store",
        cleaned=r"pnpm\s+store\s+prune|rm\s[^\n;&]*pnpm",
        instead="--mount=type=cache,target=/root/.local/share/pnpm/store",
    ),
    Manager(
        name="bun",
        commands=("bun",),
        actions=("install", "i"),
        leaves="~/.bun/install/cache",
        spared=("--no-cache",),
        cleaned=r"rm\s[^\n;&]*\.bun",
        instead="--mount=type=cache,target=/root/.bun/install/cache",
    ),
    Manager(
        name="go",
        commands=("go",),
        actions=("build", "install", "download", "get"),
        leaves="/go/pkg/mod",
        cleaned=r"go\s+clean\s+[^\n;&]*-modcache",
        instead="--mount=type=cache,target=/go/pkg/mod and /root/.cache/go-build, or build in a "
        "stage of its own",
    ),
    Manager(
        name="cargo",
        commands=("cargo",),
        actions=("build", "install", "fetch"),
        leaves="/usr/local/cargo/registry",
        cleaned=r"rm\s[^\n;&]*cargo/registry",
        instead="--mount=type=cache,target=/usr/local/cargo/registry, or build in a stage of its "
        "own",
    ),
    Manager(
        name="maven",
        commands=("mvn", "mvnw"),
        actions=(),
        leaves="~/.m2",
        cleaned=r"rm\s[^\n;&]*\.m2",
        instead="--mount=type=cache,target=/root/.m2, or build in a stage of its own",
    ),
    Manager(
        name="gradle",
        commands=("gradle", "gradlew"),
        actions=(),
        leaves="~/.gradle",
        cleaned=r"rm\s[^\n;&]*\.gradle",
        instead="--mount=type=cache,target=/root/.gradle, or build in a stage of its own",
    ),
    Manager(
        name="composer",
        commands=("composer", "composer.phar"),
        actions=("install",),
        leaves="~/.composer/cache",
        spared=("--no-cache",),
        cleaned=r"composer\s+clear-?cache|rm\s[^\n;&]*(composer|cache)",
        variables=("COMPOSER_CACHE_DIR",),
        instead="--mount=type=cache,target=/root/.composer/cache, or --no-cache",
    ),
)
_SYSTEM_CACHES = ("/var/", "/etc/apk/")


def installing(script: Script) -> Iterator[tuple[Manager, Command]]:
    """Give the installations of a RUN with what installs."""
    for command in script.commands:
        for manager in MANAGERS:
            if manager.installs(command):
                yield manager, command


def leaves_nothing(
    manager: Manager, command: Command, script: Script, environment: frozenset[str]
) -> bool:
    """Tell whether an installation's cache stays out of the layer."""
    if command.has(*manager.spared) or environment & {*manager.variables}:
        return True
    if re.search(manager.cleaned, script.text):
        return True
    if manager.system:
        return any(
            manager.leaves == each or manager.leaves.startswith(f"{each}/")
            for each in script.cached
        )
    return any(not each.startswith(_SYSTEM_CACHES) for each in script.cached)


# What an installation reads of the project, where it reads no more than that.


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """The files that an installation of a language's packages needs, relative to a folder."""

    names: tuple[str, ...]


def manifests_of(command: Command, folder: Path) -> Manifests | None:
    """Give what an installation surely needs and no more; None where that is not sure.

    Only what exists in `folder` is named; at least the first kind of file must.
    """
    for name, actions, find in _NEEDS:
        if command.name == name and any(word in actions for word in command.operands[:2]):
            names = find(command, folder)
            return Manifests(names=names) if names else None
    return None


_Find = Callable[[Command, Path], tuple[str, ...]]


def _there(folder: Path, *names: str) -> tuple[str, ...]:
    """Give those that exist; nothing where the first is missing."""
    found = tuple(name for name in names if (folder / name).is_file())
    return found if found[:1] == names[:1] else ()


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(errors="replace")
    except OSError:
        return ""


def _node(*locks: str) -> _Find:
    def find(command: Command, folder: Path) -> tuple[str, ...]:
        value = json_of(_text(folder, "package.json"))
        if not isinstance(value, dict) or value.get("workspaces"):
            return ()
        scripts = value.get("scripts")
        hooks = {"preinstall", "install", "postinstall", "prepare"}
        runs = isinstance(scripts, dict) and bool(hooks & scripts.keys())
        if runs and not command.has("--ignore-scripts"):
            return ()
        if re.search(r'"(file|link|portal|workspace):', json.dumps(value)):
            return ()
        if command.name == "npm" and len(command.operands) > 1:
            return ()  # packages by name, or a folder
        return _there(folder, "package.json", *locks, ".npmrc", ".yarnrc.yml")

    return find


def _pip(command: Command, folder: Path) -> tuple[str, ...]:
    words, names = [*command.words], []
    for at, word in enumerate(words):
        if word in ("-r", "--requirement", "-c", "--constraint"):
            names += words[at + 1 : at + 2]
        elif word.startswith(("--requirement=", "-r")) and word != "-r":
            names.append(word.removeprefix("--requirement=").removeprefix("-r"))
        elif word in ("-e", "--editable", ".") or word.startswith(("./", "-e")):
            return ()
    local = r"(?m)^\s*(-e|--editable|-r|-c|\.|file:|/)"
    plain = [name.removeprefix("./").rpartition("/")[2] for name in names]
    if not plain or any(re.search(local, _text(folder, name)) for name in plain):
        return ()
    return _there(folder, *plain)


def _without(pattern: str, *names: str, unless: str = "") -> _Find:
    """Give files, but nothing where one of them says that more is needed."""

    def find(command: Command, folder: Path) -> tuple[str, ...]:
        text = _text(folder, names[0])
        if unless and not command.has(*unless.split()):
            return ()
        return () if pattern and re.search(pattern, text) else _there(folder, *names)

    return find


_NEEDS: tuple[tuple[str, tuple[str, ...], _Find], ...] = (
    ("npm", ("ci", "install", "i"), _node("package-lock.json", "npm-shrinkwrap.json")),
    ("yarn", ("install",), _node("yarn.lock")),
    ("pnpm", ("install", "i"), _node("pnpm-lock.yaml")),
    ("bun", ("install", "i"), _node("bun.lock", "bun.lockb")),
    ("pip", ("install",), _pip),
    ("pip3", ("install",), _pip),
    (
        "poetry",
        ("install",),
        _without(r"path\s*=", "pyproject.toml", "poetry.lock", unless="--no-root --only-main"),
    ),
    (
        "uv",
        ("sync",),
        _without(
            r"tool\.uv\.(workspace|sources)",
            "pyproject.toml",
            "uv.lock",
            unless="--no-install-project --no-install-workspace",
        ),
    ),
    ("bundle", ("install",), _without(r"gemspec|path:", "Gemfile", "Gemfile.lock")),
    (
        "composer",
        ("install",),
        _without(r'"path"', "composer.json", "composer.lock", unless="--no-scripts"),
    ),
    ("go", ("download",), _without(r"=>\s*\.", "go.mod", "go.sum")),
    ("cargo", ("fetch",), _without(r"\[workspace|path\s*=", "Cargo.toml", "Cargo.lock")),
    (
        "mvn",
        ("dependency:go-offline", "dependency:resolve"),
        _without(r"<module>|<parent>", "pom.xml"),
    ),
)
