"""The rooms of the package and who may name what, read from the source by ast."""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import podbuild
from podbuild.config.output import OUTPUT_NAMES, ReportFile

PACKAGE = Path(podbuild.__file__).parent

# A room imports itself and those before its own line; two on one line don't know each other.
FLOORS = (
    {"errors"},
    {"semver"},
    {"system"},
    {"oci"},
    {"config"},
    {"workspace"},
    {"plan"},
    {"build", "publish"},
    {"report"},
    {"commands"},
    {"cli"},
)
FLOOR = {name: floor for floor, rooms in enumerate(FLOORS) for name in rooms}

# These run as programs of their own inside a namespace and import nothing of podbuild's.
PROGRAMS = "build.engine.programs"

# Who may import what from outside; a library that is not here is free.
OWNERS = {
    "click": ("cli",),
    "cryptography": ("oci.keys",),
    "multiprocessing": (),
    "requests": ("oci.transport",),
    "rich": ("system.console",),
    "sh": ("system.process",),
    "subprocess": ("system.process", "system.terminal"),
    "urllib3": ("oci.transport",),
}

# What only some may call, and who: each has one way, which is safe from what others wrote.
CALLS = {
    "Path.rename": (),
    "Path.replace": ("system.files",),
    "fcntl.flock": ("system.locks",),
    "json.JSONDecoder": ("build.inputs.instructions",),  # what begins a line
    "json.load": (PROGRAMS,),
    "json.loads": (PROGRAMS, "system.records"),
    "os.environ": ("cli",),
    "os.execv": (PROGRAMS,),
    "os.execve": (PROGRAMS,),
    "os.fork": (PROGRAMS,),
    "os.link": ("system.files",),
    "os.rename": (),
    "os.replace": (),
    "os.getenv": (),
    "os.posix_spawn": (),
    "os.system": (),
    "print": (PROGRAMS,),
    "sys.exit": (PROGRAMS, "__main__"),
    "time.sleep": ("system.cancel",),
}


def module_name(path: Path) -> str:
    """Give the dotted name below podbuild: `oci.layout`; a package's own file has its name."""
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


def room(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def is_in(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def test_rooms_are_few_and_each_has_its_floor() -> None:
    entries = {room(name) for name in SOURCES if name} - {"__main__"}
    assert entries == FLOOR.keys()
    assert len(entries) <= 12


def test_a_room_imports_only_from_the_floors_below() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in TREES.items()
        if name and name != "__main__"
        for other in sorted(own(tree))
        if room(other) != room(name) and FLOOR[room(other)] >= FLOOR[room(name)]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: own(tree) - {name} for name, tree in TREES.items() if name}
    tuple(graphlib.TopologicalSorter(graph).static_order())


# Where a package or what it needs can't be late: these import inside a function.
INSIDE = {
    "__main__": "cli",
    "cli.session": "workspace",
    "cli": "cli.session",
    "system.console": "system.console.live",
}


def test_own_modules_are_imported_at_the_top_of_a_file() -> None:
    """What is needed seldom is imported late by its package (system/later.py)."""
    wrong = [
        f"{name} imports {other} inside {node.name}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for other in sorted(own(node))
        if INSIDE.get(name) != other
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_taken_from_a_module_of_ours_is_there() -> None:
    """A package that imports late answers for any name, so that no type checker misses one."""
    wrong = []
    for name, tree in TREES.items():
        bound: dict[str, ModuleType] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("podbuild"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    value = getattr(module, alias.name, None)
                    if value is None and not find_spec(f"{node.module}.{alias.name}"):
                        wrong.append(f"{name}: {node.module} has no {alias.name}")
                    if isinstance(value, ModuleType):
                        bound[alias.asname or alias.name] = value
        wrong += [f"{name}: nothing is {each}" for each in missing(tree, bound)]
    assert not wrong, "\n".join(wrong)


def missing(tree: ast.AST, bound: Mapping[str, ModuleType]) -> Iterator[str]:
    """Give what is asked of modules, by the names that they have in a file, and is not there."""
    local = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        first, *rest = ast.unparse(node).split(".") if is_path(node) else ("",)
        value: object = None if first in local else bound.get(first)
        for each in rest:
            if isinstance(value, ModuleType):
                value = getattr(value, each, None)
                if value is None:
                    yield ast.unparse(node)


def is_path(node: ast.AST) -> bool:
    """Tell whether this is a name, or attributes of one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)


def test_programs_that_run_alone_import_nothing_of_ours() -> None:
    wrong = {name: own(tree) for name, tree in TREES.items() if is_in(name, (PROGRAMS,))}
    assert not any(wrong.values()), wrong


def test_a_package_says_what_it_is_and_hands_nothing_on() -> None:
    wrong = []
    for name, path in SOURCES.items():
        if path.name != "__init__.py" or not name:
            continue
        used = {node.id for node in ast.walk(TREES[name]) if isinstance(node, ast.Name)}
        for node in TREES[name].body:
            if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                names = {alias.asname or alias.name for alias in node.names}
                wrong += [f"{name} hands on {each}" for each in sorted(names - used)]
        if not ast.get_docstring(TREES[name]):
            wrong.append(f"{name} does not say what it is")
    assert not wrong, "\n".join(wrong)


def test_only_its_owners_import_a_library() -> None:
    wrong = [
        f"{name} imports {library}"
        for name, tree in TREES.items()
        for library in sorted({room(other) for other in imported(tree)} & OWNERS.keys())
        if not is_in(name, OWNERS[library])
    ]
    assert not wrong, "\n".join(wrong)


def calls(tree: ast.AST) -> Iterator[str]:
    """Give what is called, as `module.name` or `name`; `os.environ` counts when it is named.

    What has one argument and is called `replace` is a path's, not a text's.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="rename" | "replace" as name), args=[_]) if (
                not node.keywords
            ):
                yield f"Path.{name}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=attribute)):
                yield f"{module}.{attribute}"
            case ast.Attribute(value=ast.Name(id="os"), attr="environ"):
                yield "os.environ"
            case ast.Call(func=ast.Name(id=name)):
                yield name
            case _:
                pass


def test_each_call_stands_with_its_owners_alone() -> None:
    wrong = [
        f"{name} calls {call}"
        for name, tree in TREES.items()
        for call in sorted(set(calls(tree)) & CALLS.keys())
        if not is_in(name, CALLS[call])
    ]
    assert not wrong, "\n".join(wrong)


def twice(kept: Mapping[str, list[str]]) -> list[str]:
    return [f"{name}: {', '.join(where)}" for name, where in kept.items() if len(where) > 1]


def test_a_class_name_exists_once() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(name)
    assert not twice(found), "\n".join(twice(found))


def test_a_public_function_s_name_exists_once_in_a_room() -> None:
    found: dict[str, list[str]] = defaultdict(list)
    for name, tree in TREES.items():
        if is_in(name, (PROGRAMS, "cli")):  # each has its `main`, or its `command`
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                found[f"{room(name)}: {node.name}"].append(name)
    assert not twice(found), "\n".join(twice(found))


# Short files are free: what is loaded late, or by a program alone, is small on purpose.
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40


def test_files_and_functions_are_not_long() -> None:
    wrong = [
        f"{name} has {lines} lines"
        for name, path in SOURCES.items()
        if (lines := path.read_text().count("\n")) > LINES_OF_A_FILE
    ]
    wrong += [
        f"{name}: {node.name} has {lines} lines"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_A_FUNCTION
    ]
    assert not wrong, "\n".join(wrong)


# What only building needs; a release that finds its result published must not load it.
BUILDING = (
    "build.cache",
    "build.engine.session",
    "build.inputs",
    "build.job",
    "build.jobs",
    "build.session",
    "build.staging.http",
    "build.toolchain.find",
    "commands.cleanup",
    "oci.client",  # a folder needs none
)


@pytest.mark.integration  # it starts a process
def test_a_release_with_nothing_to_build_loads_little() -> None:
    program = (
        "import sys, podbuild.cli.release, podbuild.commands.release\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] == 'podbuild'))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout.split()
    own = [name.removeprefix("podbuild.") for name in loaded if name != "podbuild"]
    modules = [name for name in own if SOURCES[name].name != "__init__.py"]
    assert not [name for name in modules if is_in(name, BUILDING)]
    assert len(loaded) <= 125


def test_every_report_has_its_name_among_what_is_podbuild_s_own() -> None:
    assert {name.partition("/")[0] for name in ReportFile} <= {*OUTPUT_NAMES}
