"""Tables and lines in terminals of 80 and 120 columns: broken at spaces, never inside a word."""

from __future__ import annotations

import pytest

from podbuild.system.console.text import fold, table

HEADER = ("registry", "repository", "size", "trouble")
ROWS = [
    ("here, mirror", "oci:dist/registry/web, oci:dist/mirror/web", "35.2 MB", ""),
    ("hub", "docker.io/acme/worker", "1 B", "failed (optional): " + "503 for two minutes " * 4),
    ("a", "名前/" + "画像" * 10, "9 kB", "wide signs take two columns each"),
]


def words(lines: tuple[str, ...]) -> list[str]:
    return sorted(word for line in lines for word in line.split())


@pytest.mark.parametrize("width", [200, 120, 80, 60])
def test_no_table_is_wider_than_the_terminal_or_breaks_a_word(width: int) -> None:
    whole = table(HEADER, ROWS, right=("size",))
    fitted = table(HEADER, ROWS, right=("size",), width=width)
    assert width < 80 or words(fitted) == words(whole)  # stacked, the heading goes
    wide = {line: sum(2 if ord(sign) > 0x2E80 else 1 for sign in line) for line in fitted}
    assert max(wide.values()) <= width


def test_columns_that_fit_stay_beside_each_other() -> None:
    rows = [("web", "a reason of words"), ("worker", "none")]
    assert table(("image", "why"), rows, width=18) == (
        "image   why",
        "web     a reason",
        "        of words",
        "worker  none",
    )


def test_where_words_alone_are_too_long_the_first_stands_above() -> None:
    rows = [("registry.example.com/a", "1.2.3"), ("registry.example.com/a", "latest-of-all")]
    assert table(("where", "tag"), rows, width=30) == (
        "registry.example.com/a",
        "  1.2.3",
        "  latest-of-all",
    )


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("a b", None, ("a b",)),
        ("a b", 3, ("a b",)),
        ("  a bb ccc dddd", 8, ("  a bb", "    ccc", "    dddd")),
        ("longer-than-all b", 8, ("longer-than-all", "  b")),
    ],
)
def test_lines_are_folded_at_spaces(text: str, width: int | None, lines: tuple[str, ...]) -> None:
    assert fold(text, width) == lines
