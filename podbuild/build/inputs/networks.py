"""The network that RUN sees: chroot isolation shows it the engine's own.

Where no RUN of a build is to see any, the engine itself is run without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from podbuild.build.inputs.containerfile import Containerfile
from podbuild.build.inputs.instructions import REMOTE, Instruction

_APART = ("none", "private")  # networks that are not the machine's


def needs_no_network(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], network: str
) -> bool:
    """Tell whether every RUN is to see no network, and there is one."""
    seen = {_seen(each, network) for each, _ in _walk(parsed, target, variables, "RUN")}
    return seen == {"none"}


def refused_networks(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], network: str
) -> Iterator[tuple[Instruction, str, str]]:
    """Give what chroot isolation can't do: the instruction, why, and a way out."""
    alone = needs_no_network(parsed, target, variables, network)
    for each, _ in _walk(parsed, target, variables, "RUN"):
        seen = _seen(each, network)
        if seen in _APART and not alone:
            yield (
                each,
                "chroot isolation shows RUN the machine's network all the same"
                + (", as another one here sees it" if seen == "none" else ""),
                f'isolation = "oci", or leave network {seen} out',
            )
    for each, known in _walk(parsed, target, variables, "ADD") if alone else ():
        sources = (each.array or each.words)[:-1]
        if any(REMOTE.match(each.expand(source, known)) for source in sources):
            yield (
                each,
                "nothing can be fetched where no RUN sees a network, under chroot isolation",
                'isolation = "oci", or an image of its own for what is fetched',
            )


def _walk(
    parsed: Containerfile, target: str | None, variables: Mapping[str, str], word: str
) -> Iterator[tuple[Instruction, Mapping[str, str]]]:
    for stage in parsed.needed(target, variables):
        yield from (found for found in parsed.walk(stage, variables) if found[0].word == word)


def _seen(instruction: Instruction, network: str) -> str:
    flag = instruction.flag("network")
    return flag if flag in ("none", "host") else network
