"""What AutoGit manages things through: contracts and one file a backend."""
