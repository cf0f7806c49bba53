"""podbuild.toml -> frozen types."""
