"""`podbuild audit`."""

from __future__ import annotations

import click

from podbuild.build.inputs import lint
from podbuild.cli.findings import Renderings, give_findings
from podbuild.cli.options import FORMS, Common, common_options, form_option, option
from podbuild.cli.session import open_session
from podbuild.commands import audit
from podbuild.errors import PolicyError
from podbuild.oci import names
from podbuild.report import audit as audit_report
from podbuild.report import write


@click.command(
    epilog="\b\nExamples:\n"
    "  podbuild audit                                  # what is staged here\n"
    "  podbuild audit web --tag 1.2.3 --platform linux/arm64\n"
    "  podbuild audit --format sarif > audit.sarif     # github/codeql-action/upload-sarif\n"
    "  podbuild audit --format gitlab > gl-code-quality-report.json"
)
@click.argument("images", nargs=-1, metavar="[IMAGE...]")
@option(
    "--tag",
    default="",
    metavar="REF",
    help="What is published: a version, a tag, REPOSITORY:TAG or a digest. Else what is staged.",
)
@option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH",
    help="Only these platforms.",
)
@form_option(*FORMS)
@common_options
def command(
    common: Common, images: tuple[str, ...], tag: str, platforms: tuple[str, ...], form: str
) -> int:
    """Say what is in the images that should not be, and which line put it there.

    Bytes that later layers hide, caches of package managers and languages, build tools and
    development packages, secrets in any layer (deleted ones too), .git, root, set-id programs.
    Each with its bytes and what to write instead. The same is written to dist/audit.json.

    Errors are exit code 10. `# podbuild: ignore=RULE` above an instruction, or `[audit] ignore`,
    silences a rule (docs/audit.md).
    """
    with open_session(common) as session:
        services = session.services()
        wanted = tuple(map(names.Platform.parse, platforms))
        found = audit.audit_images(services, images, tag, wanted)
        looked = [(each.reference, anatomy) for each, anatomy in found.looked]
        value = audit_report.audit_json(looked, found.findings)
        write.write_audit(value, services.config.output, session.ui.redactor)
        written = Renderings(
            text=lambda: audit_report.audit_text(looked, found.findings),
            markdown=lambda: audit_report.audit_markdown(looked, found.findings),
            value=value,
        )
        give_findings(session, "audit", form, found.findings, written)
        failed = any(each.level is lint.Level.ERROR for each in found.findings)
        return PolicyError.exit_code if failed else 0
