"""Whether what was built can run, told from its layers alone: before anything is published."""
