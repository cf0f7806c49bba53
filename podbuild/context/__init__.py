"""Build contexts: what is left out, and a digest of what is sent."""

from podbuild.context.extra import Extra, Views
from podbuild.context.ignore import Matcher, applicable_ignore_file, parse_ignore, write_ignore
from podbuild.context.own import kept_out, own_patterns
from podbuild.context.walk import Content, Contents

__all__ = [
    "Content",
    "Contents",
    "Extra",
    "Matcher",
    "Views",
    "applicable_ignore_file",
    "kept_out",
    "own_patterns",
    "parse_ignore",
    "write_ignore",
]
