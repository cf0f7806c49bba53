"""What instructions say that means nothing, is refused by BuildKit, or that engines can't take.

Values as far as the file says what they are; types and options of RUN's mounts; options of health
checks, some of which engines refuse in silence.
"""

from __future__ import annotations

import difflib
import posixpath
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace

from podbuild.build.inputs.copying import is_cloned, parse_mode, unfit_git
from podbuild.build.inputs.instructions import REMOTE, Instruction, parse_heredoc, unquote
from podbuild.build.inputs.lexer import Lexer, LexError
from podbuild.build.inputs.mounts import OF_ENGINES, is_known_switch

PORT = re.compile(r"(?:.*:)?(\d+)(?:-(\d+))?(?:/(\w+))?", re.ASCII)
_LAST_PORT = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")
_VARIABLE = re.compile(r"\$\{?(\w+)")
_OCTAL = re.compile(r"0*[0-7]{1,4}")
_SIGNAL = re.compile(r"0*[1-9]\d*|(SIG)?RT(MIN(\+([1-9]|1[0-5]))?|MAX(-([1-9]|1[0-4]))?)")
_NAMELESS = re.compile(r"https?://[^/?#]*/*(?:[?#].*)?")
_CHECKSUMS = tuple(
    re.compile(each)
    for each in ("sha256:[0-9a-f]{64}", "sha384:[0-9a-f]{96}", "sha512:[0-9a-f]{128}")
)
_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
SWITCHES = ("link", "parents", "keep-git-dir", "unpack")
_PLACES = ("type", "target")
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "bind": ("source", "from", "rw", "ro", "z", "Z", "relabel", "bind-propagation"),
    "cache": (
        *("id", "source", "from", "sharing", "mode", "uid", "gid", "ro", "rw", "z", "Z", "U"),
    ),
    "tmpfs": ("size", "tmpfs-size", "tmpfs-mode"),
    "secret": ("id", "source", "required", "mode", "uid", "gid", "env"),
    "ssh": ("id", "required", "mode", "uid", "gid"),
}
_SHARING = ("shared", "private", "locked")
_VALUES = {
    "uid": (re.compile(r"\d{1,10}", re.ASCII), "uid=1000"),
    "gid": (re.compile(r"\d{1,10}", re.ASCII), "gid=1000"),
    "mode": (re.compile(r"[0-7]{1,11}"), "mode=0755"),
    # units.RAMInBytes of docker/go-units
    "size": (re.compile(r"\d+(\.\d+)? ?([kmgtpe]i?b?|b)?", re.ASCII | re.IGNORECASE), "size=64m"),
}
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"[+-]?(?:0|(?:{_PART})+)", re.ASCII)
_MOST = 2**31 - 1  # retries
_SHORTEST = 1e-3  # seconds; zero stands for the default


def unfit_values(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give what is wrong and a way out; what is not known may be right."""
    match instruction.word:
        case "COPY" | "ADD":
            yield from _mode(instruction, known)
            yield from _texts(instruction, known)
            yield from _fetched(instruction, known)
            yield from _cloned(instruction, known)
        case "VOLUME" if are_known(instruction.text, known):
            words = instruction.array or instruction.words
            if not all(instruction.expand(each, known) for each in words):
                yield "VOLUME of nothing", "VOLUME /x"
        case "EXPOSE" if are_known(instruction.text, known):
            odd = (port for port in ports_of(instruction, known) if not is_port(port))
            hint = "EXPOSE 80, 53/udp or 8000-8010"
            yield from ((f"EXPOSE {port[:40]}: that is no port", hint) for port in odd)
        case "STOPSIGNAL" if are_known(instruction.text, known):
            yield from _signal(instruction.expand(instruction.text, known))
        case _:
            pass


def unfit_form(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Give what is wrong whatever variables are worth, in what ONBUILD keeps too."""
    match instruction.word:
        case "ENV" | "LABEL" | "ARG":
            yield from _pairs(instruction)
        case "COPY" | "ADD":
            words = instruction.array or instruction.words
            if words and instruction.heredocs and parse_heredoc(words[-1]):
                yield (
                    f"{instruction.word} takes no heredoc as its destination",
                    f"{instruction.word} <<EOF /x",
                )
        case "VOLUME" if instruction.array is not None and not all(instruction.array or ("",)):
            yield "VOLUME of nothing", 'VOLUME ["/x"]'
        case "SHELL" if instruction.array == ():
            yield "SHELL of nothing", 'SHELL ["/bin/sh", "-c"]'
        case "CMD" | "ENTRYPOINT" | "HEALTHCHECK" | "MAINTAINER" | "ONBUILD":
            if instruction.text.endswith(instruction.escape) and not instruction.heredocs:
                yield (
                    f"{instruction.word}: the engine goes on with the next line",
                    "let something stand behind the last escape, or write a list",
                )
        case _:
            pass


def unfit_trigger(trigger: Instruction) -> Iterator[tuple[str, str]]:
    """Give what the engine would read in another way when it runs a trigger of ONBUILD."""
    if parse_mode(mode := trigger.flag("chmod") or ""):
        yield f"--chmod={mode[:40]} ends the builds that run the trigger", "--chmod=755"
    yield from _cloned(trigger, {})
    here = f"write that {trigger.word} in the images that build on it"
    if trigger.word == "ADD" and any(map(is_cloned, map(unquote, _sources(trigger)))):
        yield "the engine would keep .git when the trigger is run", here
    if trigger.all_flags("exclude"):
        yield "the engine would count --exclude in another way when the trigger is run", here


def _cloned(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Give what ADD can't fetch as it says: by a checksum, or from git."""
    written = _sources(instruction) if instruction.word == "ADD" else ()
    sources = [instruction.expand(each, known) for each in written if are_known(each, known)]
    unsure = len(sources) < len(written)
    cloned = [each for each in sources if is_cloned(each)]
    kept = [each for each in instruction.flags if each.partition("=")[0] == "--keep-git-dir"]
    if cloned and kept and kept[-1].lower() != "--keep-git-dir=false":
        yield (
            "--keep-git-dir: the engine's .git is another one each time",
            "leave it out, or RUN git clone",
        )
    checksum = instruction.flag("checksum") if written else ""
    if not checksum or not are_known(checksum, known):
        return
    checksum = instruction.expand(checksum, known)
    if not unsure and not any(map(REMOTE.match, sources)):
        yield "--checksum is for what is fetched", "leave it out"
    elif len(written) > 1:
        yield "--checksum is for one source", "write an ADD for each source"
    elif (cloned or unsure) and _COMMIT.fullmatch(checksum):
        return
    elif cloned:
        yield f"--checksum={checksum[:40]} is no commit", "--checksum=<the commit's whole hash>"
    elif not any(each.fullmatch(checksum) for each in _CHECKSUMS):
        yield f"--checksum={checksum[:40]} is no digest", "--checksum=sha256:<64 hex digits>"


def _sources(instruction: Instruction) -> tuple[str, ...]:
    return (instruction.array or instruction.words)[:-1]


def _fetched(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    words = _sources(instruction) if instruction.word == "ADD" else ()
    known_words = (each for each in words if are_known(each, known))
    for each in known_words:
        url = instruction.expand(each, known)
        if reason := unfit_git(url):
            yield reason
        elif _NAMELESS.fullmatch(url) and (instruction.array or instruction.words)[-1][-1:] in "/.":
            yield f"ADD {url[:60]}: a URL without a path names no file", f"ADD {url[:60]} /x/NAME"


def _pairs(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Find what is no NAME=VALUE; ENV and LABEL may be NAME VALUE, ARG may be NAME."""
    word, words = instruction.word, instruction.words
    if word != "ARG" and words and "=" not in words[0]:
        if len(words) == 1:
            yield f"{word} {words[0][:40]} has no value", f'{word} {words[0][:40]}=""'
        return
    for each in words:
        if word == "ARG" and "$" in each.partition("=")[0]:
            yield f"ARG {each[:40]}: a name takes no variable", "write the name itself"
        if each.startswith("="):
            yield f"{word} {each[:40]} names nothing", f"{word} NAME{each[:40]}"
        elif word != "ARG" and "=" not in each:
            yield f"{word}: {each[:40]} has no =", f'{word} NAME="a value with blanks" OTHER=x'


def _mode(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    mode = instruction.flag("chmod")
    if not mode or not are_known(mode, known):
        return
    mode = instruction.expand(mode, known)
    if mode and not _OCTAL.fullmatch(mode) and not parse_mode(mode):
        yield f"--chmod={mode[:40]} is no mode", "--chmod=755, or u=rwX,go=rX"


def _texts(instruction: Instruction, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for heredoc in instruction.heredocs:
        try:
            if not heredoc.literal:
                Lexer(plain_quotes=True, lenient=True).word(heredoc.body, known)
        except LexError as error:
            yield (
                f"in the text {heredoc.name}: {error}",
                f'{instruction.word} <<"{heredoc.name}" takes it as it stands',
            )


def _signal(text: str) -> Iterator[tuple[str, str]]:
    name = text.upper()
    found = name.removeprefix("SIG")
    if not _SIGNAL.fullmatch(name) and f"SIG{found}" not in signal.Signals.__members__:
        yield f"there is no signal {text[:40]!r}", "STOPSIGNAL SIGTERM"


def are_known(text: str, known: Mapping[str, str]) -> bool:
    """Tell whether each variable of a text has a value; what has none yet may be right."""
    return all(name in known for name in _VARIABLE.findall(text))


def is_port(word: str) -> bool:
    """Tell whether EXPOSE takes a word: a port or a range, with what it is published as or not.

    Follows ParsePortSpec of docker/go-connections, which drops addresses and ports of the host.
    """
    found = PORT.fullmatch(word)
    if not found:
        return False
    first, last = int(found[1]), int(found[2] or found[1])
    return first <= last <= _LAST_PORT and (found[3] or "tcp").lower() in _PROTOCOLS


def ports_of(instruction: Instruction, known: Mapping[str, str]) -> tuple[str, ...]:
    """Give EXPOSE's words with values put in; a value may be several."""
    lexer = Lexer(escape=instruction.escape, lenient=True)
    try:
        return tuple(port for word in instruction.words for port in lexer.words(word, known))
    except LexError:
        return instruction.words


def unfit_mounts(instruction: Instruction) -> Iterator[tuple[str, str]]:
    """Give what is wrong with an instruction's mounts and a way out.

    What variables stand for that have no value yet may be right.
    """
    for options in instruction.mounts:
        kind = options.get("type", "bind")
        if "$" in kind:
            continue
        if kind not in _OPTIONS:
            near = difflib.get_close_matches(kind, _OPTIONS, n=1)
            yield f"no mount is of type {kind[:40]!r}", f"type={near[0] if near else 'bind'}"
            continue
        for name, value in options.items():
            if "$" not in value:
                yield from _option(kind, name, value)
        yield from _whole(kind, options, instruction)


def _option(kind: str, name: str, value: str) -> Iterator[tuple[str, str]]:
    if "," in value:
        yield f"{name}={value[:40]}: the engine takes no comma there", "another name"
    if name in OF_ENGINES and value:
        yield f"{name}={value[:40]}: {name} takes no value", name
    if not is_known_switch(name, value):
        yield f"{name}={value[:40]} is neither true nor false", name
    known = (*_PLACES, *_OPTIONS[kind])
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        yield f"a {kind} mount has no option {name[:40]!r}", hint
    elif name in _VALUES and not _VALUES[name][0].fullmatch(value):
        yield f"{name}={value[:40]} is none", _VALUES[name][1]
    elif name == "sharing" and value not in _SHARING:
        yield f"sharing={value[:40]} is not known", f"one of {', '.join(_SHARING)}"


def _whole(
    kind: str, options: Mapping[str, str], instruction: Instruction
) -> Iterator[tuple[str, str]]:
    target = options.get("target", "")
    if kind == "secret":
        if options.get("env") and instruction.array is not None:
            yield (
                "only a shell can have a secret in a variable here",
                "write the command without [ ], or read the secret's file",
            )
        if not any(options.get(name) for name in ("id", "source", "target", "env")):
            yield "a mount of no secret", "--mount=type=secret,id=NAME"
        if options.get("id") and options.get("source"):
            yield "a secret has an id or a source, which mean the same", "id alone"
    elif kind != "ssh" and target.startswith("/") and not posixpath.normpath(target).strip("/"):
        yield f"a {kind} mount can't take the place of /", "target=/x"


def without_zeros(instruction: Instruction) -> Instruction:
    """Leave out options that only say the default, 0."""
    kept = (each for each in instruction.flags if not _is_zero(each))
    return replace(instruction, flags=tuple(kept))


def unfit_healthcheck(instruction: Instruction) -> tuple[str, str] | None:
    """Give what is wrong with a HEALTHCHECK and a way out; None where nothing is."""
    for flag in instruction.flags:
        name, _, value = flag.removeprefix("--").partition("=")
        if not value:
            continue
        if name == "retries":
            if not re.fullmatch(r"\+?\d+", value, re.ASCII) or int(value) > _MOST:
                return f"--retries={value[:40]} is no number of retries", "--retries=3"
        elif not _DURATION.fullmatch(value) or not (
            _seconds(value) == 0 or _seconds(value) >= _SHORTEST
        ):
            return f"--{name[:40]}={value[:40]} is no time of 1ms or more", f"--{name}=30s"
    words = instruction.words
    kind = words[0].upper() if words else ""
    if kind not in ("CMD", "NONE"):
        return f"HEALTHCHECK takes CMD or NONE, not {kind[:40]}", "HEALTHCHECK CMD COMMAND"
    if (kind == "CMD") != (len(words) > 1):
        wrong = "NONE takes no command" if kind == "NONE" else "CMD needs a command"
        return f"HEALTHCHECK {wrong}", "HEALTHCHECK CMD COMMAND"
    if kind == "CMD" and instruction.text[len(words[0]) :].lstrip().startswith("["):
        return _unfit_list(replace(instruction, text=instruction.text[len(words[0]) :].lstrip()))
    return None


def _unfit_list(command: Instruction) -> tuple[str, str] | None:
    if command.is_no_list_of_strings:
        return "HEALTHCHECK: a list holds strings only", 'each in double quotes: ["a", "1"]'
    return (
        ("HEALTHCHECK CMD needs a command", "HEALTHCHECK CMD COMMAND")
        if not (command.array or command.array is None)
        else None
    )


def _is_zero(flag: str) -> bool:
    value = flag.partition("=")[2]
    if not value:
        return True
    known = _DURATION.fullmatch(value) or re.fullmatch(r"\+?\d+", value, re.ASCII)
    return bool(known) and _seconds(value) == 0


def _seconds(text: str) -> float:
    parts = re.findall(_PART, text)
    sign = -1 if text.startswith("-") else 1
    if not parts:
        return float(text)
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
