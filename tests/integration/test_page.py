"""dist/report.html in a real Chromium: at three widths, and under Jenkins' restrictive policy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from podbuild.config.following import CostSettings
from podbuild.report.page import release_page
from tests.fakes.answering import Answer, Asked, answering
from tests.unit.report.test_formats import REPORT
from tests.unit.report.test_runs import job, run

pytestmark = pytest.mark.integration

PROGRAM = "chromium-headless-shell"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self'"
LOOK = """<!DOCTYPE html><title>look</title>
<script>
async function look(path, width) {
  const frame = document.createElement("iframe");
  frame.style.width = width + "px";
  frame.style.height = "600px";
  frame.src = path;
  document.body.append(frame);
  await new Promise(done => frame.onload = done);
  const page = frame.contentDocument, root = page.documentElement;
  const cells = [...page.querySelectorAll("td.n")];
  return {
    path, width,
    wide: root.scrollWidth - root.clientWidth,
    title: page.querySelector("h1").textContent,
    tables: page.querySelectorAll("table").length,
    charts: [...page.querySelectorAll("svg[role=img]")].map(e => e.getBoundingClientRect().width),
    colours: [...page.querySelectorAll("polyline")].map(e => getComputedStyle(e).stroke),
    right: cells.every(e => /right/.test(getComputedStyle(e).textAlign)),
    styled: getComputedStyle(page.body).maxWidth,
  };
}
window.onload = async () => {
  const found = [];
  for (const width of [420, 800, 1280]) found.push(await look("/report.html", width));
  found.push(await look("/jenkins.html", 800));
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
};
</script><body>"""


def browser() -> Path:
    """Give the browser that `make test` unpacks."""
    found = shutil.which(PROGRAM)
    assert found, f"{PROGRAM} is not on PATH: make test puts it there"
    return Path(found).parents[2]


def looked_at(page: str, profile: Path) -> list[dict[str, object]]:
    root = browser()
    own = root / "usr/lib"
    places = [own, root / "lib", *own.glob("*-linux-gnu"), *(root / "lib").glob("*-linux-gnu")]
    libraries = ":".join(map(str, [*places, *own.glob("*-linux-gnu/pulseaudio")]))

    def answer(asked: Asked) -> Answer:
        kind = {"Content-Type": "text/html; charset=utf-8"}
        if asked.path == "/look":
            return Answer(200, LOOK.encode(), kind)
        policy = {"Content-Security-Policy": JENKINS} if asked.path == "/jenkins.html" else {}
        return Answer(200, page.encode(), {**kind, **policy})

    with answering(answer) as server:
        command = [
            *(str(own / "chromium" / PROGRAM), *FLAGS, f"--user-data-dir={profile}"),
            *("--virtual-time-budget=20000", "--dump-dom", f"http://{server.host}/look"),
        ]
        environment = {"LD_LIBRARY_PATH": libraries, "HOME": str(profile), "PATH": "/usr/bin:/bin"}
        shown = subprocess.run(
            command, env=environment, capture_output=True, check=True, text=True, timeout=500
        ).stdout
    found = re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)
    assert found, shown[-2000:]
    listed = json.loads(unescape(found[1]))
    assert isinstance(listed, list)
    return listed


def test_the_page_fits_every_width_and_stays_readable_without_styles(tmp_path: Path) -> None:
    runs = [
        run(
            number,
            *(
                job(image, platform, size=40_000_000 + 10_000 * number, cpu_seconds=90.0 + number)
                for image in ("web", "api", "worker")
                for platform in ("linux/amd64", "linux/arm64")
            ),
        )
        for number in range(40)
    ]
    *widths, jenkins = looked_at(release_page(REPORT, runs, CostSettings()), tmp_path)
    for seen in (*widths, jenkins):
        assert seen["title"] == "shop 1.2.3"
        assert seen["wide"] == 0, seen["width"]  # wide tables scroll in themselves
        assert isinstance(seen["tables"], int)
        assert seen["tables"] >= 3
        charts = seen["charts"]
        assert isinstance(charts, list)
        assert len(charts) == 3
        assert all(0 < width <= float(str(seen["width"])) for width in charts)
        assert seen["right"] is True
        colours = seen["colours"]
        assert isinstance(colours, list)
        assert len({*colours}) == 6
    assert widths[0]["styled"] != "none"
    assert jenkins["styled"] == "none"  # the policy was in force
