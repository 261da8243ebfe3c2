"""Things kept on this host: rendered files and secrets."""
