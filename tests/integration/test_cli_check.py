from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from podbuild.build.inputs.tree import Remembered
from podbuild.cli import main
from tests.shops import PODBUILD, Shop, environment

pytestmark = pytest.mark.integration  # asks git for the files' modes

GOOD = '[project]\nname = "shop"\n[images.web]\n'


def project(folder: Path, text: str, containerfile: str = "FROM scratch\n") -> Path:
    (folder / "podbuild.toml").write_text(text)
    (folder / "Containerfile").write_text(containerfile)
    return folder


def test_good_project_is_all_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-C", str(project(tmp_path, GOOD))]) == 0
    assert capsys.readouterr() == ("all good\n", "")


def test_error_is_exit_code_2_and_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tmp_path, GOOD + 'containerfile = "nope"\n')
    assert main(["check", "-C", str(folder)]) == 2
    out, err = capsys.readouterr()
    assert out == "1 error\n"
    first, second = err.splitlines()
    assert first.startswith("podbuild: ")
    assert first.endswith("podbuild.toml:4: image 'web': there is no " + str(tmp_path / "nope"))
    assert second.startswith("hint: ")


def test_warnings_do_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project(tmp_path, GOOD, "FROM scratch\nADD https://a.b/c /c\n")
    assert main(["check", "-C", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    (finding,) = json.loads(out)["findings"]
    assert (finding["level"], finding["line"]) == ("warning", 2)
    assert err.startswith("warning: ")
    assert "Containerfile:2: this ADD may bring other bytes" in err


def test_broken_configuration_names_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project(tmp_path, GOOD + "platfroms = []\n")
    assert main(["check", "-C", str(folder)]) == 2
    assert "podbuild.toml:4: images.web.platfroms: unknown key" in capsys.readouterr().err


def shop(folder: Path) -> Shop:
    """Give a committed project whose .gitignore leaves out the folder `dist` alone."""
    made = Shop(root=folder / "shop", environment=environment(folder))
    made.write(".gitignore", "/dist/\n")
    project(made.root, GOOD)
    made.git("init", "-q", "-b", "main")
    made.commit("v1.2.3")
    return made


def test_an_output_folder_on_another_disk_makes_nothing_dirty(tmp_path: Path) -> None:
    linked = shop(tmp_path)
    (tmp_path / "disk").mkdir()
    (linked.root / "dist").symlink_to(tmp_path / "disk")
    (linked.root / "beside").symlink_to(tmp_path / "disk")
    planned = linked("plan", "v1.2.3", "--offline", "--allow-outside", str(tmp_path / "disk"))
    assert planned.code == 0
    assert "has changes that no commit holds (beside)" in planned.err


def test_a_limit_is_named_with_the_way_out(tmp_path: Path) -> None:
    here = shop(tmp_path)
    done = subprocess.run(
        ("sh", "-c", 'ulimit -n 16; exec "$@"', "sh", str(PODBUILD), "plan", "v1.2.3"),
        cwd=here.root,
        env=dict(here.environment),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "podbuild: too many open files\nhint: raise the limit: ulimit -n 1024\n"


def test_a_file_in_the_way_is_named_and_no_fault_of_ours(tmp_path: Path) -> None:
    here = shop(tmp_path)
    (tmp_path / "cache/podbuild/runs/lock").mkdir(parents=True)
    done = here("plan", "v1.2.3", "--offline")
    assert done.code == 1
    assert done.err == (
        f"podbuild: {tmp_path}/cache/podbuild/runs/lock: Is a directory\n"
        "hint: check what it is, its owner and its mode\n"
    )


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"schema": 1, "files": {"a": [1]}}'])
def test_a_damaged_record_of_files_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "contents.json"
    file.write_text(text)
    assert Remembered(file).get("a", file.stat()) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"project_name": "x"}', "was not written by podbuild"),  # goreleaser's
        ('{"schema": 1}', "is tracked by git"),
    ],
)
def test_what_others_wrote_is_not_written_over(tmp_path: Path, text: str, says: str) -> None:
    here = shop(tmp_path)
    here.write("dist/metadata.json", text)
    here.git("add", "--force", "dist/metadata.json")
    done = here("plan", "v1.2.3", "--offline")
    assert done.code == 2
    assert f"dist/metadata.json {says}, and would be written over" in done.err
    assert "[project] output" in done.err
    assert (here.root / "dist/metadata.json").read_text() == text
    checked = here("check")
    assert checked.code == 2
    assert f"dist/metadata.json {says}, and would be written over" in checked.err


def test_a_file_of_others_beside_the_logs_stops_nothing(tmp_path: Path) -> None:
    here = shop(tmp_path)
    here.write("dist/logs/mine.txt", "mine")
    here.write("dist/logs/web-linux-amd64.log", "")
    here.git("add", "--force", "dist/logs/mine.txt")
    assert here("check").code == 0
    here.git("commit", "--quiet", "--message=mine")
    here.git("tag", "--force", "v1.2.3")
    assert here("plan", "v1.2.3", "--offline").code == 0


def test_the_order_of_steps_is_judged_by_history_and_the_last_build(tmp_path: Path) -> None:
    here = Shop(root=tmp_path / "shop", environment=environment(tmp_path))
    here.write("podbuild.toml", '[project]\nname = "shop"\n[images.web]\ncontext = "web"\n')
    run = "RUN apk add --no-cache git"
    text = f'FROM a.b/c:1\nCOPY src /src\n{run}\nUSER 10\nCMD ["x"]\n'
    here.write("web/Containerfile", text)
    here.git("init", "-q", "-b", "main")
    for count in range(9):
        here.write("web/src/a" if count % 2 else "README.md", f"{count}")
        here.commit()
    few = here("check", "--order")
    assert (few.code, "9 commits are known here, too few" in few.err) == (0, True), few.text
    here.write("web/src/a", "more")
    here.commit()
    step = {"line": 9, "text": run, "seconds": 60, "cached": False, "pulled": False}
    metrics = {"schema": 1, "jobs": [{"image": "web", "step_times": [step]}]}
    here.write("dist/metrics.json", json.dumps(metrics))
    done = here("check", "--order", "--json")
    assert done.code == 0, done.text
    cost, advice = json.loads(done.out)["findings"]
    assert (
        cost["message"]
        == "web: a commit costs about 30.0 s of its 1 min 00 s (by the last 10 commits)"
    )
    assert (advice["line"], advice["rule"]) == (3, "copy-before-install")
    assert advice["message"] == (
        "web: in 50% of 10 commits this runs again for what line 2 copies, and it needs nothing "
        "of it, some 30.0 s a commit"
    )
    assert advice["hint"] == "this RUN above line 2"
