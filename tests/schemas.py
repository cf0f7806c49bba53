"""Judge what is written for other programs by their schemas, which lie in tests/data/schemas."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]

FOLDER = Path(__file__).parent / "data" / "schemas"


def problems(value: object, name: str) -> list[str]:
    """Give what is wrong with a value by a schema of that name."""
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    return [error.message for error in kind(schema).iter_errors(value)]
