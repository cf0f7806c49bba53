"""What instructions take from a context: sources resolved to files as engines resolve them.

Sources are globs below the context's root; links on the way to a source are followed inside the
context, those inside a folder that is copied are not. Beyond a wildcard engines follow links
(buildah's copier.go), BuildKit does not, nor is `**` more than `*` to it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from podbuild.build.inputs.ignore import Matcher
from podbuild.build.inputs.patterns import BadPatternError, check_syntax
from podbuild.build.inputs.tree import Entry, Visible

GIT = ".git"
_MOST_LINKS = 40  # as the kernel follows in one path
_GLOB = re.compile(r"[*?\[\\]")
_PIVOT = "/./"


@dataclass(frozen=True)
class Wanted:
    """What one instruction takes: sources, their arguments replaced, from the root on.

    `excludes` are those of `COPY --exclude`. What is `mounted` is no pattern, and shows the mode
    of the folder itself; `parents` keeps the folders above what is copied. Where what is taken
    is not `known`, any link may be followed.
    """

    sources: tuple[str, ...]
    excludes: tuple[str, ...] = ()
    parents: bool = False
    mounted: bool = False
    known: bool = True


def has_wildcard(source: str) -> bool:
    """Tell whether a source is a pattern."""
    return bool(_GLOB.search(source))


EVERYTHING = (Wanted(sources=("/",), known=False),)


@dataclass(frozen=True, kw_only=True)
class WantedFiles:
    """What a target takes of its contexts, by their names, and which line takes what of which.

    `triggered` are the indexes of stages that may take more than their lines say: what their base
    has in ONBUILD, or nobody knows what.
    """

    places: Mapping[str, tuple[Wanted, ...]] = field(default_factory=dict)
    lines: Mapping[int, tuple[tuple[str, Wanted], ...]] = field(default_factory=dict)
    triggered: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Reach:
    """What is taken: entries by name, and the names that the engine looks below.

    `hidden`: a link leads to what is left out, which the engine would follow.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    roots: frozenset[str] = frozenset()
    has_git: bool = False  # .git is taken; what is in it is no entry
    hidden: bool = False


def reach(visible: Visible, wanted: Iterable[Wanted]) -> Reach:
    """Give what instructions take; raises OSError for what can't be read."""
    walk = _Walk(visible)
    for each in dict.fromkeys(wanted):
        for source in each.sources:
            walk.take(each, source)
    entries = {name: walk.entries[name] for name in sorted(walk.entries)}
    return Reach(entries, frozenset(walk.roots), walk.has_git, walk.hidden)


@dataclass(frozen=True)
class Taken:
    """What a copy takes of one source: entries by name, and those that --exclude leaves out.

    `names` are what its wildcards stand for; None where every engine reads them alike. `modes`
    are those of the entries that are no links, each with whether it is a folder.
    """

    entries: frozenset[str]
    left_out: frozenset[str]
    names: tuple[str, ...] | None
    modes: frozenset[tuple[int, bool]] = frozenset()


def taken_of(visible: Visible, wanted: Wanted) -> tuple[Taken, ...]:
    """Give what one copy takes of each of its sources.

    Raises OSError for what can't be read, ConfigError for patterns that mean nothing.
    """
    return tuple(_taken_of(visible, wanted, source) for source in wanted.sources)


def _taken_of(visible: Visible, wanted: Wanted, source: str) -> Taken:
    walk, whole = _Walk(visible), _Walk(visible)
    walk.take(wanted, source)
    whole.take(replace(wanted, excludes=()), source)
    is_glob = has_wildcard(source) and not wanted.parents
    names = tuple(whole.names(source)) if is_glob else ()
    return Taken(
        entries=frozenset(walk.entries),
        left_out=frozenset(whole.entries.keys() - walk.entries.keys()),
        names=names if is_glob and (whole.passed_by or not names) else None,
        modes=frozenset(each.mode for each in walk.entries.values() if not each.is_link),
    )


def outermost(left_out: Collection[str], taken: Collection[str]) -> frozenset[str]:
    """Give the names that leave out what is left out, and nothing that is taken."""
    above = {name[:at] for name in taken for at, sign in enumerate(name) if sign == "/"}
    names = {*left_out} - above
    return frozenset(
        name
        for name in names
        if not any(name[:at] in names for at, sign in enumerate(name) if sign == "/")
    )


class _Walk:
    def __init__(self, visible: Visible) -> None:
        self.visible = visible
        self.entries: dict[str, Entry] = {}
        self.roots: set[str] = set()
        self.has_git = False
        self.hidden = False
        self.passed_by = False  # a link that the engine would follow beyond a wildcard
        self.way: list[Entry] = []  # folders above what is found, where they are kept

    def take(self, wanted: Wanted, source: str) -> None:
        base, parts = "", _parts(source)
        if wanted.parents and _PIVOT in f"{source}/":
            above, _, rest = f"{source}/".partition(_PIVOT)
            base = next(self._find("", _parts(above), Wanted(()), 0), None) or ""
            parts = _parts(rest)
        matcher = Matcher(wanted.excludes)
        for name in self._find(base, parts, wanted, 0):
            self.roots.add(name)
            if wanted.parents:
                self._take_parents(name, base, matcher)
            start = base if wanted.parents else name
            self._take(name, start, matcher, own=wanted.parents or wanted.mounted)
        if not wanted.known:
            for entry in tuple(self.entries.values()):
                if entry.is_link:
                    deque(self._follow(entry, 0), maxlen=0)

    def names(self, source: str) -> Iterator[str]:
        """Give what a source with wildcards stands for, as its names are written."""
        parts = _parts(source)
        first = next(at for at, part in enumerate(parts) if has_wildcard(part))
        for folder in self._find("", parts[:first], Wanted(()), 0):
            for name in self._named(folder, parts[first:]):
                yield "/".join((*parts[:first], name))

    def _named(self, folder: str, parts: tuple[str, ...]) -> Iterator[str]:
        for entry in self._matching(folder, parts[0], is_glob=has_wildcard(parts[0])):
            name = entry.name.rpartition("/")[2]
            if not self.visible.shows(entry):
                continue
            if len(parts) == 1:
                yield name
            elif entry.is_folder:
                yield from (f"{name}/{rest}" for rest in self._named(entry.name, parts[1:]))

    def _take(self, name: str, start: str, matcher: Matcher, *, own: bool) -> None:
        """Take a file, or what is in a folder; patterns of --exclude count from `start`."""
        tree = self.visible.tree
        entry = tree.entry(name) if name else None
        if not name and own:
            self.entries["."] = Entry(".", tree.folder.stat())
        if entry is not None and (own or not entry.is_folder) and name != start:
            self._add(entry, matcher, start)
        elif entry is not None and (own or not entry.is_folder):
            self._add(entry)
        if entry is None or entry.is_folder:
            whole = "" if self.visible.leaves_out(GIT) else GIT
            for each in self.visible.below(name, but=whole):
                self._add(each, matcher, start)

    def _add(self, entry: Entry, matcher: Matcher | None = None, start: str = "") -> None:
        name = entry.name
        if matcher and matcher.excludes(name[len(start) + 1 :] if start else name):
            return
        if (name == GIT or name.startswith(f"{GIT}/")) and not self.visible.leaves_out(GIT):
            self.has_git = True  # told by its commit and tags: files change from fetch to fetch
        else:
            self.entries[name] = entry

    def _take_parents(self, name: str, base: str, matcher: Matcher) -> None:
        """Take the folders above: of a file as it is written, of a folder as links lead to it."""
        for folder in self.way:
            self._add(folder, matcher, base)
        while (name := name.rpartition("/")[0]) not in ("", base):
            entry = self.visible.tree.entry(name)
            if entry is not None:
                self._add(entry)

    def _find(
        self, at: str, parts: tuple[str, ...], wanted: Wanted, links: int, *, wild: bool = False
    ) -> Iterator[str]:
        """Give the names, links followed, that a source stands for below a folder.

        `wild`: a wildcard stood before these parts; no link is followed there but at the end.
        """
        if not parts:
            self.hidden = self.hidden or (links > 0 and any(self.visible.left_out_of(at)))
            yield at
            return
        part, rest = parts[0], parts[1:]
        if part == "..":
            yield from self._find(at.rpartition("/")[0], rest, wanted, links, wild=wild)
            return
        is_glob = not wanted.mounted and has_wildcard(part)
        if is_glob:
            self.roots.add(at)
        deep = is_glob and part == "**" and wanted.parents
        if deep:
            yield from self._find(at, rest, wanted, links)
        wild = wild or (is_glob and not wanted.parents)
        for entry in self._matching(at, part, is_glob=is_glob):
            again = parts if deep and entry.is_folder else rest
            yield from self._beyond(entry, again, wanted, links, wild=wild)

    def _beyond(
        self, entry: Entry, rest: tuple[str, ...], wanted: Wanted, links: int, *, wild: bool
    ) -> Iterator[str]:
        if not self.visible.shows(entry):
            self.roots.add(entry.name)
            self.hidden |= links > 0
        elif entry.is_link and wild and rest:
            self.passed_by = True
        elif entry.is_link:
            for found in self._follow(entry, links):
                yield from self._find(found, rest, wanted, links + 1)
        elif entry.is_folder:
            self.way += [entry] if wanted.parents else []
            yield from self._find(entry.name, rest, wanted, links, wild=wild)
            self.way = self.way[:-1] if wanted.parents else []
        elif not rest:
            yield entry.name

    def _matching(self, at: str, part: str, *, is_glob: bool) -> Iterator[Entry]:
        folder = self.visible.tree.entry(at) if at else None
        if folder is not None and not folder.is_folder:
            return
        children = self.visible.tree.children(at)
        if is_glob:
            fits = _glob(part)
            yield from (entry for name, entry in children.items() if fits.fullmatch(name))
        elif part in children:
            yield children[part]

    def _follow(self, entry: Entry, links: int) -> Iterator[str]:
        """Give where a link leads."""
        self._add(entry)
        self.roots.add(entry.name)
        if links < _MOST_LINKS:
            target = self.visible.tree.link(entry)
            start = "" if target.startswith("/") else entry.name.rpartition("/")[0]
            literal = Wanted(sources=(), mounted=True)  # a link's target is no pattern
            yield from self._find(start, _split(target), literal, links + 1)


def _split(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


def _parts(source: str) -> tuple[str, ...]:
    """Split a source; `..` goes no further up than the root."""
    found: list[str] = []
    for part in _split(source):
        if part != "..":
            found.append(part)
        elif found:
            found.pop()
    return tuple(found)


def _glob(part: str) -> re.Pattern[str]:
    """Read one part of a source as filepath.Match does; what it refuses matches nothing."""
    try:
        check_syntax(part)
    except BadPatternError:
        return re.compile(r"(?!)")
    tokens = re.findall(r"\\.|\[\^?(?:\\.|[^\]\\])+\]|.", part, re.DOTALL)
    return re.compile("".join(map(_token, tokens)), re.DOTALL)


def _token(token: str) -> str:
    match token:
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
        case _ if token.startswith("\\"):
            return re.escape(token[1:])
        case _ if len(token) > 1:
            negated = token.startswith("[^")
            inner = token[2 if negated else 1 : -1]
            members = re.findall(r"\\.|.", inner, re.DOTALL)
            plain = "".join(each if each == "-" else re.escape(each[-1]) for each in members)
            return f"[{'^' if negated else ''}{plain}]"
        case _:
            return re.escape(token)
