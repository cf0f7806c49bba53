"""Symbolic modes; what BuildKit (Docker 28.5.2) made of them stands beside each case."""

from __future__ import annotations

import pytest

from podbuild.build.inputs.copying import parse_mode

START = ((0o644, False), (0o751, False), (0o755, False), (0o2775, True), (0o664, False))
MADE = """\
+x 755 751 755 2775 775
+w 666 773 777 2777 666
-w 444 551 555 2555 444
=r 444 444 444 444 444
= 0 0 0 0 0
u+s 4644 4751 4755 6775 4664
g+s 2644 2751 2755 2775 2664
+s 6644 6751 6755 6775 6664
+t 1644 1751 1755 3775 1664
o+t 644 751 755 2775 664
u+t 1644 1751 1755 3775 1664
+X 644 751 755 2775 664
u=g 444 551 555 2775 664
g=u 664 771 775 2775 664
go=u 666 777 777 2777 666
a=X 0 111 111 111 0
u+x,g-w 744 751 755 2755 744
u+x+w 744 751 755 2775 764
u+x-r 344 351 355 2375 364
ug=rw,o= 660 660 660 660 660
a=rx 555 555 555 555 555
u=rwX,go=rX 644 755 755 755 644
o=g-r 640 751 751 2773 662
a-rwx,u+r 400 400 400 2400 400
u=rwxs 4744 4751 4755 6775 4764
g+wX 664 771 775 2775 664
-x 644 640 644 2664 664
u-s 644 751 755 2775 664
a=rwxt 1777 1777 1777 1777 1777
=rwX 666 777 777 777 666
a=u 666 777 777 2777 666
u=o,g=u 444 111 555 2555 444
u++x 744 751 755 2775 764
"""


@pytest.mark.parametrize("line", MADE.splitlines())
def test_a_mode_changes_what_buildkit_changes(line: str) -> None:
    text, *made = line.split()
    mode = parse_mode(text)
    assert mode
    assert [f"{mode.apply(*each[:1], is_folder=each[1]):o}" for each in START] == made


@pytest.mark.parametrize(
    "text", ["x", "u", "", "u+q", "ugo", ",u+x", "u+x,", "u=rw,g", "+755", "u=gw"]
)
def test_other_words_are_none(text: str) -> None:
    assert parse_mode(text) is None


@pytest.mark.parametrize(
    ("text", "fixed"),
    [("a=rx", 0o555), ("u=rwx,go=rx", 0o755), ("+x", None), ("u=rwX,go=rX", None), ("go=", None)],
)
def test_what_everything_gets(text: str, fixed: int | None) -> None:
    mode = parse_mode(text)
    assert mode
    assert mode.fixed == fixed
