"""podbuild takes a git tag to verified multi-architecture images on every registry."""

__version__ = "0.1.0"
