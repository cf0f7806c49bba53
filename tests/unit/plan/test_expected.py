"""The tags that a repository should hold, by configuration, git and journals."""

from __future__ import annotations

import json
from pathlib import Path

from podbuild.config.load import parse_config
from podbuild.oci.names import Tag
from podbuild.plan.expected import GitRefs, expected_tags, journalled_tags
from podbuild.plan.journal import Section

CONFIG = """
[project]
name = "shop"

[images.web]
containerfile = "Containerfile"

[images.web.tags]
release = [
  "{version}", "{major}.{minor}", "{major}", "latest", "{version}-{env.FLAVOUR}", "r-{sha}"
]

[images.web.tags.branches]
main = ["edge", "sha-{sha}"]
"release/*" = ["{branch}"]
"""
REFS = GitRefs(
    tags={
        "v1.2.3": "a" * 40,
        "v2.0.0-rc.1": "b" * 40,
        "web-v3.0.0": "8" * 40,
        "0.1.0": "c" * 40,
        "nightly": "d" * 40,
    },
    branches={"main": "e" * 40, "release/1.x": "f" * 40, "other": "9" * 40},
)


def expected(environment: dict[str, str], refs: GitRefs = REFS) -> list[str]:
    config = parse_config(CONFIG, Path("/x/podbuild.toml"), environment)
    return [str(tag) for tag in expected_tags(config, config.image("web"), refs)]


def test_what_is_fixed_comes_first_then_branches_then_versions_the_newest_first() -> None:
    found = list(dict.fromkeys(expected({"FLAVOUR": "slim"})))
    assert found[:2] == ["latest", "edge"]
    assert set(found[2:4]) == {"sha-eeeeeee", "release-1.x"}
    assert found[4:6] == ["2.0.0-rc.1", "2.0.0-rc.1-slim"]
    assert found[6:] == [
        *("1.2.3", "1.2", "1", "1.2.3-slim", "r-aaaaaaa"),
        *("0.1.0", "0.1", "0.1.0-slim", "r-ccccccc"),
    ]


def test_without_git_the_fixed_ones_are_left() -> None:
    assert expected({"FLAVOUR": "slim"}, GitRefs()) == ["latest", "edge"]


def test_journals_tell_what_was_moved(tmp_path: Path) -> None:
    sections: dict[str, dict[str, str]] = {name: {} for name in Section}
    sections[Section.MOVED] = {"hub/web:1.0.0": "sha256:x", "hub/api:2": "", "hub/web:%": ""}
    binding = {"release": "1", "commit": "", "configuration": "", "toolchain": ""}
    text = json.dumps({"schema": 1, "binding": binding, "finished": True, **sections})
    (tmp_path / "state-1.0.0.json").write_text(text)
    (tmp_path / "state.json").write_text("damaged")
    assert list(journalled_tags(tmp_path, ["hub/web"])) == [Tag("1.0.0")]
