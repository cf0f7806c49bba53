from __future__ import annotations

import os
import pwd
from pathlib import Path

from podbuild.namespace import outside_user


def test_engines_are_told_of_a_user_who_is_not_root_and_has_a_home() -> None:
    found = outside_user()
    assert found != 0
    assert Path(pwd.getpwuid(found).pw_dir).is_dir()
    mine = pwd.getpwuid(os.getuid())
    assert mine.pw_uid in {found, 0} or not Path(mine.pw_dir).is_dir()
