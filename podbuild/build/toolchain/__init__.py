"""Engines and emulators: found, installed, recorded."""
