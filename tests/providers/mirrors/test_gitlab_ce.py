"""The source for GitLab against the fuller stand-in, which was made without knowing the source."""

from __future__ import annotations

import pytest

from autogit.errors import ProviderAuthError
from tests.fakes.gitlab import FakeGitLab

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path):
    with FakeGitLab(tmp_path / "gitlab") as fake:
        fake.seed_user("ada")
        for number in range(102):
            fake.seed_project(f"team/sub/app{number}", visibility="public")
        fake.seed_project("team/secret", visibility="private")
        fake.add_member("ada", "team", 20)
        yield fake
        assert fake.unknown_parameters == []


def test_a_group_is_found_once_and_then_known(server, ask, look_up):
    token = server.seed_token("ada", ["read_api", "read_repository"], "mirror")
    first = ask("gitlab", server.url, "team", token)
    assert len(first.repositories) == 103
    second = ask("gitlab", server.url, "team", token, first.etags)
    assert second.repositories == first.repositories
    assert [status for _, _, status, _ in server.requests] == [200, 200, 304, 304]
    assert look_up("gitlab", server.url, first.repositories[5].identity, "team", token) == first.repositories[5]
    assert look_up("gitlab", server.url, "gitlab:99999", "team", token) is None


def test_too_narrow_a_token_is_told_its_scope(server, ask):
    token = server.seed_token("ada", ["read_repository"], "mirror")
    with pytest.raises(ProviderAuthError, match="lacks the scope api or read_api"):
        ask("gitlab", server.url, "team", token)
