"""Layers and cache mounts that runners share."""
