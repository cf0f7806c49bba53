from __future__ import annotations

from pathlib import Path

from podbuild.build.engine.namespace import outside_user, users_inside


def test_engines_are_told_of_a_user_who_is_not_root_and_has_a_home_of_podbuilds() -> None:
    mine = outside_user()
    assert mine != 0
    database = f"root:x:0:0:root:/root:/bin/sh\nann:x:{mine}:100:Ann:/home/ann:/bin/sh\n"
    first, *others = users_inside(Path("/run/of/podbuild"), database).splitlines()
    assert first.split(":")[2] == str(mine)
    assert first.split(":")[5] == "/run/of/podbuild"
    assert others == ["root:x:0:0:root:/root:/bin/sh"]
