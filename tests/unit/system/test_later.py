from __future__ import annotations

import sys
from pathlib import Path

import pytest

from podbuild.system.later import late_modules


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


def test_what_is_no_module_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        late_modules("podbuild.commands")("nonsense")
