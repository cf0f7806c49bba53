"""A login as a value. Its secret never shows in a repr, a log or a comparison's message."""

from __future__ import annotations

import base64
from dataclasses import field
from enum import Enum

from podbuild.system.later import dataclass


class CredentialKind(Enum):
    """How a secret is used."""

    PASSWORD = "password"  # noqa: S105  # also an access token: anything that Basic carries
    IDENTITY_TOKEN = "identity token"  # noqa: S105  # OAuth2: only ever sent to the token server


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A login. `source` says where it is from, for messages."""

    username: str
    secret: str = field(repr=False)
    source: str
    kind: CredentialKind = CredentialKind.PASSWORD

    @property
    def basic(self) -> str:
        """Give the base64 text of `user:secret` (RFC 7617)."""
        return base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()
