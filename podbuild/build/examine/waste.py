"""What is in an image and need not be, or must not be: measured, with the line that caused it.

Only what its own layers hold is judged; what the base brings is one note.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from podbuild.build.examine.anatomy import Anatomy
from podbuild.build.examine.blame import Cause
from podbuild.build.examine.development import DEVELOPMENT, development_folders
from podbuild.build.examine.leaks import SECRETS
from podbuild.build.examine.owners import OWNERS
from podbuild.build.inputs.lint import Finding, Level
from podbuild.config.choices import Rule
from podbuild.oci.filesystem import Body, Hidden, Hiding
from podbuild.oci.layers import EntryKind
from podbuild.system.console.text import size as size_text

FLOOR = 1_000_000  # bytes under which waste is not worth a word
_SHARE = 0.01  # of an image's own bytes, likewise
_SHOWN = 3  # names in a message
_SET_ID = 0o6000

_PATHS: tuple[tuple[Rule, re.Pattern[str]], ...] = tuple(
    (rule, re.compile(rf"(?P<root>{pattern})(?:/.*)?"))
    for rule, pattern in (
        (Rule.GIT, r"(?:.*/)?\.git"),
        (Rule.PACKAGE_LISTS, r"var/lib/apt/lists"),
        (Rule.PACKAGE_LISTS, r"var/cache/apk/APKINDEX[^/]*"),
        (Rule.PACKAGE_LISTS, r"var/lib/pacman/sync"),
        (Rule.PACKAGE_LISTS, r"var/cache/apt/[^/]+\.bin"),
        (
            Rule.PACKAGE_CACHE,
            r"var/cache/(?:apt/archives|apk|dnf|libdnf5|yum|zypp|tdnf|pacman/pkg)",
        ),
        (
            Rule.LANGUAGE_CACHE,
            r"(?:.*/)?\.cache/(?:pip|uv|yarn|pypoetry|pipenv|pdm|hatch|pre-commit)",
        ),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?\.cache/(?:go-build|node-gyp|pnpm|composer|deno|coursier)"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?\.cache/(?:ccache|sccache|bazel|vcpkg)"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?(?:\.npm/_(?:cacache|logs|npx)|_cacache|\.pnpm-store)"),
        (Rule.LANGUAGE_CACHE, r"root/\.npm"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?\.local/share/pnpm/store"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?\.bun/install/cache"),
        (Rule.LANGUAGE_CACHE, r"usr/local/share/\.cache/yarn"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?\.yarn/berry/cache"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?go/pkg/(?:mod|sumdb)"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?(?:\.cargo|usr/local/cargo)/(?:registry|git)"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?(?:\.m2/repository|\.gradle/(?:caches|wrapper)|\.ivy2)"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?(?:\.composer/cache|\.bundle/cache|bundle/cache)"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?(?:conda|mamba|micromamba|miniconda3)/pkgs"),
        (Rule.LANGUAGE_CACHE, r"(?:.*/)?\.(?:ccache|cpanm|cpan|cabal/packages|sbt/boot)"),
        (Rule.DOCS, r"usr/(?:local/)?share/(?:doc|man|info|locale|gtk-doc|help)"),
        (Rule.PYC, r"(?:.*/)?__pycache__"),
    )
)
_TOOLS = re.compile(
    r"(?:gcc(?!.*-base)(?:-.*)?|g\+\+.*|gfortran.*|cpp(?:-.*)?|clang(?:-.*)?|llvm.*-tools|"
    r"binutils.*|make|cmake.*|meson|ninja(?:-build)?|autoconf|automake|libtool|pkgconf.*|"
    r"pkg-config|bison|flex|nasm|yasm|build-essential|build-base|rustc.*|cargo|golang.*|go|"
    r".*-dev|.*-devel|.*-headers(?:-.*)?|openjdk-.*-jdk.*)"
)
# Databases that every install rewrites: no fault of anybody's.
_DATABASES = re.compile(
    r"var/lib/dpkg/(?:status|status-old|available|info/format|triggers/.*|diversions.*)|"
    r"var/cache/debconf/.*|(?:usr/)?lib/apk/db/.*|"
    r"(?:var/lib|usr/lib/sysimage|usr/share)/rpm/.*|var/lib/(?:dnf|yum)/.*|var/log/.*|"
    r"etc/(?:ld\.so\.cache|passwd|group|shadow|gshadow)-?|var/cache/ldconfig/.*"
)
LEVELS = {
    Rule.SECRET: Level.ERROR,
    Rule.ROOT_USER: Level.NOTE,
    Rule.SETUID: Level.NOTE,
    Rule.DOCS: Level.NOTE,
    Rule.PYC: Level.NOTE,
    Rule.DUPLICATES: Level.NOTE,
    Rule.BASE: Level.NOTE,
}
_NOT_SMALL = (Rule.DOCS, Rule.PYC)  # said above the floor alone
_WHAT = {
    Rule.GIT: "of a git repository",
    Rule.PACKAGE_LISTS: "of package lists",
    Rule.PACKAGE_CACHE: "of a package manager's cache",
    Rule.LANGUAGE_CACHE: "of a language's package cache",
    Rule.DOCS: "of documentation and translations",
    Rule.PYC: "of compiled Python files",
    Rule.BUILD_TOOLS: "of build tools",
    Rule.DEV_DEPENDENCIES: "of packages for development alone",
}
_HINTS = {
    Rule.SECRET: "replace the secret, it is known by now; RUN --mount=type=secret shows one to a "
    "step and leaves nothing; name the file in .dockerignore",
    Rule.GIT: "name .git in .dockerignore; or RUN --mount=type=bind where a step needs it",
    Rule.PACKAGE_LISTS: "RUN --mount=type=cache,target=/var/lib/apt,sharing=locked ..., or delete "
    "them in the same RUN",
    Rule.PACKAGE_CACHE: "apt-get clean, apk add --no-cache, dnf clean all in the same RUN; or "
    "RUN --mount=type=cache on that folder",
    Rule.LANGUAGE_CACHE: "RUN --mount=type=cache,target=... on that folder; or pip install "
    "--no-cache-dir, npm cache clean --force in the same RUN",
    Rule.BUILD_TOOLS: "build in a stage of its own and COPY --from=... what it made",
    Rule.DEV_DEPENDENCIES: "npm ci --omit=dev, composer install --no-dev; in a stage of its own "
    "where the build needs them",
    Rule.ROOT_USER: "USER with a number, such as USER 10001",
    Rule.SETUID: "chmod a-s in the same RUN, where nobody needs it",
    Rule.DOCS: "apt: path-exclude=/usr/share/doc/* in dpkg.cfg.d; dnf: --nodocs",
    Rule.PYC: "ENV PYTHONDONTWRITEBYTECODE=1 for the step; starting is slower then",
    Rule.DUPLICATES: "one of them as a link",
    Rule.BASE: "a smaller base, such as -slim or -alpine",
}


@dataclass
class _Group:
    """What one rule finds of one layer."""

    bytes: int = 0
    files: int = 0
    roots: dict[str, int] = field(default_factory=dict)

    def add(self, root: str, size: int) -> None:
        self.bytes += size
        self.files += 1
        self.roots[root] = self.roots.get(root, 0) + size

    def names(self, sign: str = "/") -> str:
        """Give the largest roots."""
        found = sorted(self.roots, key=lambda each: (-self.roots[each], each))
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return ", ".join(f"{sign}{each}" for each in found[:_SHOWN]) + more


def waste_of(image: Anatomy) -> Iterator[Finding]:
    """Give all that is worth a word about what one platform's image holds."""
    groups = _groups(image)
    for (rule, layer), group in sorted(groups.items()):
        if layer >= image.own and (rule not in _NOT_SMALL or group.bytes >= FLOOR):
            sign = "" if rule in (Rule.BUILD_TOOLS, Rule.DEV_DEPENDENCIES) else "/"
            message = f"{size_text(group.bytes)} {_WHAT[rule]}: {group.names(sign)}"
            yield _finding(image, rule, image.cause(layer), message, group.bytes)
    yield from _secrets(image)
    yield from _hidden(image)
    yield from _root(image)
    yield from _set_ids(image)
    yield from _duplicates(image)
    yield from _base(image, groups)


def _groups(image: Anatomy) -> Mapping[tuple[Rule, int], _Group]:
    """Put each visible file under the one rule that speaks of it, if one does."""
    found: dict[tuple[Rule, int], _Group] = defaultdict(_Group)
    tools = _tools(image)
    dev = development_folders(image.folded.files, (each[DEVELOPMENT.key] for each in image.answers))
    repositories = _repositories(image)
    for path, body in image.visible():
        named = _by_path(path, repositories) or _by_package(image, path, body, tools)
        if named is None and dev and (package := _inside(path, dev)):
            named = Rule.DEV_DEPENDENCIES, package.rpartition("node_modules/")[2]
        if named is not None and body.entry.size:
            found[named[0], body.layer].add(named[1], body.entry.size)
    return found


def _repositories(image: Anatomy) -> frozenset[str]:
    """Give the folders .git that hold objects."""
    marks = (path.partition(".git/objects/") for path in image.folded.visible)
    return frozenset(f"{before}.git" for before, mark, _ in marks if mark)


def _by_path(path: str, repositories: frozenset[str]) -> tuple[Rule, str] | None:
    for rule, pattern in _PATHS:
        found = pattern.fullmatch(path)
        if found and (rule is not Rule.GIT or found["root"] in repositories):
            return rule, found["root"]
    return None


def _tools(image: Anatomy) -> frozenset[str]:
    """Give the packages of build tools that did not come with the base."""
    lists = [each[OWNERS.key] for each in image.answers]
    named = [
        {owner for owners in each.values() if isinstance(owners, dict) for owner in owners}
        for each in lists
        if isinstance(each, dict)
    ]
    base = set().union(*named[: image.own])
    return frozenset(
        owner
        for owner in set().union(*named[image.own :]) - base
        if owner.startswith(("deb:", "apk:", "rpm:")) and _TOOLS.fullmatch(owner[4:])
    )


def _by_package(
    image: Anatomy, path: str, body: Body, tools: frozenset[str]
) -> tuple[Rule, str] | None:
    owner = image.owners.of(path) if tools and body.layer >= image.own else ""
    return (Rule.BUILD_TOOLS, owner[4:]) if owner in tools else None


def _inside(path: str, folders: frozenset[str]) -> str:
    """Give which of the folders a path is below; empty: none."""
    at = path.rfind("/")
    while at > 0:
        if path[:at] in folders:
            return path[:at]
        at = path.rfind("/", 0, at)
    return ""


def _secrets(image: Anatomy) -> Iterator[Finding]:
    seen = {(body.layer, body.entry.path) for _, body in image.visible()}
    gone = {(each.layer, each.path): each for each in image.folded.hidden}
    for layer, answer in enumerate(image.answers):
        found = answer[SECRETS.key]
        for path, what in found.items() if isinstance(found, dict) and layer >= image.own else ():
            hidden = gone.get((layer, path))
            message = f"/{path} holds {what}"
            if (layer, path) not in seen and hidden:
                by = image.cause(hidden.by)
                message += f"; {by.file}:{by.line} hides it, and layer {layer + 1} still has it"
            yield _finding(image, Rule.SECRET, image.cause(layer), message, subject=path)


def judged_hidden(image: Anatomy) -> tuple[Hidden, ...]:
    """Give what own layers hide and could have not made; rewritten databases are left out."""
    return tuple(
        each
        for each in image.folded.hidden
        if each.by >= image.own
        and not (each.cause is Hiding.REPLACED and _DATABASES.fullmatch(each.path))
    )


def hidden_pairs(image: Anatomy) -> tuple[Finding, ...]:
    """Give what own layers hide by the line that hides, the line it is of and how, largest first.

    Whoever judges says from which size on they are worth a word.
    """
    pairs: dict[tuple[int, int, Hiding], _Group] = defaultdict(_Group)
    for each in judged_hidden(image):
        pairs[each.by, each.layer, each.cause].add(each.path, each.size)
    found = (_hidden_pair(image, pair, group) for pair, group in sorted(pairs.items()))
    return tuple(sorted(found, key=lambda each: -each.bytes))


def _hidden(image: Anatomy) -> Iterator[Finding]:
    pairs = hidden_pairs(image)
    floor = max(FLOOR, image.own_bytes * _SHARE)
    if sum(each.bytes for each in pairs) >= floor:
        yield from (each for each in pairs if each.bytes >= min(floor, pairs[0].bytes))


def _hidden_pair(image: Anatomy, pair: tuple[int, int, Hiding], group: _Group) -> Finding:
    by, layer, cause = pair
    here, there = image.cause(by), image.cause(layer)
    of = "the base" if layer < image.own else f"line {there.line}"
    if there.file != here.file and layer >= image.own:
        of = f"{there.file}:{there.line}"
    verb = {
        Hiding.DELETED: "deletes",
        Hiding.METADATA: "changes mode or owner of",
        Hiding.SAME: "writes again, unchanged,",
        Hiding.REPLACED: "replaces",
    }[cause]
    hint = {
        Hiding.DELETED: f"delete in the RUN that made it, {of}"
        if layer >= image.own
        else "a base without it, or leave it",
        Hiding.METADATA: f"COPY --chmod or --chown on {of}, or chmod in the RUN that made it",
        Hiding.SAME: "leave out what is there already",
        Hiding.REPLACED: "make it once: in one RUN, or in a stage of its own",
    }[cause]
    message = f"{verb} {size_text(group.bytes)} of {of}, which stay in its layer: {group.names()}"
    return _finding(
        image,
        Rule.HIDDEN,
        here,
        message,
        group.bytes,
        hint=hint,
        subject=f"{cause} {there.file} {there.text}",
        related=((there.file, there.line),),
    )


def _root(image: Anatomy) -> Iterator[Finding]:
    user = str(image.inner.get("User") or "").partition(":")[0]
    if user in ("", "0", "root"):
        said = f"USER {user}" if user else "no USER"
        yield _finding(image, Rule.ROOT_USER, image.steps.final(("USER",)), f"runs as root: {said}")


def _set_ids(image: Anatomy) -> Iterator[Finding]:
    found: dict[int, _Group] = defaultdict(_Group)
    for path, placed in image.folded.files.paths.items():
        entry = placed.entry
        if entry.kind is EntryKind.FILE and entry.mode & _SET_ID and placed.put_by >= image.own:
            found[placed.put_by].add(path, entry.size)
    for layer, group in sorted(found.items()):
        message = f"runs with its owner's rights, whoever starts it: {group.names()}"
        yield _finding(image, Rule.SETUID, image.cause(layer), message)


def _duplicates(image: Anatomy) -> Iterator[Finding]:
    same: dict[str, list[tuple[str, Body]]] = defaultdict(list)
    for path, body in image.visible():
        if body.layer >= image.own and body.entry.size and body.digest:
            same[body.digest].append((path, body))
    for copies in same.values():
        extra = (len(copies) - 1) * copies[0][1].entry.size
        if extra >= FLOOR:
            names = ", ".join(f"/{path}" for path, _ in copies[:_SHOWN])
            message = f"{len(copies)} files hold the same {size_text(extra)}: {names}"
            cause = image.cause(max(body.layer for _, body in copies))
            yield _finding(image, Rule.DUPLICATES, cause, message, extra, subject=copies[0][0])


def _base(image: Anatomy, groups: Mapping[tuple[Rule, int], _Group]) -> Iterator[Finding]:
    """Say in one note what the base brings."""
    found: dict[str, int] = defaultdict(int)
    for (rule, layer), group in groups.items():
        if layer < image.own:
            found[_WHAT[rule]] += group.bytes
    hidden = sum(each.size for each in image.folded.hidden if each.by < image.own)
    if hidden:
        found["hidden in its own layers"] += hidden
    secrets = [
        f"/{path}"
        for answer in image.answers[: image.own]
        if isinstance(files := answer[SECRETS.key], dict)
        for path in files
    ]
    parts = [f"{size_text(count)} {what}" for what, count in found.items() if count >= FLOOR]
    parts += [f"secrets: {', '.join(secrets[:_SHOWN])}"] if secrets else []
    if parts:
        yield _finding(
            image,
            Rule.BASE,
            image.cause(0),
            f"the base brings {'; '.join(parts)}",
            sum(found.values()),
        )


def _finding(
    image: Anatomy,
    rule: Rule,
    cause: Cause,
    message: str,
    count: int = 0,
    *,
    hint: str = "",
    subject: str = "",
    related: Iterable[tuple[str, int]] = (),
) -> Finding:
    return Finding(
        level=LEVELS.get(rule, Level.WARNING),
        file=cause.file,
        line=cause.line,
        message=message,
        hint=hint or _HINTS[rule],
        rule=rule,
        image=image.image,
        platforms=(image.platform,),
        bytes=count,
        text=cause.text,
        subject=subject,
        related=tuple(related),
    )
