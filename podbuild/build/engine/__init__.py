"""How engines run: arguments, files, namespaces, storage."""
