"""HEALTHCHECK: what its options may say, and those that engines refuse though they say nothing."""

from __future__ import annotations

import re
from dataclasses import replace

from podbuild.build.inputs.instructions import Instruction

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)"
_DURATION = re.compile(rf"[+-]?(?:0|(?:{_PART})+)", re.ASCII)
_MOST = 2**31 - 1  # retries
_SHORTEST = 1e-3  # seconds; zero stands for the default


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
