"""Facts and history from real repositories."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from podbuild.errors import ConfigError
from podbuild.plan.git.history import History
from podbuild.plan.git.worktree import Facts, NoFacts, commit_dates, read_facts, tracked_modes
from podbuild.plan.guards import Ancestry
from podbuild.system.process import Runner

pytestmark = pytest.mark.integration

WHO = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_CONFIG_NOSYSTEM": "1",
    "PATH": os.environ["PATH"],
}


@dataclass
class Repository:
    """A repository with commits a minute apart."""

    path: Path
    home: Path
    commits: int = field(default=0)

    @property
    def runner(self) -> Runner:
        return Runner(env={**WHO, "HOME": str(self.home)}, cwd=self.path)

    def git(self, *argv: str, **environment: str) -> str:
        return self.runner.extended(environment)("git", *argv).out.strip()

    def commit(self, message: str = "change") -> str:
        self.commits += 1
        when = f"2026-01-02T03:{self.commits:02}:00+0200"
        self.git("add", "-A")
        self.git(
            "commit", "-q", "--allow-empty", "-m", message,
            GIT_COMMITTER_DATE=when, GIT_AUTHOR_DATE=when,
        )  # fmt: skip
        return self.git("rev-parse", "HEAD")

    def facts(self, *own: Path) -> Facts:
        found = read_facts(self.runner, self.path, own)
        assert isinstance(found, Facts)
        return found

    def history(self, branch: str | None = "main") -> History:
        return History(runner=self.runner, folder=self.path, facts=self.facts(), branch=branch)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Git's own folder for these tests; servers may be asked for filtered and single commits."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".gitconfig").write_text(
        "[init]\ndefaultBranch = main\n[uploadpack]\nallowFilter = true\n"
    )
    return folder


@pytest.fixture
def repo(tmp_path: Path, home: Path) -> Repository:
    folder = tmp_path / "repo"
    folder.mkdir()
    found = Repository(folder, home)
    found.git("init", "-q")
    return found


def clone(of: Repository, name: str, *options: str) -> Repository:
    path = of.path.parent / name
    of.git("clone", "-q", *options, f"file://{of.path}", str(path))
    return Repository(path, of.home)


def tree(folder: Path) -> Mapping[str, bytes]:
    """Give all files below `.git`."""
    return {str(path): path.read_bytes() for path in (folder / ".git").rglob("*") if path.is_file()}


def test_the_commit_its_date_its_branch_and_its_tags(repo: Repository) -> None:
    first = repo.commit()
    repo.git("tag", "v1.0.0")
    second = repo.commit()
    repo.git("tag", "-a", "-m", "x", "v1.1.0")
    repo.git("tag", "other")
    facts = repo.facts()
    assert facts.commit == second
    assert facts.short == second[:7]
    assert facts.created == datetime(2026, 1, 2, 1, 2, tzinfo=UTC)
    assert facts.branch == "main"
    assert facts.tags == {"v1.0.0": first, "v1.1.0": second, "other": second}
    assert facts.tags_at_head == ("other", "v1.1.0")
    assert facts.dirty == ()
    assert not facts.shallow
    assert facts.remote == ""


def test_facts_are_found_from_a_folder_below(repo: Repository) -> None:
    below = repo.path / "a" / "b"
    below.mkdir(parents=True)
    (repo.path / "new").touch()
    repo.commit()
    (repo.path / "new").write_text("x")
    facts = read_facts(repo.runner, below)
    assert isinstance(facts, Facts)
    assert (facts.top, facts.dirty) == (repo.path, ("new",))


def test_a_detached_head_has_no_branch(repo: Repository) -> None:
    repo.commit()
    repo.git("checkout", "-q", "--detach")
    assert repo.facts().branch is None


def test_changed_new_renamed_and_deleted_files_are_dirty(repo: Repository) -> None:
    for name in ("changed", "deleted", "moved", "same"):
        (repo.path / name).write_text(name * 20)
    repo.commit()
    (repo.path / "changed").write_text("x")
    (repo.path / "deleted").unlink()
    (repo.path / "folder").mkdir()
    (repo.path / "folder" / "new file").touch()
    repo.git("mv", "moved", "after")
    assert repo.facts().dirty == ("after", "changed", "deleted", "folder/new file")


def test_what_podbuild_writes_makes_nothing_dirty(repo: Repository) -> None:
    repo.commit()
    (repo.path / "dist" / "logs").mkdir(parents=True)
    for name in ("dist/plan.json", "dist/logs/web.log", "dist/theirs"):
        (repo.path / name).touch()
    own = (repo.path / "dist" / "plan.json", repo.path / "dist" / "logs")
    assert repo.facts(*own).dirty == ("dist/theirs",)


def test_ignored_files_are_not_dirty(repo: Repository) -> None:
    (repo.path / ".gitignore").write_text("dist/\n")
    repo.commit()
    (repo.path / "dist").mkdir()
    (repo.path / "dist" / "x").touch()
    assert repo.facts().dirty == ()


def test_credentials_are_cut_from_the_remote(repo: Repository) -> None:
    repo.commit()
    repo.git("remote", "add", "origin", "https://user:secret@example.com/acme/shop.git")
    facts = repo.facts()
    assert facts.remote == "https://example.com/acme/shop.git"
    assert facts.repository == "acme/shop"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("git@example.com:acme/shop.git", "acme/shop"),
        ("ssh://git@example.com:22/acme/shop", "acme/shop"),
        ("https://example.com/group/acme/shop/", "acme/shop"),
    ],
)
def test_the_repository_s_name_comes_from_its_remote(repo: Repository, url: str, name: str) -> None:
    repo.commit()
    repo.git("remote", "add", "origin", url)
    assert repo.facts().repository == name


def test_no_repository_no_commit_and_no_git_are_told_apart(
    repo: Repository, tmp_path: Path, home: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    runner = Repository(outside, home).runner.extended({"GIT_CEILING_DIRECTORIES": str(tmp_path)})
    assert read_facts(runner, outside) == NoFacts(f"{outside} is in no git repository")
    assert read_facts(repo.runner, repo.path) == NoFacts("the git repository has no commit yet")
    without = Runner(env={"PATH": str(outside)})
    assert read_facts(without, repo.path) == NoFacts("git is not installed")


def test_another_user_s_repository_names_the_way_out(repo: Repository) -> None:
    repo.commit()
    runner = repo.runner.extended({"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"})
    with pytest.raises(ConfigError, match="belongs to another user") as caught:
        read_facts(runner, repo.path)
    assert caught.value.hint == f"git config --global --add safe.directory {repo.path}"


def test_a_broken_repository_is_one_clear_line(repo: Repository) -> None:
    repo.commit()
    (repo.path / ".git" / "config").write_text("[")
    with pytest.raises(ConfigError, match=r"git can't read .*bad config"):
        read_facts(repo.runner, repo.path)


def test_reading_facts_writes_nothing(repo: Repository) -> None:
    (repo.path / "file").write_text("x")
    repo.commit()
    os.utime(repo.path / "file", (0, 0))  # git would like to refresh its index now
    before = tree(repo.path)
    repo.facts()
    assert tree(repo.path) == before


def test_dates_of_commits_that_this_clone_has(repo: Repository) -> None:
    first, second = repo.commit(), repo.commit()
    found = commit_dates(repo.runner, repo.path, [second, "f" * 40, first])
    assert found == {
        first: datetime(2026, 1, 2, 1, 1, tzinfo=UTC),
        second: datetime(2026, 1, 2, 1, 2, tzinfo=UTC),
    }
    assert commit_dates(repo.runner, repo.path.parent, [first]) == {}


def test_a_user_who_has_signatures_shown_gets_the_same_dates(repo: Repository) -> None:
    gpg = repo.home / "gpg"
    gpg.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--verify*) echo "gpg: good" >&2; echo "[GNUPG:] GOODSIG 1 a"; exit;; esac\n'
        "cat >/dev/null\n"
        "echo '-----BEGIN PGP SIGNATURE-----'; echo; echo '-----END PGP SIGNATURE-----'\n"
        "echo; echo '[GNUPG:] SIG_CREATED D 1 8 00 1 A' >&2\n"
    )
    gpg.chmod(0o755)
    for setting in (f"gpg.program={gpg}", "commit.gpgSign=true", "log.showSignature=true"):
        repo.git("config", *setting.split("=", 1))
    commit = repo.commit()
    when = datetime(2026, 1, 2, 1, 1, tzinfo=UTC)
    assert "gpg: good" in repo.git("show", "-s", "--format=%cI")
    assert repo.facts().created == when
    assert commit_dates(repo.runner, repo.path, [commit]) == {commit: when}


def test_a_folder_s_name_may_hold_a_line_break(repo: Repository) -> None:
    repo.commit()
    odd = clone(repo, "two\nlines", "--depth=1")
    (odd.path / "new").touch()
    facts = odd.facts(odd.path / "new")
    assert (facts.top, facts.shallow, facts.dirty) == (odd.path, True, ())


# --- history ------------------------------------------------------------------------------------


def test_older_commits_are_ancestors(repo: Repository) -> None:
    first, second = repo.commit(), repo.commit()
    history = repo.history()
    assert history.ancestry(second) is Ancestry.ANCESTOR
    assert history.ancestry(first) is Ancestry.ANCESTOR


def test_without_a_remote_a_commit_that_is_not_here_is_unknown(repo: Repository) -> None:
    first = repo.commit()
    newer = repo.commit()
    repo.git("checkout", "-q", first)
    history = repo.history()
    assert history.ancestry("f" * 40) is Ancestry.UNKNOWN
    assert history.ancestry("nonsense") is Ancestry.UNKNOWN
    assert history.ancestry(newer) is Ancestry.NOT_ANCESTOR


def test_a_shallow_clone_fetches_what_is_missing_and_no_files(repo: Repository) -> None:
    (repo.path / "old").write_text("a file of the first commit")
    first = repo.commit()
    blob = repo.git("rev-parse", f"{first}:old")
    (repo.path / "old").unlink()
    repo.commit()
    newest = repo.commit()
    shallow = clone(repo, "shallow", "--depth=1")
    assert shallow.facts().shallow
    history = shallow.history()
    assert history.ancestry(newest) is Ancestry.ANCESTOR
    assert shallow.facts().shallow  # nothing was fetched for that
    assert history.ancestry(first) is Ancestry.ANCESTOR
    assert not shallow.facts().shallow
    have = shallow.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    assert first in have
    assert blob not in have
    assert shallow.facts().dirty == ()


def test_a_newer_commit_of_the_branch_is_not_an_ancestor(repo: Repository) -> None:
    repo.commit()
    older = clone(repo, "older")
    newer = repo.commit()  # pushed by somebody else meanwhile
    assert older.history().ancestry(newer) is Ancestry.NOT_ANCESTOR


def test_a_commit_that_a_force_push_took_away_is_gone(repo: Repository) -> None:
    base = repo.commit()
    lost = repo.commit("lost")
    before = clone(repo, "before")
    repo.git("reset", "-q", "--hard", base)
    repo.commit("instead")
    assert clone(repo, "after").history().ancestry(lost) is Ancestry.GONE
    assert before.history().ancestry(lost) is Ancestry.ANCESTOR  # it is what is checked out here
    assert clone(repo, "shallow", "--depth=1").history().ancestry(lost) is Ancestry.GONE


def test_a_tag_s_checkout_knows_its_branch_from_elsewhere(repo: Repository) -> None:
    first = repo.commit()
    newer = repo.commit()
    there = clone(repo, "there")
    there.git("checkout", "-q", first)
    assert there.facts().branch is None
    assert there.history("main").ancestry(newer) is Ancestry.NOT_ANCESTOR
    assert there.history("gone").ancestry("f" * 40) is Ancestry.UNKNOWN


def test_a_remote_that_does_not_answer_leaves_it_unknown(repo: Repository) -> None:
    first = repo.commit()
    repo.commit()
    shallow = clone(repo, "shallow", "--depth=1")
    shallow.git("remote", "set-url", "origin", "file:///nowhere/at/all")
    assert shallow.history().ancestry(first) is Ancestry.UNKNOWN


@pytest.mark.parametrize("options", [(), ("--depth=1",)], ids=["whole", "shallow"])
def test_a_commit_that_was_pushed_since_the_remote_was_asked_is_newer_and_not_gone(
    repo: Repository, options: tuple[str, ...]
) -> None:
    first = repo.commit()
    repo.commit()
    there = clone(repo, "there", *options)
    history = there.history()
    assert history.ancestry(first) is Ancestry.ANCESTOR  # a shallow clone has asked for that
    assert history.ancestry("e" * 40) is Ancestry.GONE
    newer = repo.commit()  # and its snapshot is out before ours has built
    assert history.ancestry(newer) is Ancestry.NOT_ANCESTOR
    assert history.ancestry(repo.commit()) is Ancestry.NOT_ANCESTOR


def test_what_the_remote_has_told_is_not_asked_again(repo: Repository) -> None:
    repo.commit()
    there = clone(repo, "there")
    history = there.history()
    newer, newest = repo.commit(), repo.commit()
    assert history.ancestry(newest) is Ancestry.NOT_ANCESTOR
    there.git("remote", "set-url", "origin", "file:///nowhere/at/all")
    assert history.ancestry(newer) is Ancestry.NOT_ANCESTOR
    assert history.ancestry("f" * 40) is Ancestry.UNKNOWN  # it may be newer than what was told


def test_the_modes_that_a_fresh_clone_would_have(repo: Repository) -> None:
    for name in ("plain", "program"):
        (repo.path / name).touch()
    (repo.path / "program").chmod(0o700)
    (repo.path / "link").symlink_to("plain")
    repo.commit()
    (repo.path / "plain").chmod(0o600)
    assert tracked_modes(repo.runner, repo.path) == {
        repo.path / "plain": 0o644,
        repo.path / "program": 0o755,
    }
    assert tracked_modes(repo.runner, repo.path.parent) == {}
