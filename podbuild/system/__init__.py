"""This machine: processes, files, locks, signals, the console."""
