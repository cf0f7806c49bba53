"""The layers of the package and who may name what, read from the source by ast."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import podbuild

PACKAGE = Path(podbuild.__file__).parent

# Each may import only from those above it. A folder is one name here.
LAYERS = (
    {"errors"},
    {"atomic", "cancel", "folders", "leases", "measure", "model", "retry", "schedule"}
    | {"storage_probe", "namespace_init", "versions"},
    {
        "caches",
        "containerfile",
        "context",
        "emulation",
        "journal",
        "labels",
        "lock",
        "records",
        "redact",
        "run",
    }
    | {"template"},
    {"config", "idmap", "tags", "toolchain", "ui"},
    {"git", "namespace", "store"},
    {"plan", "retention", "storage_driver"},
    {"build_agents", "build_secrets", "check", "initial", "inputs"},
    {"engine"},
    {"doctor", "steps"},
    {"report", "services"},
    {"planning", "superseded"},
    {"cleaning", "durations", "known", "layer_cache", "relocate", "recorder"},
    {"cache_retention", "handover", "equipment"},
    {"loading", "making", "promotion", "pruning", "rollback", "tag_check"},
    {"release"},
    {"stages"},
    {"cli"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# Who may import what from outside; a name that is not here is free.
OWNERS = {
    "click": {"cli"},
    "multiprocessing": set[str](),
    "requests": {"store", "toolchain"},
    "rich": {"ui"},
    "sh": {"run"},
    "subprocess": {"run"},
    "urllib3": {"store", "toolchain"},
}


def module_name(path: Path) -> str:
    """Give the dotted name below podbuild: `store.layout`; a package's own file has its name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def imported(tree: ast.AST) -> Iterator[str]:
    """Give every imported module, also those inside functions and TYPE_CHECKING."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                members = [f"{module}.{alias.name}" for alias in names]
                inner = [name for name in members if name.removeprefix("podbuild.") in SOURCES]
                yield from inner if module.startswith("podbuild") and inner else [module]
            case _:
                pass


def own(tree: ast.AST) -> set[str]:
    """Give the modules of podbuild that a module imports."""
    return {
        name.removeprefix("podbuild.") for name in imported(tree) if name.startswith("podbuild.")
    }


def unit(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


@pytest.mark.parametrize("name", [name for name in SOURCES if name])
def test_a_module_imports_only_from_the_layers_above_it(name: str) -> None:
    assert unit(name) in RANK, f"{name}: say in LAYERS where it belongs"
    wrong = {
        other
        for other in own(TREES[name])
        if unit(other) != unit(name) and RANK[unit(other)] >= RANK[unit(name)]
    }
    assert not wrong, f"{name} must not import {sorted(wrong)}"


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: own(tree) - {name} for name, tree in TREES.items() if name}
    tuple(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", [name for name in SOURCES if name])
def test_only_its_owners_import_a_library(name: str) -> None:
    named = {unit(other) for other in imported(TREES[name])}
    wrong = {library for library in named & OWNERS.keys() if unit(name) not in OWNERS[library]}
    assert not wrong, f"{name} must not import {sorted(wrong)}"


def calls(tree: ast.AST) -> Iterator[str]:
    """Give what is called, as `module.name` or `name`; `os.environ` counts when it is named."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=attribute)):
                yield f"{module}.{attribute}"
            case ast.Attribute(value=ast.Name(id="os"), attr="environ"):
                yield "os.environ"
            case ast.Call(func=ast.Name(id=name)):
                yield name
            case _:
                pass


# These run as programs of their own inside a namespace and import nothing of podbuild's.
INSIDE = {"measure", "namespace_init", "storage_probe"}

# What only some may call, and who.
CALLS = {
    "os.environ": {"cli"},
    "os.execv": INSIDE,
    "os.execve": INSIDE,
    "os.fork": INSIDE,
    "os.getenv": set[str](),
    "os.posix_spawn": set[str](),
    "os.system": set[str](),
    "print": INSIDE,
    "sys.exit": INSIDE,
    "time.sleep": {"cancel"},
}


@pytest.mark.parametrize("name", list(SOURCES))
def test_only_its_owners_print_sleep_end_or_read_the_environment(name: str) -> None:
    wrong = {call for call in calls(TREES[name]) if unit(name) not in CALLS.get(call, {unit(name)})}
    assert not wrong, f"{name or 'podbuild'} must not call {sorted(wrong)}"
