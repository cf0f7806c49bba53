"""JSON is read in one way: a value, or one clear error; records that can't be read are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from podbuild.system.records import JSONValue, Records, json_in, json_of, parse_json

NONE = [
    b"",
    b"{",
    b'{"a": }',
    b"\xff\xfe\xff",
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b"9" * 5_000,
    b'"\x00"',
]


@pytest.mark.parametrize("data", NONE, ids=lambda data: repr(data[:12]))
def test_what_is_no_json_is_one_error_or_nothing(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "record"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)
    assert json_of(data) is None
    assert json_in(file) is None
    assert Records(tmp_path).read("record") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1, "a": 2}', {"a": 2}),
        (r'"\udcff"', "\udcff"),  # the name of a file that is no UTF-8
        ("1e2", 100.0),
        ("null", None),
    ],
)
def test_a_value_is_given(text: str, value: JSONValue) -> None:
    assert parse_json(text) == parse_json(text.encode()) == value


def test_a_file_that_is_none_records_nothing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("missing", "loop", ".", "missing/below"):
        assert json_in(tmp_path / name) is None


def test_a_record_is_read_back_and_what_can_t_be_written_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path / "of-a-project")
    records.write("times", {"a": 1.5})
    assert records.read("times") == {"a": 1.5}
    (tmp_path / "file").touch()
    blocked = Records(tmp_path / "file")
    blocked.write("times", {"a": 1.5})
    assert blocked.read("times") == {}
