"""Modules that are imported when something of them is asked for, and not before.

A command's help must not wait for what the command does, nor a release that finds everything
published for what builds. Imports stand at the top of a file all the same: in a package that has
this `__getattr__` (PEP 562), `from podbuild.commands import check` is late and `check.check_all`
imports it; `from podbuild.commands.check import check_all` is at once. Type checkers see the same.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module; import_module locks, so that threads may ask at once."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(import_module(self.__name__), name, value)


def late_modules(package: str) -> Callable[[str], ModuleType]:
    """Give a package's `__getattr__`, which gives its modules late; AttributeError for no such."""

    def module(name: str) -> ModuleType:
        if name.startswith("_") or find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return _Later(f"{package}.{name}")

    return module
