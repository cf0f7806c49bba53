"""Tokens and credentials for registries."""
