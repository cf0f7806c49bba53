"""Tell of a run that has ended: a webhook, a command of the user's, a collector of traces.

Best effort, also after a failure: nothing here changes how the release ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from podbuild.config.following import Event, MessageKind, NotifySettings
from podbuild.config.secrecy import without_secrets
from podbuild.errors import PodbuildError, PolicyError, PublishError
from podbuild.oci.transport.http import Call, Http
from podbuild.report.json import summary_json
from podbuild.report.metrics_text import otlp
from podbuild.report.model import ReleaseResult, Report
from podbuild.report.runs import Regression
from podbuild.system.console.text import duration, one_line
from podbuild.system.records import JSONValue
from podbuild.system.retry import Transient
from podbuild.workspace import Services

_TRIES = 2
_SECONDS = 10.0  # for a webhook and a command
_TRACE_SECONDS = 5.0
_EVERYBODY = re.compile(r"@(?=channel|all|here|everyone|team)", re.IGNORECASE)
_BUDGET = PolicyError.exit_code


def send_trace(services: Services, report: Report, run: str) -> None:
    """Send the trace of a run to the collector that the environment names, if any."""
    base = services.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    url = services.environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    if base and not url:
        url = f"{base.rstrip('/')}/v1/traces"
    if url:
        headers = _otlp_headers(services.environment)
        try:
            _post(services, url, otlp(report, run), _TRACE_SECONDS, headers=headers)
        except (PodbuildError, ValueError) as error:
            services.ui.note(f"the trace was not taken: {_reason(error, url)}")


def _otlp_headers(environment: Mapping[str, str]) -> Mapping[str, str]:
    """Read OTEL_EXPORTER_OTLP_HEADERS: `name=value,name=value`."""
    pairs = environment.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")
    found = (pair.partition("=") for pair in pairs if "=" in pair)
    return {name.strip(): value.strip() for name, _, value in found}


def events(report: Report, grown: tuple[Regression, ...]) -> frozenset[Event]:
    """Give what this run is told of for."""
    found = set()
    if report.result is ReleaseResult.PUBLISHED:
        found.add(Event.PUBLISHED)
    if report.result is ReleaseResult.PARTIAL and report.failure:
        found.add(Event.PARTIAL)
    if report.result is ReleaseResult.FAILED:
        found.add(Event.FAILED)
        if report.failure and report.failure.exit_code == _BUDGET:
            found.add(Event.BUDGET)
    if grown:
        found.add(Event.REGRESSED)
    return frozenset(found)


def tell(services: Services, report: Report, grown: tuple[Regression, ...]) -> None:
    """Tell the webhook and the command of what they are to hear of. What fails is a warning."""
    settings = services.config.notify
    slow = settings.slow is not None and report.seconds > settings.slow
    if not (slow or events(report, grown) & {*settings.on}):
        return
    whole: JSONValue = services.ui.redactor.cut_json(summary_json(report))
    if settings.command:
        _run(services, settings, whole)
    name = settings.webhook_env
    url = services.environment.get(name, "") if name else ""
    if name and not url:
        services.ui.note(f"nobody is told: {name} is not set")
    if not url:
        return
    services.ui.mask(url)
    said = message(report, grown, services.environment)
    body: JSONValue = whole if settings.kind is MessageKind.JSON else {"text": said}
    try:
        if urlsplit(url).scheme != "https":
            raise PublishError(f"the URL in {name} is not https")
        _post(services, url, body, _SECONDS)
    except (PodbuildError, ValueError) as error:
        services.ui.warn(f"the webhook in {name} was not reached: {_reason(error, url)}")


def _reason(error: Exception, url: str) -> str:
    """Say why, without the way to the hook, which is its secret."""
    if not isinstance(error, PodbuildError):
        return "not a URL"
    path = urlsplit(url).path
    return error.message.replace(path, "/...") if len(path) > 1 else error.message


def message(report: Report, grown: tuple[Regression, ...], environment: Mapping[str, str]) -> str:
    """Give the message for people: project, version, how it ended, what failed, where to look."""
    lines = [f"{report.project} {report.name}: {report.result.value} in {duration(report.seconds)}"]
    if report.failure:
        lines.append(report.failure.message)
        lines += [f"{job}: {why}" for job, why in report.faults.items() if why not in lines[-1]]
    lines += [each.text for each in grown]
    where = run_url(environment)
    return "\n".join((*map(_plain, lines), *([where] if where else [])))


def _plain(line: str) -> str:
    """Give text that chats show as it is: RUN steps, registries and branches have a say in it.

    Slack's three characters (docs.slack.dev, "Formatting message text"), and what calls everybody
    in Mattermost and Discord.
    """
    escaped = one_line(line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _EVERYBODY.sub("@\u200b", escaped)


def run_url(environment: Mapping[str, str]) -> str:
    """Give the page of this run at the CI system; empty where there is none."""
    server, repository, run = (
        environment.get(name, "")
        for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    )
    if server and repository and run:
        return f"{server}/{repository}/actions/runs/{run}"
    return environment.get("CI_JOB_URL", "") or environment.get("BUILD_URL", "")


def _run(services: Services, settings: NotifySettings, whole: JSONValue) -> None:
    """Hand the report to the user's own command, which gets no secret that it does not name."""
    given = without_secrets(services.config, services.environment, settings.env)
    runner = replace(services.runner, env=given, cwd=services.config.root)
    try:
        data = json.dumps(whole).encode()
        runner(*settings.command, stdin=data, timeout=_SECONDS, on_line=services.ui.detail)
    except PodbuildError as error:
        if error.is_stop:
            raise
        services.ui.warn(f"[notify] command failed: {error.message}")


def _post(
    services: Services,
    url: str,
    body: JSONValue,
    seconds: float,
    *,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Send JSON; raises PublishError where it is not taken."""
    way = services.opener.registries.network
    timeouts = replace(way.timeouts, connect=seconds, read=seconds, head=seconds)
    http = Http(replace(way, timeouts=timeouts), connections=1)
    call = Call(
        method="POST",
        url=url,
        headers={"Content-Type": "application/json", **(headers or {})},
        body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"),
    )
    try:
        for attempt in range(1, _TRIES + 1):
            try:
                answer = http.send(call)
            except Transient as failure:
                if attempt == _TRIES:
                    raise failure.cause from failure
                continue
            if answer.status < 300:  # noqa: PLR2004  # a redirect is no answer of theirs
                return
            if answer.status < 500 or attempt == _TRIES:  # noqa: PLR2004
                raise PublishError(f"{urlsplit(url).hostname} answers {answer.status}")
    finally:
        http.close()
