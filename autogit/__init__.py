"""AutoGit: one `.env` file becomes a running, self-healing, self-hosted GitOps platform."""

__version__ = "0.1.0"
