"""Registries: upload by digest, move tags, verify, retention."""
