"""What is done when it is first needed: modules are imported, dataclasses are completed.

A command's help must not wait for what the command does, nor a release that finds everything
published for what builds.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Later(ModuleType):
    """Stands for a module; import_module locks, so that threads may ask at once."""

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(import_module(self.__name__), name, value)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """Give the module's own names: whoever changes one for a while looks for it there."""
        return vars(import_module(self.__name__))


def late_modules(package: str) -> Callable[[str], ModuleType]:
    """Give a package's `__getattr__` (PEP 562), which gives its modules late.

    `from podbuild.commands import check` then imports nothing before `check.check_project` is
    asked for; `from podbuild.commands.check import check_project` imports at once. Type checkers
    see no difference. Raises AttributeError for what is no module.
    """

    def module(name: str) -> ModuleType:
        if name.startswith("_") or find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return _Later(f"{package}.{name}")

    return module


_completing = threading.RLock()


class _LateFields:
    """Stands for `__dataclass_fields__`, by which `dataclasses` knows a dataclass."""

    def __init__(self, owner: type[Any], options: dict[str, Any]) -> None:
        self.owner = owner
        self.options = options

    def __get__(self, _instance: object, _owner: type | None = None) -> Any:
        self.complete()
        return self.owner.__dataclass_fields__

    def complete(self) -> None:
        """Let `dataclasses` do its work; `__init__` comes last, as others may be calling it."""
        with _completing:
            if vars(self.owner)["__dataclass_fields__"] is self:
                owner: Any = dataclasses.dataclass(init=False, **self.options)(self.owner)
                same = type(owner)(owner.__name__, (owner,), {"__doc__": ""})
                only = {"eq": False, "order": False, "repr": False, "match_args": False}
                owner.__init__ = dataclasses.dataclass(**{**self.options, **only})(same).__init__


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414  # handed on
else:

    def dataclass(cls: type[Any] | None = None, /, **options: Any) -> Any:
        """Give a dataclass whose methods are made (0.5 ms) when it first has an instance.

        In all else it is one of `dataclasses`, without `slots`: those need another class.
        """
        if cls is None:
            return lambda decorated: dataclass(decorated, **options)
        late = _LateFields(cls, options)

        def __init__(self: Any, *args: Any, **named: Any) -> None:  # noqa: N807
            late.complete()
            cls.__init__(self, *args, **named)

        cls.__init__ = __init__
        cls.__dataclass_fields__ = late
        return cls
