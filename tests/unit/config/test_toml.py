"""Lines of keys in TOML."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbuild.config.toml import line_of, read_config
from podbuild.errors import ConfigError

TEXT = '''# a comment
[project]
name = "x"

[images.web]
platforms = [
  "linux/amd64",
  "bad",
]
text = """
[no]
a = 1
"""
secrets = [{ id = "a" }, { id = "b" }]
[[retention.prune]]
match = "a"
[[retention.prune]]
match = "b"
keep = -1
[images."a.b"]
x.y = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("project",), 2),
        (("project", "name"), 3),
        (("images", "web", "platforms", 1), 6),
        (("images", "web", "text"), 10),
        (("images", "web", "secrets", 1, "id"), 14),
        (("retention", "prune", 0), 15),
        (("retention", "prune", 1, "match"), 18),
        (("retention", "prune", 1, "keep"), 19),
        (("images", "a.b", "x", "y"), 21),
        (("images", "web", "missing"), 5),
        (("missing",), 1),
        ((), 1),
    ],
)
def test_the_line_of_the_statement_is_given(path: tuple[str | int, ...], line: int) -> None:
    assert line_of(TEXT, path) == line


def test_windows_line_ends_count_the_same() -> None:
    assert line_of(TEXT.replace("\n", "\r\n"), ("retention", "prune", 1, "keep")) == 19


names = st.text("abcd", min_size=1, max_size=2)
values = st.sampled_from(["1", '"x"', "[\n 1,\n\n 2\n]", '"""\n[t]\nk = 1\n"""', "{ q = 1 }"])


@given(st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=5))
def test_every_key_is_found_where_it_was_written(tables: dict[str, dict[str, str]]) -> None:
    lines: list[str] = []
    where: dict[tuple[str, str], int] = {}
    for table, keys in tables.items():
        lines += ["", f"[{table}]  # comment"]
        for key, value in keys.items():
            where[table, key] = len(lines) + 1
            lines += f"{key} = {value}".split("\n")
    text = "\n".join(lines)
    tomllib.loads(text)
    assert {path: line_of(text, path) for path in where} == where


def test_a_configuration_that_is_there_is_not_to_be_written_anew(tmp_path: Path) -> None:
    (tmp_path / "podbuild.toml").mkdir()
    with pytest.raises(ConfigError) as unreadable:
        read_config(tmp_path / "podbuild.toml")
    assert "owner" in unreadable.value.hint
    with pytest.raises(ConfigError) as absent:
        read_config(tmp_path / "other.toml")
    assert absent.value.hint == "`podbuild init` writes one"
