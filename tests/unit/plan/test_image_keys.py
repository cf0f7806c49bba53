"""Every key of an image decides what is built and what is adopted, or says here why not."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from podbuild.build.inputs import hash as hashing
from podbuild.build.inputs.recipe import Recipe
from podbuild.config.image import Image
from podbuild.plan import labels

HOW = "how it is built, not what is in it"
WHERE = "where it goes, not what is in it"

NOT_IN_THE_FINGERPRINT = {
    "annotations": "one of the texts that come with placeholders replaced",
    "budget": "judges what was made",
    "build_args": "one of the texts that come with placeholders replaced",
    "healthcheck": "judges what was made",
    "isolation": HOW,
    "matrix": "its values are put in before anything is read",
    "labels": "one of the texts that come with placeholders replaced",
    "name": WHERE,
    "platforms": "compared apart",
    "publish": WHERE,
    "pull": HOW,
    "registries": WHERE,
    "tags": WHERE,
    "tests": "judges what was made",
    "timeout": HOW,
}

NOT_IN_THE_HASH = {
    "files": "`wanted` is",
    "selecting": "patterns of the Containerfile, which is hashed; what they leave is in `wanted`",
    "isolation": HOW,
    "uncached": HOW,
    "own": "what podbuild leaves out, which the contents of the context lack",
    "pull": HOW,
    "timeout": HOW,
}


def read_of(file: str, function: str, name: str) -> set[str]:
    """Give the attributes that a function reads of one of its parameters."""
    tree = ast.parse(Path(file).read_text())
    bodies = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and (not function or node.name == function)
    ]
    return {
        node.attr
        for body in bodies
        for node in ast.walk(body)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }


@pytest.mark.parametrize(
    ("kind", "file", "function", "name", "left"),
    [
        (Image, str(labels.__file__), "_settings", "image", NOT_IN_THE_FINGERPRINT),
        (Recipe, str(hashing.__file__), "", "recipe", NOT_IN_THE_HASH),
    ],
)
def test_every_key_counts_or_has_a_reason(
    kind: type[Image | Recipe], file: str, function: str, name: str, left: dict[str, str]
) -> None:
    keys = {field.name for field in fields(kind)}
    assert keys - read_of(file, function, name) == left.keys()
