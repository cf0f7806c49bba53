"""Judge what podbuild gives by what it promises: the schemas, with undeclared keys refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]

from podbuild.report.contract import promised

FILES = {
    "artifacts.json": "artifacts",
    "images.lock.json": "images-lock",
    "metadata.json": "metadata",
    "metrics.json": "metrics",
    "plan.json": "plan-file",
}


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Give the strict judge of one answer."""
    found = next(each for each in promised() if each.name == name)
    schema = found.schema(strict=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def wrong(name: str, value: object) -> list[str]:
    """Give what of a value is not as it is promised."""
    return [f"{each.json_path}: {each.message}" for each in validator(name).iter_errors(value)]


def wrong_files(folder: Path) -> dict[str, list[str]]:
    """Give the files of an output folder that are not as promised, or not there."""
    found = {}
    for file, name in FILES.items():
        problems = wrong(name, json.loads((folder / file).read_text()))
        if problems:
            found[file] = problems
    return found
