"""Finding repositories at GitHub, against a stand-in held to its REST API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from autogit.errors import MissingError, ProviderAuthError, RateLimitedError, RejectedError, UnsupportedError

pytestmark = pytest.mark.integration


def test_an_organisation_with_all_that_is_told(github, ask):
    made = github.add(
        "acme", "app", visibility="internal", topics=["a", "b"], description="An\tapp", has_wiki=True, archived=True
    )
    found = ask("github", github.url, token=github.add_token("ana"))
    (one,) = found.repositories
    assert (one.identity, one.path, one.url) == (f"github:{made}", "app", f"{github.url}/acme/app.git")
    assert one.wiki_url == f"{github.url}/acme/app.wiki.git"
    assert (one.visibility, one.topics, one.description) == ("internal", ("a", "b"), "An app")
    assert (one.default_branch, one.archived, one.fork, one.size_bytes) == ("main", True, False, 108 * 1024)
    assert one.updated_at == "2026-01-26T19:06:43Z"
    assert found.complete
    assert found.notes == ()


def test_headers_are_those_that_github_wants(github, ask):
    ask("github", github.url, token=github.add_token("ana"))
    headers = github.asked[0].headers
    assert headers["accept"] == "application/vnd.github+json"
    assert headers["x-github-api-version"] == "2022-11-28"
    assert headers["user-agent"].startswith("autogit/")


def test_the_tokens_own_user_shows_private_ones(github, ask, paths):
    github.add("ana", "open")
    github.add("ana", "secret", visibility="private")
    assert paths(ask("github", github.url, "Ana", github.add_token("ana"))) == ["open", "secret"]
    assert paths(ask("github", github.url, "ana", github.add_token("bob"))) == ["open"]
    assert paths(ask("github", github.url, "ana")) == ["open"]


def test_the_wiki_is_the_rules_wish(github, ask):
    github.add("acme", "app", has_wiki=True)
    assert ask("github", github.url, wiki=False).repositories[0].wiki_url == ""


def test_an_unchanged_organisation_of_a_thousand_costs_eleven_requests_without_a_body(github, ask):
    for number in range(1000):
        github.add("acme", f"app{number}")
    token = github.add_token("ana")
    first = ask("github", github.url, token=token)
    github.statuses.clear()
    used = github.used
    second = ask("github", github.url, token=token, etags=first.etags)
    assert second.repositories == first.repositories
    assert len(second.repositories) == 1000
    assert second.requests == 11
    assert github.statuses == [304] * 11
    assert github.used == used
    assert second.etags == first.etags


def test_only_pages_that_changed_are_read_again(github, ask, paths):
    made = [github.add("acme", f"app{number}") for number in range(250)]
    token = github.add_token("ana")
    first = ask("github", github.url, token=token)
    github.repositories[made[240]]["name"] = "renamed"
    github.statuses.clear()
    second = ask("github", github.url, token=token, etags=first.etags)
    assert github.statuses == [304, 304, 304, 200]
    assert "renamed" in paths(second)
    assert len(second.repositories) == 250


def test_filters_may_change_while_pages_do_not(github, ask, paths):
    github.add("acme", "app")
    github.add("acme", "fork", fork=True)
    first = ask("github", github.url)
    assert paths(first) == ["app"]
    second = ask("github", github.url, etags=first.etags, forks=True, exclude=("app",))
    assert paths(second) == ["fork"]
    assert set(github.statuses[-2:]) == {304}


def test_what_was_kept_is_not_taken_for_another_rule(github, ask):
    github.add("acme", "app", has_wiki=True)
    first = ask("github", github.url)
    assert first.repositories[0].wiki_url
    assert ask("github", github.url, etags=first.etags, wiki=False).repositories[0].wiki_url == ""
    other = github.url.replace("127.0.0.1", "localhost")
    assert ask("github", other, etags=first.etags).repositories[0].url == f"{other}/acme/app.git"


def test_what_was_kept_damaged_is_asked_for_anew(github, ask, paths):
    github.add("acme", "app")
    kept = ask("github", github.url).etags
    for damage in ("", "{", "[]", '{"etag":1}', '{"etag":"x"}', '{"etag":"x","found":[{"a":1}]}', "7"):
        etags = {key: damage if "/" in key else value for key, value in kept.items()}
        assert paths(ask("github", github.url, etags=etags)) == ["app"]


def test_a_name_that_clashes_or_is_hostile_is_left_out(github, ask, paths):
    for name in ("app", "App", "..", "-x", "a\nb", "fine"):
        github.add("acme", name)
    github.repositories[github.add("acme", "numberless")]["id"] = None
    found = ask("github", github.url)
    assert paths(found) == ["app", "fine"]
    assert found.complete
    assert len(found.notes) == 5


def test_a_later_page_that_fails_makes_it_a_part(github, ask):
    for number in range(150):
        github.add("acme", f"app{number}")
    first = ask("github", github.url)
    github.fail(502, b"<html>", prefix="/api/v3/organizations")
    found = ask("github", github.url, etags=first.etags)
    assert not found.complete
    assert len(found.repositories) == 100
    assert "not possible right now" in found.notes[0]
    assert "100 repositories" in found.notes[0]
    assert ask("github", github.url, etags=found.etags).repositories == first.repositories


def test_pages_without_end_are_not_followed_forever(github, ask, monkeypatch):
    monkeypatch.setattr("autogit.providers.mirrors.walk.MOST_PAGES", 5)
    for number in range(900):
        github.add("acme", f"app{number}")
    found = ask("github", github.url)
    assert not found.complete
    assert len(found.repositories) == 500
    assert found.requests == 6


def test_a_page_that_is_its_own_next_is_read_once(github, ask):
    github.add("acme", "app")
    place = "/api/v3/orgs/acme/repos?type=all&per_page=100&sort=created&direction=asc"
    shown = [github.shown(one) for one in github.repositories.values()]
    github.fail(200, shown, prefix="/api/v3/orgs", times=9, Link=f'<{github.url}{place}>; rel="next", <x>; rel="last"')
    found = ask("github", github.url)
    assert not found.complete
    assert found.requests <= 4


class TestFind:
    def test_renamed_and_gone(self, github, look_up):
        made = github.add("acme", "app")
        token = github.add_token("ana")
        assert look_up("github", github.url, f"github:{made}", token=token).path == "app"
        github.repositories[made]["name"] = "new"
        assert look_up("github", github.url, f"github:{made}", token=token).path == "new"
        del github.repositories[made]
        assert look_up("github", github.url, f"github:{made}", token=token) is None

    def test_one_that_went_to_another_owner_has_its_full_path(self, github, look_up):
        made = github.add("bob", "app")
        found = look_up("github", github.url, f"github:{made}")
        assert (found.path, found.url) == ("bob/app", f"{github.url}/bob/app.git")

    def test_blocked_is_not_gone(self, github, look_up):
        made = github.add("acme", "app")
        for answer in (
            (451, {"message": "Repository access blocked", "block": {"reason": "dmca"}}),
            (403, {"message": "Repository access blocked"}),
        ):
            github.blocked = {made: answer}
            with pytest.raises(RejectedError, match="blocked"):
                look_up("github", github.url, f"github:{made}")

    def test_a_classic_token_without_repo_cannot_tell_private_from_gone(self, github, look_up):
        token = github.add_token("ana", ["public_repo"])
        with pytest.raises(ProviderAuthError, match="lacks the scope repo"):
            look_up("github", github.url, "github:1", token=token)
        assert look_up("github", github.url, "github:1", token=token, private=False) is None

    def test_a_hostile_new_name_is_refused(self, github, look_up):
        made = github.add("acme", "--upload-pack=x")
        with pytest.raises(UnsupportedError, match="cannot be kept"):
            look_up("github", github.url, f"github:{made}")

    @pytest.mark.parametrize("identity", ["gitlab:1", "github:x", "github:../user", "github:", "1"])
    def test_an_identity_of_another_kind_is_refused(self, github, look_up, identity):
        with pytest.raises(UnsupportedError, match="no identity"):
            look_up("github", github.url, identity)
        assert github.asked == []


class TestRefusals:
    def test_wrong_token(self, github, ask):
        with pytest.raises(ProviderAuthError, match="the token is not taken: Bad credentials") as caught:
            ask("github", github.url, token="ghp_" + "x" * 36)
        assert "Contents: Read-only" in caught.value.hint

    def test_expired_token_says_when(self, github, ask):
        token = github.add_token("ana", expires=datetime(2026, 1, 2, tzinfo=UTC))
        with pytest.raises(ProviderAuthError, match="expired on 2026-01-02"):
            ask("github", github.url, token=token)

    def test_a_token_that_soon_expires_is_noted(self, github, ask):
        end = datetime.now(UTC) + timedelta(days=3)
        found = ask("github", github.url, token=github.add_token("ana", expires=end))
        assert found.notes == (f"github: the token expires on {end:%Y-%m-%d}",)
        assert found.complete

    def test_a_classic_token_without_repo_makes_it_a_part(self, github, ask, paths):
        github.add("acme", "open")
        github.add("acme", "secret", visibility="private")
        token = github.add_token("ana", [])
        found = ask("github", github.url, token=token)
        assert paths(found) == ["open"]
        assert not found.complete
        assert not ask("github", github.url, token=token, etags=found.etags).complete
        assert "lacks the scope repo" in found.notes[0]
        assert ask("github", github.url, token=token, private=False).complete

    def test_a_fine_grained_token_shows_what_it_is_for(self, github, ask, paths):
        made = github.add("acme", "mine", visibility="private")
        github.add("acme", "other", visibility="private")
        found = ask("github", github.url, token=github.add_token("ana", None, [made]))
        assert paths(found) == ["mine"]
        assert found.complete

    def test_missing_scope_and_permission_are_named(self, github, ask):
        body = {"message": "Must have admin rights to Repository."}
        github.fail(403, body, X_OAuth_Scopes="gist", X_Accepted_OAuth_Scopes="read:org, repo")
        with pytest.raises(ProviderAuthError, match="lacks the scope read:org or repo"):
            ask("github", github.url, token=github.add_token("ana"))
        body = {"message": "Resource not accessible by personal access token"}
        github.fail(403, body, X_Accepted_GitHub_Permissions="metadata=read; contents=read")
        with pytest.raises(ProviderAuthError, match="permission metadata: read or contents: read"):
            ask("github", github.url, token=github.add_token("ana"))

    def test_single_sign_on(self, github, ask):
        url = "required; url=https://github.com/orgs/acme/sso?authorization_request=abc"
        github.fail(403, {"message": "Resource protected by organization SAML enforcement."}, X_GitHub_SSO=url)
        with pytest.raises(ProviderAuthError, match="single sign-on") as caught:
            ask("github", github.url, token=github.add_token("ana"))
        assert "Configure SSO" in caught.value.hint
        github.sso = "partial-results; organizations=21955855"
        assert not ask("github", github.url, token=github.add_token("ana")).complete

    def test_an_owner_that_is_not_there(self, github, ask):
        with pytest.raises(MissingError, match="the owner nobody"):
            ask("github", github.url, "nobody")

    def test_primary_limit_tells_when_it_ends(self, github, ask):
        github.limit = 1
        with pytest.raises(RateLimitedError, match="again in 30 minutes") as caught:
            ask("github", github.url)
        assert 1700 < caught.value.retry_after_seconds <= 1800

    @pytest.mark.parametrize(
        ("status", "headers", "least", "most"),
        [
            (429, {"Retry-After": "17"}, 17, 17),
            (403, {"Retry-After": "90"}, 90, 90),
            (403, {"X-RateLimit-Remaining": "40", "X-RateLimit-Reset": "9999999999"}, 60, 60),
            (403, {}, 60, 60),
            (429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999999999"}, 86400, 86400),
        ],
    )
    def test_secondary_limits(self, github, ask, status, headers, least, most):
        body = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
        github.fail(status, body, **{name.replace("-", "_"): value for name, value in headers.items()})
        with pytest.raises(RateLimitedError) as caught:
            ask("github", github.url)
        assert least <= caught.value.retry_after_seconds <= most
