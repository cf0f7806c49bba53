"""A project of one image whose steps are told apart by what they rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from podbuild.build.inputs.containerfile import read_containerfile
from podbuild.build.inputs.contents import Contents, Extra
from podbuild.build.inputs.reach import Wanted
from podbuild.build.inputs.recipe import Surroundings, make_recipe
from podbuild.build.inputs.rewrite import rewrite_containerfile
from podbuild.build.inputs.steps import StageSteps, engine_steps
from podbuild.build.inputs.wanted import BaseFacts
from podbuild.config.load import parse_config
from podbuild.oci.names import Platform
from podbuild.plan.make import make_plan
from podbuild.plan.model import Commit, Request
from podbuild.semver import Version

AMD64 = Platform("linux", "amd64")
PIN = "docker.io/library/debian@sha256:" + "1" * 64
ID = "2" * 64
FILE = """\
FROM base AS tools
ARG V=1
COPY tool.txt /t/
RUN make tool
FROM base AS build
WORKDIR /src
COPY go.mod /src/
RUN --mount=type=bind,source=deps,target=/d fetch
COPY src /src/
RUN --mount=from=tools,source=/t,target=/t build
FROM debian
ENV A=1
COPY --from=build /src/out /
COPY <<EOF main.txt /etc/
written
EOF
CMD ["/out"]
"""
FILES = ("tool.txt", "go.mod", "deps/one", "src/one", "main.txt", "README")


@dataclass(kw_only=True)
class Project:
    """A project of one image, to be changed piece by piece."""

    folder: Path
    text: str = FILE
    more: str = ""
    pin: str = PIN
    base: str = ID
    triggers: tuple[str, ...] = ()

    def stages(self) -> tuple[StageSteps, ...]:
        (self.folder / "web/Containerfile").write_text(self.text)
        toml = '[project]\nname = "shop"\n[images.base]\ncontext = "base"\n[images.web]\n'
        toml += f'context = "web"\ncontexts = {{ base = "image:base" }}\n{self.more}'
        config = parse_config(toml, self.folder / "podbuild.toml", {})
        commit = Commit(commit="a" * 40, created=datetime(2026, 1, 1, tzinfo=UTC), branch="main")
        plan = make_plan(config, Request(version=Version.parse("1.2.3")), commit)
        around = Surroundings(
            build=AMD64,
            output=self.folder / "dist",
            pins={"debian": self.pin},
            facts=lambda *_: BaseFacts({}, self.triggers),
        )
        recipe = make_recipe(plan, plan.image("web"), AMD64, around)
        contents = Contents()

        def content(place: str, wanted: Wanted) -> str | None:
            extra = recipe.extras.get(place, Extra(recipe.context, recipe.patterns))
            found = contents.of(extra.folder, extra.matcher, (wanted,))
            return None if found.has_git else found.digest

        written = rewrite_containerfile(
            recipe.parsed, self.text, target=None, variables=recipe.variables
        )
        return engine_steps(recipe, recipe.parsed, written, {"base": self.base}, content)

    def copy(self) -> str:
        """Give the engine's copy of the file."""
        parsed = read_containerfile(self.text)
        return rewrite_containerfile(parsed, self.text, target=None, variables={}).text

    def keys(self) -> Mapping[str, str]:
        """Give the key of each instruction's step, by the instruction."""
        steps = [step for stage in self.stages() for step in stage.steps]
        return {str(each): step.key for step in steps for each in step.written}


def new_project(folder: Path) -> Project:
    """Write the files that the project's image may take."""
    for name in FILES:
        (folder / "web" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "web" / name).write_text(name)
    (folder / "base").mkdir()
    (folder / "base/Containerfile").write_text("FROM scratch\nENV BASE=1\n")
    return Project(folder=folder)
