"""ADD from git: what BuildKit (Docker 28.5.2) makes of it, by real engines from a real server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podbuild.build.toolchain.model import EngineKind
from podbuild.plan.model import Job
from tests.builds import NATIVE, new_bench, opened, remove_bench
from tests.fakes.answering import Answer, Asked, answering

pytestmark = pytest.mark.integration

SCRIPT = """\
git init -q -b main repo.git && cd repo.git
git config user.email x@y.z && git config user.name x
echo one > foo && git add foo && git commit -q -m one && git tag same
mkdir sub && echo two | tee foo kept > sub/foo && echo '#!/bin/sh' > run.sh
git add . && git commit -q -m two && git branch same
git -c protocol.file.allow=always submodule --quiet add "$PWD" mod && git commit -q -m three
git rev-parse refs/tags/same
"""
TEXT = """\
FROM scratch
ARG HOST
ENV REPO=http://$HOST/repo.git
ADD $REPO#main /whole
ADD --keep-git-dir=false --chown=3:4 $REPO?tag=same /tag
ADD $REPO?branch=same&subdir=sub /branch/
ADD --checksum=COMMIT $REPO#main /commit
ADD --exclude=*.sh --exclude=**/foo $REPO?ref=refs/heads/same /less
ADD no*such $REPO#refs/tags/same /beside/
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the repositories of a folder as forges do, and give the host."""

    def answer(asked: Asked) -> Answer:
        path, _, query = asked.path.partition("?")
        variables = {
            "GIT_PROJECT_ROOT": str(folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": asked.method,
            "CONTENT_TYPE": asked.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(asked.body)),
            "HTTP_CONTENT_ENCODING": asked.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": asked.headers.get("git-protocol", ""),
        }
        backend = subprocess.run(
            ("git", "http-backend"),
            input=asked.body,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **variables},
            check=True,
            capture_output=True,
        )
        head, _, body = backend.stdout.partition(b"\r\n\r\n")
        said = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        return Answer(int(said.pop("Status", "200").split()[0]), body, said)

    with answering(answer) as server:
        yield server.host


@pytest.mark.parametrize("kind", list(EngineKind))
def test_git_is_cloned_as_buildkit_clones_it(tmp_path: Path, kind: EngineKind) -> None:
    made = subprocess.run(
        ("sh", "-ec", SCRIPT), cwd=tmp_path, check=True, capture_output=True, text=True
    )
    bench = new_bench(tmp_path / "bench", kind)
    bench.write("web/Containerfile", TEXT.replace("COMMIT", made.stdout.strip()))
    with served(tmp_path) as host, opened(bench) as place:
        built = place.build(
            f'[defaults]\nplatforms = ["{NATIVE}"]\n'
            f'[images.web]\ncontext = "web"\nbuild-args = {{ HOST = "{host}" }}\n'
        )
        files = place.files("web", built.images[Job("web", NATIVE)].manifest)
    remove_bench(bench)
    branch = dict.fromkeys(("foo", "kept", "sub/foo"), "two\n") | {"run.sh": "#!/bin/sh\n"}
    modules = files.pop("whole/.gitmodules")
    assert b"mod" in modules  # BuildKit: the files of the submodule, too
    assert {name: data.decode() for name, data in files.items()} == {
        **{f"whole/{name}": text for name, text in branch.items()},
        "tag/foo": "one\n",
        "branch/foo": "two\n",
        "commit/foo": "one\n",
        "less/kept": "two\n",
        "beside/foo": "one\n",
    }
