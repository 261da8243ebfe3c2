"""Finding repositories at GitLab.com, Gitea and Bitbucket, against stand-ins held to their REST APIs."""

from __future__ import annotations

import pytest

from autogit.errors import MissingError, ProviderAuthError, RateLimitedError, RejectedError, UsageError

pytestmark = pytest.mark.integration


class TestGitLab:
    def test_a_group_with_all_below_it(self, gitlab, ask, paths):
        made = gitlab.add("acme/app", topics=["x"], description="d", archived=True)
        gitlab.add("acme/team/deep/app")
        gitlab.add("acme/gone-deletion_scheduled-7", marked_for_deletion_on="2026-11-20")
        gitlab.add("acmeother/app")
        found = ask("gitlab", gitlab.url)
        assert paths(found) == ["app", "team/deep/app"]
        one = found.repositories[0]
        assert (one.identity, one.url) == (f"gitlab:{made}", f"{gitlab.url}/acme/app.git")
        assert one.wiki_url == f"{gitlab.url}/acme/app.wiki.git"
        assert (one.topics, one.description, one.archived, one.visibility) == (("x",), "d", True, "public")

    @pytest.mark.parametrize("owner", ["acme", "ana"])
    def test_many_pages_and_then_none_of_them(self, gitlab, ask, owner):
        for number in range(250):
            gitlab.add(f"{owner}/app{number}")
        first = ask("gitlab", gitlab.url, owner)
        assert len(first.repositories) == 250
        gitlab.statuses.clear()
        second = ask("gitlab", gitlab.url, owner, etags=first.etags)
        assert second.repositories == first.repositories
        assert second.requests == 3
        assert gitlab.statuses == [304] * 3

    def test_a_user_that_becomes_a_group_is_found_again(self, gitlab, ask, paths):
        gitlab.add("ana/app")
        first = ask("gitlab", gitlab.url, "ana")
        gitlab.users.clear()
        gitlab.groups.add("ana")
        assert paths(ask("gitlab", gitlab.url, "ana", etags=first.etags)) == ["app"]

    def test_a_nested_group_is_one_part_of_the_address(self, gitlab, ask, paths):
        gitlab.groups.add("acme/team")
        gitlab.add("acme/team/app")
        assert paths(ask("gitlab", gitlab.url, "acme/team")) == ["app"]
        assert "acme%2Fteam" in gitlab.asked[0].path

    def test_a_wiki_that_is_off(self, gitlab, ask):
        gitlab.add("acme/a", wiki_access_level="disabled")
        gitlab.add("acme/b", wiki_enabled=False)
        assert [one.wiki_url for one in ask("gitlab", gitlab.url).repositories] == ["", ""]

    def test_find(self, gitlab, look_up):
        made = gitlab.add("acme/app")
        assert look_up("gitlab", gitlab.url, f"gitlab:{made}").path == "app"
        gitlab.projects[made]["path_with_namespace"] = "else/where/app"
        assert look_up("gitlab", gitlab.url, f"gitlab:{made}").path == "else/where/app"
        assert look_up("gitlab", gitlab.url, "gitlab:1") is None

    def test_missing_scope_is_named(self, gitlab, ask):
        with pytest.raises(ProviderAuthError, match="lacks the scope api or read_api"):
            ask("gitlab", gitlab.url, token=gitlab.add_token("read_repository"))

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("Token is expired. You can either do re-authorization or token refresh.", "the token has expired"),
            ("Token was revoked. You have to re-authorize from the user.", "the token was revoked"),
        ],
    )
    def test_a_token_that_has_ended(self, gitlab, ask, said, told):
        with pytest.raises(ProviderAuthError, match=told):
            ask("gitlab", gitlab.url, token=gitlab.add_token(ended=said))

    def test_wrong_token_and_no_such_owner(self, gitlab, ask):
        with pytest.raises(ProviderAuthError, match="not taken: 401 Unauthorized"):
            ask("gitlab", gitlab.url, token="glpat-wrong")
        with pytest.raises(MissingError, match="the projects of nobody"):
            ask("gitlab", gitlab.url, "nobody")

    def test_private_ones_need_the_token(self, gitlab, ask, paths):
        gitlab.add("acme/secret", visibility="private")
        assert paths(ask("gitlab", gitlab.url)) == []
        assert paths(ask("gitlab", gitlab.url, token=gitlab.add_token())) == ["secret"]


class TestGitea:
    @pytest.mark.parametrize("owner", ["acme", "ana"])
    def test_many_pages_at_a_server_that_does_not_know_its_address(self, gitea, ask, owner):
        for number in range(120):
            gitea.add(owner, f"app{number}", private=number == 7)
        found = ask("gitea", gitea.url, owner, gitea.add_token("ana"))
        assert len(found.repositories) == 120
        assert found.complete
        one = found.repositories[7]
        assert (one.identity, one.visibility, one.url) == ("gitea:8", "private", f"{gitea.url}/{owner}/app7.git")
        again = ask("gitea", gitea.url, owner, gitea.add_token("ana"), found.etags)
        assert again.requests == 3

    def test_a_server_that_gives_smaller_pages(self, gitea, ask):
        gitea.most = 10
        for number in range(35):
            gitea.add("ana", f"app{number}")
        assert len(ask("gitea", gitea.url, "ana").repositories) == 35

    def test_a_renamed_user_shows_nothing_under_the_old_name_and_says_so(self, gitea, ask, paths):
        gitea.renamed["old"] = "ana"
        gitea.add("ana", "app")
        found = ask("gitea", gitea.url, "old")
        assert found.repositories == ()
        assert "under that owner's name" in found.notes[0]
        assert paths(ask("gitea", gitea.url, "ana")) == ["app"]

    def test_external_wikis_are_none(self, gitea, ask):
        gitea.add("ana", "app", external_wiki={"external_wiki_url": "https://x.test"})
        assert ask("gitea", gitea.url, "ana").repositories[0].wiki_url == ""

    def test_find(self, gitea, look_up):
        made = gitea.add("acme", "app")
        assert look_up("gitea", gitea.url, f"gitea:{made}").path == "app"
        gitea.repositories[made]["full_name"] = "acme/new"
        assert look_up("gitea", gitea.url, f"gitea:{made}").path == "new"
        assert look_up("gitea", gitea.url, "gitea:77") is None

    @pytest.mark.parametrize("is_old", [True, False])
    def test_missing_scope_is_named(self, gitea, ask, is_old):
        gitea.is_old = is_old
        with pytest.raises(ProviderAuthError, match=r"lacks the scope read:repository$"):
            ask("gitea", gitea.url, "ana", gitea.add_token("ana", ["read:user"]))

    def test_wrong_token_no_owner_no_server(self, gitea, ask):
        with pytest.raises(ProviderAuthError, match="not taken: invalid username, password or token"):
            ask("gitea", gitea.url, "ana", "f" * 40)
        with pytest.raises(MissingError, match="the repositories of nobody"):
            ask("gitea", gitea.url, "nobody")
        with pytest.raises(UsageError, match="needs its server"):
            ask("gitea", "", "ana")


class TestBitbucket:
    def test_a_workspace(self, bitbucket, ask):
        made = bitbucket.add("acme", "app", is_private=True, has_wiki=True, description="d")
        bitbucket.add("acme", "empty", mainbranch=None, parent={"full_name": "x/y"})
        found = ask("bitbucket", bitbucket.url, token=bitbucket.add_token(), forks=True)
        assert bitbucket.asked[0].query == {"pagelen": "100", "sort": "created_on"}
        one, empty = found.repositories
        assert (one.identity, one.path, one.visibility) == (f"bitbucket:{made}", "app", "private")
        assert (one.url, one.wiki_url) == (f"{bitbucket.url}/acme/app.git", f"{bitbucket.url}/acme/app.git/wiki")
        assert (empty.default_branch, empty.fork) == ("", True)

    def test_without_a_token_public_ones_are_shown(self, bitbucket, ask, paths):
        bitbucket.add("acme", "app")
        bitbucket.add("acme", "secret", is_private=True)
        assert paths(ask("bitbucket", bitbucket.url)) == ["app"]

    def test_many_pages_and_then_none_of_them(self, bitbucket, ask):
        for number in range(250):
            bitbucket.add("acme", f"app{number}")
        token = f"ana@example.org:{bitbucket.add_token(email='ana@example.org')}"
        first = ask("bitbucket", bitbucket.url, token=token)
        assert len(first.repositories) == 250
        second = ask("bitbucket", bitbucket.url, token=token, etags=first.etags)
        assert second.repositories == first.repositories
        assert bitbucket.statuses == [200] * 3 + [304] * 3

    def test_next_is_followed_on_the_same_host_only(self, bitbucket, ask):
        for number in range(101):
            bitbucket.add("acme", f"app{number}")
        bitbucket.next_url = "http://127.0.0.1:9/2.0/repositories/acme?page=2"
        with pytest.raises(RejectedError, match="leads to another host"):
            ask("bitbucket", bitbucket.url, token=bitbucket.add_token())

    def test_find_by_uuid(self, bitbucket, look_up):
        made = bitbucket.add("acme", "app")
        assert look_up("bitbucket", bitbucket.url, f"bitbucket:{made}").path == "app"
        bitbucket.repositories[made]["full_name"] = "acme/new"
        assert look_up("bitbucket", bitbucket.url, f"bitbucket:{made}").path == "new"
        assert look_up("bitbucket", bitbucket.url, "bitbucket:{0}") is None

    @pytest.mark.parametrize(("email", "scope"), [("", "repository"), ("a@b.c", "read:repository:bitbucket")])
    def test_missing_scope_is_named(self, bitbucket, ask, email, scope):
        token = bitbucket.add_token("account", email=email)
        with pytest.raises(ProviderAuthError, match=f"lacks the scope {scope}$"):
            ask("bitbucket", bitbucket.url, token=f"{email}:{token}" if email else token)

    def test_wrong_token_and_no_such_workspace(self, bitbucket, ask):
        with pytest.raises(ProviderAuthError, match="invalid, has expired") as caught:
            ask("bitbucket", bitbucket.url, token="ATCTTwrong")
        assert "e-mail:token" in caught.value.hint
        with pytest.raises(MissingError, match="No workspace with identifier 'nobody'"):
            ask("bitbucket", bitbucket.url, "nobody")

    def test_a_limit_without_a_time_is_a_minute(self, bitbucket, ask):
        bitbucket.fail(429, b"Rate limit for this resource has been exceeded")
        with pytest.raises(RateLimitedError) as caught:
            ask("bitbucket", bitbucket.url)
        assert caught.value.retry_after_seconds == 60
