"""`podbuild audit`."""

from __future__ import annotations

import click

from podbuild.cli.options import FORMS, Common, common_options, form_option, option
from podbuild.cli.session import open_session


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
        from podbuild.build.inputs.lint import Level  # noqa: PLC0415
        from podbuild.cli.findings import Renderings, give_findings  # noqa: PLC0415
        from podbuild.commands.audit import audit_images  # noqa: PLC0415  # --help is fast
        from podbuild.errors import PolicyError  # noqa: PLC0415
        from podbuild.oci.names import Platform  # noqa: PLC0415
        from podbuild.report.audit import audit_json, audit_markdown, audit_text  # noqa: PLC0415
        from podbuild.report.write import write_audit  # noqa: PLC0415

        services = session.services()
        wanted = tuple(map(Platform.parse, platforms))
        audit = audit_images(services, images, tag, wanted)
        looked = [(each.reference, anatomy) for each, anatomy in audit.looked]
        value = audit_json(looked, audit.findings)
        write_audit(value, services.config.output, session.ui.redactor)
        written = Renderings(
            text=lambda: audit_text(looked, audit.findings),
            markdown=lambda: audit_markdown(looked, audit.findings),
            value=value,
        )
        give_findings(session, "audit", form, audit.findings, written)
        failed = any(each.level is Level.ERROR for each in audit.findings)
        return PolicyError.exit_code if failed else 0
