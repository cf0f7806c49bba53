"""From a Containerfile's text to its instructions, with the line each one starts on.

The rules are those of moby/buildkit's parser (frontend/dockerfile/parser), from which buildah's
own descends: directives, comments, continuation lines, heredocs. Only a line feed ends a line.

Words of an instruction: splitting, quotes, and `$VARIABLE` substitution.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from podbuild.build.inputs.lexer import SPACES, Lexer, LexError, quoted_word
from podbuild.build.inputs.mounts import mount_options, written_mount, written_options
from podbuild.errors import ConfigError

# Quoted parts and escaped characters belong to a word, blanks end it.
_WORD = re.compile(r"""(?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\]|["'\\])+""")
_WORD_OF_BACKTICKS = re.compile(r"""(?:`.|"(?:`.|[^"`])*"|'[^']*'|[^\s"'`]|["'`])+""")
_CLOSED = re.compile(r"""\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^"']""", re.DOTALL)
_QUOTING = re.compile(r"""\\(.)|'([^']*)'|\"""")


def split_words(text: str, escape: str = "\\") -> tuple[str, ...]:
    """Split at blanks outside quotes; quotes are kept.

    >>> split_words("cat <<'A B' > /x")
    ('cat', "<<'A B'", '>', '/x')
    """
    return tuple((_WORD if escape == "\\" else _WORD_OF_BACKTICKS).findall(text))


def open_quote(text: str) -> str:
    """Give the quote that has no partner in a text; empty where all have one.

    >>> open_quote("it's"), open_quote("'a' b")
    ("'", '')
    """
    return _CLOSED.sub("", text)[:1]


def unquote(text: str) -> str:
    """Take quotes and escapes away.

    >>> unquote('"a b"c')
    'a bc'
    """
    return _QUOTING.sub(lambda found: found[1] or found[2] or "", text)


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Put values in the place of `$X` and `${X:-word}`, and take quotes away.

    An unknown variable is empty, as for the engines. Raises LexError.

    >>> substitute("debian:${SUITE:-trixie}", {})
    'debian:trixie'
    """
    return Lexer().word(text, variables)


_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]*)")
_BLANK_AFTER_DASH = re.compile(r"""\d*<<-[ \t]+['"]?\w""")
_BLANK = re.compile(r"\d*<<-?\s")
_LIKE_HEREDOC = re.compile(r"""(?:^|\s)\d*<<-?\s*['"]?[A-Za-z_]""")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
REMOTE = re.compile(r"https?://|git@|git://|ssh://")  # what ADD fetches
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")
_SPLIT_AT_BLANKS = ("ADD", "COPY", "EXPOSE", "FROM", "VOLUME")
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_LONGEST = 65534  # bytes of a line; Go's bufio.MaxScanTokenSize
_DECODER = json.JSONDecoder()


@cache
def _lenient(escape: str) -> Lexer:
    return Lexer(escape=escape, lenient=True)


@dataclass(frozen=True)
class Heredoc:
    """A here-document of an instruction: its name and its text, literal if the name is quoted.

    Its lines are those from `start` up to `stop`, the last of them ends it; counted from 0.
    It is `dedented` where tabs were taken from its first line.
    """

    name: str
    body: str
    literal: bool = False
    start: int = 0
    stop: int = 0
    dedented: bool = False


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its word in upper case, flags as written, and the rest of its text.

    It begins on `line` and ends, with its heredocs, on `last`, both counted from 1.
    """

    line: int
    last: int
    word: str
    flags: tuple[str, ...] = ()
    text: str = ""
    heredocs: tuple[Heredoc, ...] = ()
    escape: str = "\\"
    where: str = "Containerfile"

    def __str__(self) -> str:
        return " ".join(filter(None, (self.word, *self.flags, self.text)))

    @property
    def place(self) -> str:
        """Give file and line, for messages."""
        return f"{self.where}:{self.line}"

    def expand(self, text: str, values: Mapping[str, str]) -> str:
        """Put values into a part of the instruction; raises ConfigError that names its place.

        What a base's ENV may hold is not known: `${X:?}` is no error here.
        """
        try:
            return _lenient(self.escape).word(text, values)
        except LexError as error:
            raise ConfigError(
                f"{self.place}: {error}", hint="`$X`, `${X:-word}` and quotes in pairs are read"
            ) from None

    @property
    def words(self) -> tuple[str, ...]:
        """Give the text's words, quotes kept; in some instructions quotes hold none together."""
        if self.word in _SPLIT_AT_BLANKS:
            return tuple(filter(None, _BLANKS.split(self.text)))
        return split_words(self.text, self.escape)

    @property
    def array(self) -> tuple[str, ...] | None:
        """Give the words of the JSON form; None where the text is no array of strings."""
        found = _array(self.text)
        return None if found is None or not _are_strings(found) else tuple(map(str, found))

    @property
    def is_no_list_of_strings(self) -> bool:
        """Tell whether the text is an array of something else, which every builder refuses."""
        found = _array(self.text)
        return found is not None and not _are_strings(found)

    @property
    def begins_as_array(self) -> bool:
        """Tell whether something stands behind an array: engines read it, BuildKit a line."""
        return _array(self.text) is None and _array(self.text, whole=False) is not None

    @property
    def trigger(self) -> Instruction | None:
        """Give the instruction that ONBUILD keeps for images built on this one."""
        if self.word != "ONBUILD" or not self.text:
            return None
        found = _parse(self.text, self.line, self.escape)
        return replace(found, last=self.last, heredocs=self.heredocs, where=self.where)

    def flag(self, name: str) -> str | None:
        """Give a flag's value, `--name=value`; None where it is not given."""
        return next(reversed(self.all_flags(name)), None)

    def all_flags(self, name: str) -> tuple[str, ...]:
        """Give the values of a flag that may be repeated; an empty one says nothing."""
        values = (flag.partition("=")[2] for flag in self.flags if flag.startswith(f"--{name}="))
        return tuple(filter(None, map(unquote, values)))

    @property
    def mounts(self) -> tuple[Mapping[str, str], ...]:
        """Give the options of each --mount of a RUN."""
        written = self.all_flags("mount") if self.word == "RUN" else ()
        return tuple(mount_options(each) for each in written)

    def with_mount_values(
        self, known: Mapping[str, str], *, all_known: bool = False
    ) -> Instruction:
        """Put values into the mounts of RUN; what is not known stays, unless it is worth nothing.

        A mistake stays as it is written (`unread_words` tells of it).
        """
        if self.word != "RUN" or not any("$" in flag for flag in self.flags):
            return self
        lexer = Lexer(escape=self.escape, lenient=True, keep_unset=not all_known)
        flags = []
        for flag in self.flags:
            name, _, written = flag.partition("=")
            if name != "--mount" or "$" not in flag:
                flags.append(flag)
            else:
                options = written_options(unquote(written))
                try:
                    options = {key: lexer.word(value, known) for key, value in options.items()}
                except LexError:
                    return self
                flags.append(f"--mount={quoted_word(written_mount(options))}")
        return replace(self, flags=tuple(flags))


def lines_of(text: str) -> list[str]:
    """Give the lines of a text without their ends; a last line that is empty is none."""
    lines = text.removeprefix("\ufeff").split("\n")
    return lines[:-1] if not lines[-1] else lines


def read_instructions(text: str, *, where: str) -> tuple[str, tuple[Instruction, ...]]:
    """Give the escape character and the instructions.

    Raises ConfigError, naming `where` and the line, for a heredoc without its end and for what
    looks like one without being one.
    """
    lines = lines_of(text)
    for at, line in enumerate(lines, 1):
        if len(line) > _LONGEST // 4 and len(line.encode()) > _LONGEST:
            raise ConfigError(
                f"{where}:{at}: a line of more than {_LONGEST} bytes",
                hint="no builder reads it; a \\ continues it on the next line",
            )
    escape = _escape_of(lines, where)
    return escape, tuple(_instructions(lines, escape, where))


def parse_heredoc(word: str) -> tuple[str, bool, bool] | None:
    """Give a heredoc's name, if it is quoted, and if tabs go; None where a word opens none."""
    found = _HEREDOC.fullmatch(word)
    if not found or not found[3]:
        return None
    try:
        names = Lexer(keep_unset=True).words(found[3], {})
        raw = Lexer(keep_unset=True, raw_quotes=True).words(found[3], {})
    except LexError:
        return None
    if len(names) != 1:
        return None
    quotes = [sum(text.count(quote) for quote in "'\"") for text in (names[0], raw[0])]
    return names[0], quotes[0] != quotes[1], bool(found[2])


def _escape_of(lines: Sequence[str], where: str) -> str:
    """Directives are comments `# key=value` before anything else."""
    seen: dict[str, str] = {}
    for at, line in enumerate(lines, 1):
        found = _DIRECTIVE.fullmatch(line.strip(SPACES))
        key = found[1].lower() if found else ""
        if not found or key not in _DIRECTIVES:
            break
        if key in seen:
            raise ConfigError(
                f"{where}:{at}: a second {key} directive", hint="each may stand there once"
            )
        seen[key] = found[2]
        if key == "escape" and found[2] not in ("\\", "`"):
            raise ConfigError(
                f"{where}:{at}: {found[2][:10]!r} is no escape character", hint="# escape=`"
            )
    return seen.get("escape", "\\")


def _instructions(lines: Sequence[str], escape: str, where: str) -> Iterator[Instruction]:
    # An escape character that is itself escaped continues nothing.
    continued = re.compile(
        rf"^(?P<text>|.*[^{re.escape(escape)}]){re.escape(escape)}[ \t]*$", re.DOTALL
    )
    at = 0
    while at < len(lines):
        start, pieces = at, [lines[at].rstrip("\r").lstrip(SPACES)]
        at += 1
        if not pieces[0] or pieces[0].startswith("#"):
            continue
        while found := continued.match(pieces[-1]):
            pieces[-1] = found["text"]
            while at < len(lines) and _is_nothing(lines[at]):
                at += 1
            if at >= len(lines):
                break
            pieces.append(lines[at].rstrip("\r"))
            at += 1
        text = "".join(pieces).strip(SPACES)
        if not text:
            continue
        instruction = _parse(text, start + 1, escape)
        bodies: list[Heredoc] = []
        for name, literal, chomp in _opened(instruction, text, where):
            body = _heredoc(lines, at, name, literal=literal, chomp=chomp)
            if body is None:
                raise ConfigError(
                    f"{where}:{start + 1}: the heredoc {name} has no end",
                    hint=f"a line that holds only {name} ends it",
                )
            bodies.append(body)
            at = body.stop
        yield replace(instruction, last=at, heredocs=tuple(bodies), where=where)


def _is_nothing(line: str) -> bool:
    """Tell whether a line inside a continued instruction is skipped."""
    bare = line.rstrip("\r").lstrip(SPACES)
    return not bare or bare.startswith("#")


def _parse(text: str, line: int, escape: str) -> Instruction:
    word, *others = _BLANKS.split(text, maxsplit=1)
    rest = "".join(others).lstrip(SPACES)
    flags = []
    while rest.startswith("--"):
        flag = split_words(rest)[0]
        rest = rest[len(flag) :].lstrip(SPACES)
        if flag == "--":
            break
        flags.append(flag)
    return Instruction(
        line=line, last=line, word=word.upper(), flags=tuple(flags), text=rest, escape=escape
    )


def _opened(instruction: Instruction, text: str, where: str) -> Iterator[tuple[str, bool, bool]]:
    """Give the heredocs that an instruction opens: name, if it is quoted, if tabs go."""
    inner = instruction.trigger or instruction
    if inner.word not in _WITH_HEREDOCS or "<<" not in text or inner.array is not None:
        return
    place = f"{where}:{instruction.line}"
    try:
        words = Lexer(raw_quotes=True, raw_escapes=True, keep_unset=True).words(text, {})
    except LexError as error:
        if _LIKE_HEREDOC.search(text):  # its body would be taken for instructions
            raise ConfigError(
                f"{place}: no heredoc can be read in this line: {error}",
                hint="write that part in the heredoc, or escape it with a \\",
            ) from None
        return
    for at, word in enumerate(words):
        if _BLANK_AFTER_DASH.match(" ".join(words[at : at + 2])):
            raise ConfigError(
                f"{place}: no heredoc is read after `<<- `",
                hint=f"write it without the blank: <<-{words[at + 1]}",
            )
        if found := parse_heredoc(word):
            if inner.word != "RUN" and _BLANK.match(word):
                raise ConfigError(
                    f"{place}: {inner.word} takes no heredoc with a blank after <<",
                    hint=f"write it without the blank: <<{found[0]}",
                )
            yield found


def _heredoc(
    lines: Sequence[str], at: int, name: str, *, literal: bool, chomp: bool
) -> Heredoc | None:
    """Give the heredoc whose text begins at `at`; None where it has no end."""
    for position in range(at, len(lines)):
        line = lines[position].rstrip("\r")
        if (line.lstrip("\t") if chomp else line) == name:
            body = "".join(f"{each}\n" for each in lines[at:position])
            text = _LEADING_TABS.sub("", body) if chomp else body
            dedented = text[:1] != body[:1]
            return Heredoc(name, text, literal, at, position + 1, dedented)
    return None


def _array(text: str, *, whole: bool = True) -> list[object] | None:
    if not text.startswith("["):
        return None
    try:
        found, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return None if whole and text[end:].strip() else found


def _are_strings(found: list[object]) -> bool:
    return all(isinstance(each, str) for each in found)
