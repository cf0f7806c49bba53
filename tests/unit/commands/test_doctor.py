from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from podbuild.build.toolchain.model import Toolchain
from podbuild.commands.doctor import (
    Examined,
    Patient,
    State,
    examine,
    exit_code,
    findings_json,
    findings_text,
)
from podbuild.errors import CredentialError, PublishError, ToolError
from podbuild.oci.memory import MemoryStore
from podbuild.oci.store import PushRight, Store
from podbuild.system.folders import Folders
from podbuild.system.process import Runner

GOOD = Examined(subject="git", found="git version 2.39.5")
SLOW = Examined(subject="engine start", found="47 ms", state=State.WARNING, fix="a faster one")
LOST = Examined(
    subject="engine",
    found="no buildah 1.41 or newer",
    state=State.FAILED,
    fix="podbuild toolchain install",
    exit_code=11,
)


class Refusing(MemoryStore):
    def check_push(self) -> PushRight:
        raise CredentialError("ghcr.io/acme/web: denied", hint="give the token write:packages")


class Unreachable(MemoryStore):
    def check_push(self) -> PushRight:
        raise PublishError("far: connection refused")


class Silent(MemoryStore):
    def check_push(self) -> PushRight:
        return PushRight.UNKNOWN


def no_engine() -> Toolchain:
    raise ToolError("no buildah 1.41 or newer", hint="podbuild toolchain install")


def opened(store: Store) -> Store:
    return store


def patient(tmp_path: Path, **stores: Store) -> Patient:
    folders = Folders(cache=tmp_path, state=tmp_path, runtime=tmp_path)
    return Patient(
        runner=Runner(env={"PATH": "/nowhere"}),
        folders=folders,
        toolchain=no_engine,
        platforms=(),
        stores={name: partial(opened, store) for name, store in stores.items()},
        build=lambda _toolchain, _namespace: "",
    )


def test_fix_stands_below_what_failed() -> None:
    assert findings_text([GOOD, SLOW, LOST]).splitlines() == [
        "check         state    found",
        "git           ok       git version 2.39.5",
        "engine start  warning  47 ms",
        "  fix: a faster one",
        "engine        failed   no buildah 1.41 or newer",
        "  fix: podbuild toolchain install",
    ]


def test_at_eighty_columns_no_word_is_broken() -> None:
    path = f"/home/{'long/' * 8}bin/buildah"
    engine = Examined(subject="engine", found=f"buildah 1.43.2 (debian), {path}", fix="a " * 50)
    lines = findings_text([GOOD, engine], 80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert path in {line.strip() for line in lines}
    widest = replace(engine, subject="s" * 30)
    assert all(len(line) <= 80 for line in findings_text([widest], 80).splitlines())
    assert lines[2].startswith("engine  ok     buildah 1.43.2")


def test_exit_code_is_that_of_the_first_failure() -> None:
    later = replace(LOST, subject="registry", exit_code=4)
    assert exit_code([GOOD, SLOW]) == 0
    assert exit_code([GOOD, LOST, later]) == 11
    assert exit_code([later, LOST]) == 4


def test_json_says_the_same() -> None:
    assert findings_json([SLOW]) == {
        "schema": 1,
        "checks": [
            {"check": "engine start", "state": "warning", "found": "47 ms", "fix": "a faster one"}
        ],
    }


def test_without_an_engine_the_rest_is_still_examined(tmp_path: Path) -> None:
    found = {each.subject: each for each in examine(patient(tmp_path, here=MemoryStore()))}
    assert found["engine"].exit_code == 11
    assert found["engine"].fix == "podbuild toolchain install"
    assert found["git"].state is State.FAILED
    assert found["registry here"].found == "memory: may push"
    assert "one-step build" not in found


def test_registry_that_refuses_says_what_to_do(tmp_path: Path) -> None:
    stores = {"ghcr": Refusing(), "quiet": Silent(name="r.example/web")}
    found = {each.subject: each for each in examine(patient(tmp_path, **stores))}
    refused = found["registry ghcr"]
    assert (refused.state, refused.exit_code) == (State.FAILED, 4)
    assert (refused.found, refused.fix) == (
        "ghcr.io/acme/web: denied",
        "give the token write:packages",
    )
    quiet = found["registry quiet"]
    assert (quiet.state, quiet.found[:22]) == (State.OK, "r.example/web: answers")


def test_an_optional_registry_only_warns_and_a_silent_one_is_told_of_once(tmp_path: Path) -> None:
    stores = {"far/api": Unreachable(), "far/web": Unreachable(), "ghcr/api": Refusing()}
    known = replace(patient(tmp_path, **stores), optional=frozenset({"far", "ghcr"}))
    found = {each.subject: each for each in examine(known) if "registry" in each.subject}
    assert [*found] == ["registry far/api", "registry ghcr/api"]
    assert {each.state for each in found.values()} == {State.WARNING}
    assert exit_code(found.values()) == 0
    assert found["registry far/api"].found == "optional: far: connection refused"
    required = {each.subject: each for each in examine(replace(known, optional=frozenset()))}
    assert required["registry far/api"].exit_code == 7
