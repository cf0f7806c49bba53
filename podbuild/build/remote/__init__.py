"""Builders: podman services of a run's own on other machines, reached over the system's ssh."""
