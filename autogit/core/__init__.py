"""Verbs: the engine, one step a file."""
