"""Where texts to be scanned come from: files, archives, the history of a git repository."""
