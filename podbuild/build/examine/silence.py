"""Rules that are silenced: in the configuration, or in a Containerfile above an instruction.

`# podbuild: ignore=RULE,RULE` stands for the instruction below it, wherever that moves to.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from podbuild.build.inputs.instructions import Instruction, lines_of
from podbuild.build.inputs.lint import Finding, Level
from podbuild.config.choices import Rule
from podbuild.config.model import Config
from podbuild.config.toml import line_of, read_config, shown

_COMMENT = re.compile(r"\s*#\s*podbuild:\s*ignore\s*=\s*(?P<rules>[^#]*?)\s*(?:#.*)?")


@dataclass(frozen=True, kw_only=True)
class Ignore:
    """One rule that is silent, and where that is written.

    For one image, or for all where `image` is empty; for one instruction, or for all where
    `target` is None.
    """

    rule: str
    file: str
    line: int | None
    image: str = ""
    target: int | None = None  # the line of the instruction, in the same file

    def silences(self, finding: Finding) -> bool:
        """Tell whether a finding is meant."""
        if self.rule != finding.rule or self.image not in ("", finding.image):
            return False
        places = ((finding.file, finding.line), *finding.related)
        return self.target is None or (self.file, self.target) in places


def project_ignores(config: Config) -> Iterator[Ignore]:
    """Give what `[audit] ignore` says: RULE, or IMAGE:RULE."""
    if not config.audit.ignore:
        return
    line = line_of(read_config(config.path), ("audit", "ignore"))
    for text in config.audit.ignore:
        image, _, rule = text.rpartition(":")
        yield Ignore(rule=rule, image=image, file=shown(config.path), line=line)


def written_ignores(text: str, instructions: Sequence[Instruction], file: str) -> Iterator[Ignore]:
    """Give what comments right above instructions say."""
    lines = lines_of(text)
    for instruction in instructions:
        at = instruction.line - 2  # the line above, counted from 0
        while at >= 0 and lines[at].lstrip().startswith("#"):
            found = _COMMENT.fullmatch(lines[at].rstrip("\r"))
            for rule in re.split(r"[,\s]+", found["rules"]) if found else ():
                if rule:
                    yield Ignore(rule=rule, file=file, line=at + 1, target=instruction.line)
            at -= 1


def silenced(
    findings: Iterable[Finding], ignores: Iterable[Ignore]
) -> tuple[tuple[Finding, ...], tuple[Ignore, ...]]:
    """Give the findings that are left, and the ignores that silenced nothing."""
    known = tuple(dict.fromkeys(ignores))
    used: set[Ignore] = set()
    left = []
    for finding in findings:
        meant = [each for each in known if each.silences(finding)]
        used.update(meant)
        if not meant:
            left.append(finding)
    return tuple(left), tuple(each for each in known if each not in used)


def useless(ignores: Iterable[Ignore], judged: Collection[str]) -> Iterator[Finding]:
    """Give a note for each ignore that silenced nothing, of rules that were judged."""
    known = [rule.value for rule in Rule]
    for each in ignores:
        if each.rule not in known:
            near = difflib.get_close_matches(each.rule, known, n=1)
            yield Finding(
                level=Level.WARNING,
                file=each.file,
                line=each.line,
                message=f"no rule is named {each.rule[:40]!r}",
                hint=f"did you mean {near[0]}?" if near else "docs/audit.md names them",
            )
        elif each.rule in judged:
            who = f"{each.image}:" if each.image else ""
            yield Finding(
                level=Level.NOTE,
                file=each.file,
                line=each.line,
                message=f"nothing is found that ignoring {who}{each.rule} would silence",
                hint="take it out",
            )
