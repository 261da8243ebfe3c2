"""Runtimes: what services run in."""
