"""The refs that git tells, from which the tags follow that a repository should hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from podbuild.plan.expected import read_refs
from podbuild.system.process import Runner

pytestmark = pytest.mark.integration


def test_git_tells_tags_and_branches_of_its_remote_too(tmp_path: Path) -> None:
    run = Runner(env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, cwd=tmp_path)
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    run("git", "init", "-q", "-b", "main")
    run("git", *who, "commit", "-q", "--allow-empty", "-m", "x")
    run("git", *who, "tag", "-a", "v1.0.0", "-m", "x")
    run("git", "update-ref", "refs/remotes/origin/release/2.x", "HEAD")
    head = run("git", "rev-parse", "HEAD").out.strip()
    refs = read_refs(run, tmp_path)
    assert refs.tags == {"v1.0.0": head}
    assert refs.branches == {"main": head, "release/2.x": head}
