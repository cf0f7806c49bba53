"""Pipelines for CI systems: legs that build a platform each, and the join that releases."""
