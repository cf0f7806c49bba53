from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from podbuild.system.later import dataclass, late_modules


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a package's name that has late modules; one of them is `slow`."""
    folder = tmp_path / "late_package"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from podbuild.system.later import late_modules\n__getattr__ = late_modules(__name__)\n"
    )
    (folder / "slow.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("late_package", "late_package.slow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "late_package"


def test_a_module_is_imported_when_something_of_it_is_asked_for(package: str) -> None:
    slow = __import__(package, fromlist=["slow"]).slow
    assert f"{package}.slow" not in sys.modules
    assert slow.answer == 42
    assert sys.modules[f"{package}.slow"].answer == 42


def test_what_is_set_on_it_is_set_on_the_module(package: str) -> None:
    __import__(package, fromlist=["slow"]).slow.answer = 43
    assert sys.modules[f"{package}.slow"].answer == 43


def test_what_is_set_for_a_while_is_as_before_afterwards(package: str) -> None:
    late = __import__(package, fromlist=["slow"]).slow
    with pytest.MonkeyPatch.context() as while_it_lasts:
        while_it_lasts.setattr(late, "answer", 43)
        assert sys.modules[f"{package}.slow"].answer == 43
    assert sys.modules[f"{package}.slow"].answer == late.answer == 42


def test_what_is_no_module_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        late_modules("podbuild.commands")("nonsense")


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where something is."""

    x: int
    y: int = 0
    marks: tuple[str, ...] = field(default_factory=lambda: ("none",), compare=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError(self.x)


def late_class() -> type[Point]:
    """Give a class of its own that has had no instance."""
    return dataclass(frozen=True, order=True)(
        type("Late", (), {"__annotations__": {"x": int, "y": int}, "y": 0, "__doc__": "It."})
    )


def test_a_late_dataclass_is_one_in_all() -> None:
    point = Point(x=1)
    assert point == replace(point, marks=()) != Point(x=2)
    assert hash(point) == hash(Point(x=1))
    assert repr(point) == "Point(x=1, y=0, marks=('none',))"
    assert asdict(point) == {"x": 1, "y": 0, "marks": ("none",)}
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing 1 required keyword"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="-1"):
        Point(x=-1)


def test_its_fields_are_known_before_it_has_an_instance() -> None:
    found = late_class()
    assert is_dataclass(found)
    assert [each.name for each in fields(found)] == ["x", "y"]
    assert found(1) < found(1, 2)  # type: ignore[operator, call-arg]


def test_a_class_below_it_has_its_fields() -> None:
    above = late_class()

    @dataclass(frozen=True, order=True)
    class Below(above):  # type: ignore[valid-type, misc]
        z: int = 3

    assert repr(Below(1)).endswith("Below(x=1, y=0, z=3)")
    plain = type("Plain", (late_class(),), {})
    assert plain(1, 2).y == 2


def test_threads_may_make_the_first_instance_at_once() -> None:
    for _ in range(50):
        found: Any = late_class()
        begin = threading.Barrier(4)

        def make(_number: int, found: Any = found, begin: threading.Barrier = begin) -> object:
            begin.wait(60)
            return found(1, y=2)

        with ThreadPoolExecutor(4) as pool:
            assert {*pool.map(make, range(4))} == {found(1, 2)}
