"""docs/tutorial.md, followed line by line in an empty folder, with a real engine."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.builds import NATIVE
from tests.shops import Shop, environment

pytestmark = pytest.mark.integration

TEXT = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()


def test_each_command_does_what_the_page_says(tmp_path: Path) -> None:
    folder = tmp_path / "hello"
    folder.mkdir()
    shop = Shop(root=folder, environment=environment(tmp_path))
    config, containerfile = (
        re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)[0]
        for language in ("toml", "Dockerfile")
    )
    said: dict[str, str] = {}
    for line in re.findall(r"^\$ (.*)$", TEXT, re.MULTILINE):
        program, *words = shlex.split(line)
        if program == "git":
            shop.git(*words)
        elif words[0] != "toolchain":  # it is installed
            done = shop(*words)
            assert done.code == 0, f"{line}\n{done.text}"
            said[line] = done.text
        if words[0] == "init" and program == "podbuild":
            platforms = f'platforms = ["{NATIVE}"]'  # the other one has its own tests
            shop.write("podbuild.toml", re.sub(r"platforms = .*", platforms, config))
            shop.write("Containerfile", containerfile)
    assert "build 1:" in said["podbuild plan v0.1.0"]
    assert "re-use 1:" in said["podbuild plan v0.2.0"]
    assert "### hello" in said["podbuild notes 0.2.0"]
    assert "oci:dist/registry/hello:0.2.0" in said["podbuild notes 0.2.0"]
