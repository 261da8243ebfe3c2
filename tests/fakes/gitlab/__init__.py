"""A fake GitLab CE that speaks real HTTP and holds real git repositories; README.md says what it is held to."""

from tests.fakes.gitlab.server import FakeGitLab, Request, Unknown

__all__ = ["FakeGitLab", "Request", "Unknown"]
