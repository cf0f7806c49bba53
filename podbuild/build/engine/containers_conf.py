"""What is kept of the user's containers.conf: where helpers, runtimes and conmon are.

Order of the files, and arrays with `{append=true}`: containers.conf(5).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from podbuild.build.engine.registries_files import read_setting
from podbuild.build.toolchain.model import Engine, Toolchain
from podbuild.errors import ConfigError

_BESIDE = (
    *("../libexec/podman", "../lib/podman", "../libexec/buildah", "../lib/buildah"),
    *("../libexec", "../opt/podman/libexec/podman"),  # the second: Homebrew's prefix
)


@dataclass(frozen=True)
class Places:
    """An array of paths; `appends` to what the engine looks at anyway, or stands instead of it."""

    paths: tuple[str, ...] = ()
    appends: bool = True
    sticky: bool = False  # a file has said {append=true}, which holds for those after it

    def followed_by(self, value: object) -> Places:
        """Give the array after a further file's; anything but an array changes nothing."""
        if not isinstance(value, list):
            return self
        paths = tuple(each for each in value if isinstance(each, str))
        marks = [each["append"] for each in value if isinstance(each, dict) and "append" in each]
        appends = marks[-1] is True if marks else self.sticky
        if appends:
            return Places((*self.paths, *paths), self.appends, sticky=True)
        return Places(paths, appends=False)

    def and_also(self, paths: tuple[str, ...]) -> Places:
        """Give the array with further paths at its end."""
        return replace(self, paths=tuple(dict.fromkeys((*self.paths, *paths))))

    @property
    def toml(self) -> str:
        """Give the array as it stands in a file."""
        parts = [json.dumps(path) for path in self.paths] + ["{append=true}"] * self.appends
        return f"[{', '.join(parts)}]"


@dataclass(frozen=True, kw_only=True)
class UserContainers:
    """What the user's containers.conf says of programs around the engine."""

    helpers: Places = Places()
    conmon: Places = Places()
    runtimes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    runtime: str = ""


NOTHING = UserContainers()


def user_containers_conf(
    environment: Mapping[str, str], system: Path = Path("/")
) -> UserContainers:
    """Give what the user's and the machine's files say; raises ConfigError for a broken one."""
    found = UserContainers()
    for file in _files(environment, system):
        if not file.is_file():
            continue
        try:
            engine = tomllib.loads(read_setting(file)).get("engine")
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file}: {error}", hint="see man containers.conf") from None
        if isinstance(engine, dict):
            found = _after(found, engine)
    return found


def _after(found: UserContainers, engine: Mapping[str, object]) -> UserContainers:
    runtimes = engine.get("runtimes")
    named = {
        str(name): tuple(path for path in paths if isinstance(path, str))
        for name, paths in (runtimes.items() if isinstance(runtimes, dict) else ())
        if isinstance(paths, list)
    }
    runtime = engine.get("runtime")
    return UserContainers(
        helpers=found.helpers.followed_by(engine.get("helper_binaries_dir")),
        conmon=found.conmon.followed_by(engine.get("conmon_path")),
        runtimes={**found.runtimes, **named},
        runtime=runtime if isinstance(runtime, str) else found.runtime,
    )


def _files(environment: Mapping[str, str], system: Path) -> Iterator[Path]:
    if named := environment.get("CONTAINERS_CONF"):
        yield Path(named)
    else:
        home = environment.get("XDG_CONFIG_HOME") or (
            f"{environment['HOME']}/.config" if environment.get("HOME") else "/nonexistent"
        )
        yield system / "usr/share/containers/containers.conf"
        for folder in (system / "etc/containers", Path(home, "containers")):
            yield folder / "containers.conf"
            yield from sorted((folder / "containers.conf.d").glob("*.conf"))
    if last := environment.get("CONTAINERS_CONF_OVERRIDE"):
        yield Path(last)


def _beside(engine: Engine) -> tuple[str, ...]:
    """Give the folders of helpers around an engine's own program: Homebrew, Nix, relocated ones."""
    programs = dict.fromkeys((engine.path, engine.path.resolve()))
    folders = ((program.parent / place) for program in programs for place in _BESIDE)
    return tuple(dict.fromkeys(str(each.resolve()) for each in folders if each.is_dir()))


def _program_beside(engine: Engine, name: str) -> tuple[str, ...]:
    """Give a program that lies in the folder of the engine's own."""
    programs = dict.fromkeys((engine.path, engine.path.resolve()))
    found = (program.with_name(name) for program in programs)
    return tuple(str(each) for each in found if each.is_file())


def lines(toolchain: Toolchain, user: UserContainers) -> Iterator[str]:
    """Give the lines of [engine] and [engine.runtimes] that say where programs are.

    A private toolchain's own come first; around an engine of the system is looked last.
    """
    engine = toolchain.engine
    helpers, conmon = user.helpers, user.conmon
    runtimes, runtime = {**user.runtimes}, user.runtime
    if toolchain.origin == "system":
        helpers, conmon = (
            helpers.and_also(_beside(engine)),
            conmon.and_also(_program_beside(engine, "conmon")),
        )
        crun = _program_beside(engine, "crun")
        if crun and not (runtime or "crun" in runtimes):
            runtime, runtimes["crun"] = "crun", crun
    else:
        own = tuple(map(str, toolchain.helper_dirs))
        helpers = Places(own, appends=not own).and_also(helpers.paths)
        conmon = Places((str(toolchain.conmon),), appends=False) if toolchain.conmon else conmon
    for key, places in (("helper_binaries_dir", helpers), ("conmon_path", conmon)):
        if places.paths:
            yield f"{key} = {places.toml}"
    if toolchain.crun:
        runtime, runtimes["crun"] = "crun", (str(toolchain.crun),)
    if runtime:
        yield f"runtime = {json.dumps(runtime)}"
    if runtimes:
        yield "[engine.runtimes]"
    for name, paths in sorted(runtimes.items()):
        yield f"{json.dumps(name)} = {json.dumps([*paths])}"
