"""Where mirrored repositories come from: one forge a file."""
