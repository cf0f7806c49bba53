"""Files that hold secrets, in any layer: known by name, and by a line that holds a value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from podbuild.oci.examine import FileAnalysis
from podbuild.oci.layers import LayerEntry
from podbuild.system.records import JSONValue

_READ = 256 * 1024  # bytes of a file in which a secret is looked for
# What others publish: keys of tests, examples.
_THIRD_PARTY = re.compile(
    r"(^|.*/)(node_modules|site-packages|dist-packages|vendor/bundle|go/pkg/mod|gems|"
    r"usr/share|usr/lib/python[\d.]*|testdata|tests?|examples?|__tests__|fixtures)/.*"
)
# Keys that a package makes when it is installed, for a certificate that nobody trusts.
_SELF_SIGNED = frozenset(
    {"etc/ssl/private/ssl-cert-snakeoil.key", "etc/pki/tls/private/localhost.key"}
)
_VALUE = r"(?!\s*[\"']?(?:\$|%|<|\{\{))\s*[\"']?[^\s\"']"  # no placeholder such as ${TOKEN}
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY( BLOCK)?-----")
_URL = re.compile(r"://[^/\s:@]+:(?!\$)[^/\s:@]+@")


@dataclass(frozen=True)
class _Kind:
    what: str
    name: re.Pattern[str]  # of the path
    line: re.Pattern[str]


def _kind(what: str, name: str, line: str) -> _Kind:
    pattern = re.compile(line, re.IGNORECASE | re.MULTILINE)
    return _Kind(what, re.compile(rf"(.*/)?{name}"), pattern)


_KINDS = (
    _kind(
        "a password or token", r"\.?npmrc", rf"^[^#;\n]*(_authToken|_auth|_password)\s*={_VALUE}"
    ),
    _kind("a token", r"\.yarnrc\.yml", rf"^\s*npmAuth(Token|Ident)\s*:{_VALUE}"),
    _kind("a password", r"\.pypirc", rf"^\s*password\s*[=:]{_VALUE}"),
    _kind("a password", r"(pip\.conf|uv\.toml)", _URL.pattern),
    _kind("a password", r"[._]netrc", rf"\bpassword\s+{_VALUE}"),
    _kind("a password", r"\.git-credentials", _URL.pattern),
    _kind("a password", r"\.git/config", _URL.pattern),
    _kind(
        "a registry's login",
        r"(\.docker/config|\.dockercfg|containers/auth|\.config/containers/auth)(\.json)?",
        rf"\"(auth|identitytoken|password|registrytoken)\"\s*:\s*\"{_VALUE}",
    ),
    _kind("an access key", r"\.aws/credentials", rf"^\s*aws_secret_access_key\s*={_VALUE}"),
    _kind("a key of a service account", r"[^/]*\.json", r"\"private_key\"\s*:\s*\"-----BEGIN"),
    _kind(
        "a login", r"application_default_credentials\.json", r"\"(client_secret|refresh_token)\""
    ),
    _kind("a token", r"\.azure/(accessTokens\.json|msal_token_cache\.json)", r"token"),
    _kind(
        "a login",
        r"(\.kube/config|kubeconfig)",
        rf"^\s*(token|password|client-key-data)\s*:{_VALUE}",
    ),
    _kind("a token", r"\.config/(gh|hub)(/hosts\.yml)?", rf"oauth_token\s*:{_VALUE}"),
    _kind(
        "a token",
        r"\.(terraformrc|terraform\.d/credentials\.tfrc\.json)",
        rf"token\"?\s*[=:]{_VALUE}",
    ),
    _kind("a token", r"\.cargo/credentials(\.toml)?", rf"^\s*token\s*={_VALUE}"),
    _kind("a token", r"\.gem/credentials", rf":{_VALUE}"),
    _kind("a password", r"\.m2/settings(-security)?\.xml", r"<(password|master)>(?!\s*\$)[^<\s]"),
    _kind("a password", r"\.gradle/gradle\.properties", rf"(password|token|secret)\w*\s*={_VALUE}"),
    _kind(
        "a login",
        r"(\.composer|\.config/composer)?/?auth\.json",
        r"\"(password|github-oauth|token)",
    ),
    _kind("a password", r"\.pgpass", r"^[^#\n]*:[^:\n]*:[^:\n]*:[^:\n]*:."),
    _kind("a password", r"\.my\.cnf", rf"^\s*password\s*={_VALUE}"),
    _kind("a password", r"\.vault-token", r"\S"),
    _kind(
        "values",
        r"\.env(\.(?!example|sample|template|dist|defaults?|schema)[\w.-]+)?",
        rf"^\s*(export\s+)?\w+\s*={_VALUE}",
    ),
    _kind(
        "a private key",
        r"(id_(rsa|dsa|ecdsa|ed25519)(_sk)?|[^/]*_rsa|ssh_host_\w+_key|\.gnupg/private-keys.*)",
        _PRIVATE.pattern,
    ),
    _kind("a private key", r"[^/]*\.(pem|key|pk8|p8|ppk|asc)", _PRIVATE.pattern),
)


def _secret_of(found: LayerEntry) -> JSONValue:
    entry = found.entry
    return (secret_in(entry.path, lambda: found.head(_READ)) or None) if entry.size else None


SECRETS = FileAnalysis("secrets-2", _secret_of)  # which files hold secrets, never what they hold


def secret_in(path: str, head: Callable[[], bytes]) -> str:
    """Say what kind of secret a file holds; empty: none. `head` gives its first bytes.

    >>> secret_in("root/.npmrc", lambda: b"//registry.npmjs.org/:_authToken=npm_0123")
    'a password or token'
    >>> secret_in("root/.npmrc", lambda: b"//registry.npmjs.org/:_authToken=${NPM_TOKEN}")
    ''
    """
    if path in _SELF_SIGNED or _THIRD_PARTY.fullmatch(path):
        return ""
    for kind in _KINDS:
        if kind.name.fullmatch(path) and kind.line.search(head().decode("utf-8", "replace")):
            return kind.what
    return ""
