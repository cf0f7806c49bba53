"""What will be done: git, versions, tags, guards, what registries hold, the journal."""
