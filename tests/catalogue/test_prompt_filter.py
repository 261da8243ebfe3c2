"""Which requests are judged for prompt injection, by the rules that Traefik is given, and what a plan says of it."""

from __future__ import annotations

import re

import pytest
import re2
import yaml

from autogit.core.render import render
from autogit.errors import RenderError

GITLAB = "RUNTIME=docker\nSERVICES_ENABLED=gitlab,grafana,api,prompt-filter\n"
EMBEDDED = "SERVICES_ENABLED=api,prompt-filter\n"
_HOST = re.compile(r"Host\(`([^`]*)`\)")
_PATH = re.compile(r"(!?)PathRegexp\(`([^`]*)`\)")
_PREFIX = re.compile(r"PathPrefix\(`([^`]*)`\)")
_METHOD = re.compile(r"Method\(`([^`]*)`\)")


def routers(spec):
    return yaml.safe_load(render(spec).files["traefik/dynamic/routes.yml"].text)["http"]["routers"]


def router_of(found, host, method, path):
    """The router that takes a request: the longest rule that fits, as Traefik has it."""
    fitting = [
        (len(one["rule"]), name)
        for name, one in found.items()
        if _HOST.findall(one["rule"]) == [host]
        and all(bool(re2.search(rule, path)) is not bool(negated) for negated, rule in _PATH.findall(one["rule"]))
        and all(path.startswith(prefix) for prefix in _PREFIX.findall(one["rule"]))
        and method in (_METHOD.findall(one["rule"]) or [method])
    ]
    return found[max(fitting)[1]]


def is_judged(found, host, method, path):
    return "prompt-injection-filter" in router_of(found, host, method, path)["middlewares"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/group/project/-/issues"),
        ("POST", "/api/v4/projects/1/issues"),
        ("PUT", "/api/v4/projects/group%2Fproject/issues/1"),
        ("POST", "/api/v4/projects/1/merge_requests/2/notes"),
        ("POST", "/api/v4/projects/group/project/repository/commits"),
        ("POST", "/api/v4/projects/1/repository/files/README.md"),
        ("POST", "/api/v4/projects/1/wikis"),
        ("POST", "/api/v4/snippets"),
        ("POST", "/api/graphql"),
        ("POST", "/group/project/-/preview_markdown"),
        ("POST", "/users/sign_in"),
        # Whoever writes a file or a page chooses its name.
        ("POST", "/api/v4/projects/1/repository/files/uploads"),
        ("POST", "/api/v4/projects/1/repository/files/uploads.md"),
        ("POST", "/api/v4/projects/1/repository/files/docs%2Fpackages%2Fa.md"),
        ("POST", "/api/v4/projects/1/repository/files/docs/packages/a.md"),
        ("POST", "/api/v4/projects/1/repository/files/a.git/info/refs"),
        ("PUT", "/api/v4/projects/1/wikis/export-of-data"),
        ("PUT", "/api/v4/projects/1/wikis/attachments"),
        ("POST", "/api/v4/projects/importers%2Fproject/issues"),
        ("POST", "/group/project/-/update/main/uploads"),
        ("POST", "/group/project/-/create/main/docs/a.git/info/refs"),
        ("POST", "/group/project/-/wikis/-/archive/a"),
        ("POST", "/group/uploads/-/issues"),
        ("POST", "/group/uploads-of-mine/-/issues"),
        # A path that leads elsewhere for who resolves what Traefik leaves encoded.
        ("POST", "/uploads/user/..%2f..%2fgroup/project/-/issues"),
        ("POST", "/uploads/user/%2E./..;/group/project/-/issues"),
        ("POST", "/uploads/user/..%252fgroup/project/-/issues"),
    ],
)
def test_texts_for_gitlab_are_judged(platform, method, path):
    assert is_judged(routers(platform(GITLAB)), "gitlab.autogit.localhost", method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/group/project.git/info/refs"),
        ("POST", "/group/project.git/git-upload-pack"),
        ("POST", "/group/project.git/git-receive-pack"),
        ("PUT", "/group/project.git/gitlab-lfs/objects/0123/45"),
        ("POST", "/group/project.git/info/lfs/objects/batch"),
        ("PUT", "/v2/group/project/blobs/uploads/1"),
        ("POST", "/jwt/auth"),
        ("POST", "/group/sub/project.git/git-receive-pack"),
        ("POST", "/snippets/1.git/git-receive-pack"),
        ("POST", "/apis/project.git/git-receive-pack"),
        ("POST", "/ap/project.git/git-receive-pack"),
        ("POST", "/a/apple.git/info/lfs/locks"),
        ("POST", "/group/project/uploads"),
        ("POST", "/group/project/uploads/authorize"),
        ("POST", "/groups/group/-/uploads"),
        ("POST", "/import/gitlab_project"),
        ("POST", "/api/v4/groups/import/authorize"),
        ("PUT", "/api/v4/groups/1/-/packages/npm/@scope%2Fname"),
        ("POST", "/api/v4/projects/1/secure_files"),
        ("POST", "/api/v4/projects/1/wikis/attachments"),
        ("POST", "/api/v4/projects/1/issues/2/metric_images"),
        ("PUT", "/api/v4/projects/1/packages/generic/x/1.0/x.tar"),
        ("POST", "/api/v4/projects/group%2Fproject/packages/pypi"),
        ("POST", "/api/v4/jobs/request"),
        ("PATCH", "/api/v4/jobs/1/trace"),
        ("POST", "/api/v4/jobs/1/artifacts"),
        ("POST", "/uploads/user"),
        ("POST", "/api/v4/projects/1/uploads"),
        ("POST", "/api/v4/projects/import"),
        ("POST", "/api/v4/projects/1/terraform/state/x"),
        ("GET", "/-/cable"),
        ("GET", "/-/kubernetes-agent/"),
        ("POST", "/api/v4/internal/allowed"),
        ("POST", "/api/v4/runners/verify"),
    ],
)
def test_what_git_runners_and_package_managers_send_is_not(platform, method, path):
    assert not is_judged(routers(platform(GITLAB)), "gitlab.autogit.localhost", method, path)


def test_other_services_are_judged_but_for_what_they_name(platform):
    found = routers(platform(GITLAB))
    assert is_judged(found, "grafana.autogit.localhost", "POST", "/api/annotations")
    assert not is_judged(found, "grafana.autogit.localhost", "POST", "/api/ds/query")
    assert not is_judged(found, "registry.autogit.localhost", "PUT", "/v2/x/blobs/1")
    assert is_judged(found, "api.autogit.localhost", "POST", "/api/v1/services")
    assert not is_judged(found, "api.autogit.localhost", "POST", "/api/v1/security/analyze")


def test_a_bypass_keeps_every_other_middleware(platform):
    found = routers(platform(GITLAB))
    for name, one in found.items():
        parent = found[name.partition("-bypass-")[0]]
        assert one["service"] == parent["service"], name
        assert [m for m in parent["middlewares"] if m != "prompt-injection-filter"] == [
            m for m in one["middlewares"] if m != "prompt-injection-filter"
        ]
        assert (
            one["middlewares"][-1] == "prompt-injection-filter" or "prompt-injection-filter" not in one["middlewares"]
        )


@pytest.mark.parametrize(
    "env",
    ["SERVICES_ENABLED=api\n", f"{EMBEDDED}PROMPT_FILTER=off\n", f"{EMBEDDED}PROMPT_FILTER_SERVICES=api:off\n"],
)
def test_without_the_filter_no_route_names_it(platform, env):
    spec = platform(env)
    assert [name for name in routers(spec) if "bypass" in name] == []
    assert not is_judged(routers(spec), "api.autogit.localhost", "POST", "/api/v1/services")
    files = render(spec).files
    assert ("traefik/plugins-local/src/autogit-security/filter.go" in files) == ("prompt-filter" in env)
    assert ("localPlugins" in files["traefik/traefik.yml"].text) == ("prompt-filter" in env)


@pytest.mark.parametrize("runtime", ["embedded", "docker"])
def test_nginx_does_not_filter_and_the_plan_warns(platform, workbench, runtime):
    workbench.facts.executables["nginx"] = "/usr/sbin/nginx"
    spec = platform(f"{EMBEDDED}RUNTIME={runtime}\nINGRESS=nginx\n")
    notes = [note for note in spec.notes if note.subject == "prompt-filter"]
    assert [(note.level, "no request is judged" in note.message) for note in notes] == [("warning", True)]
    assert not any(route.is_filtered for route in spec.routes)


def test_the_plan_says_how_far_it_goes_and_what_becomes_of_the_unjudged(platform):
    said = {n.message for n in platform(f"{EMBEDDED}PROMPT_FILTER=block\nPROMPT_FILTER_FAIL=open\n").notes}
    assert any("texts for api: held back" in one and "the worst refused" in one for one in said)
    assert any("passes (PROMPT_FILTER_FAIL=open)" in one for one in said)
    watched = [n.message for n in platform(EMBEDDED).notes if n.subject == "prompt-filter"]
    assert watched == ["texts for api: watched only (monitor)"]


def test_what_is_not_judged_is_said(platform):
    said = {n.message for n in platform(f"{GITLAB}PROMPT_FILTER_SERVICES=grafana:off\n").notes}
    assert "requests for grafana are not judged" in said


def test_a_rule_cannot_be_broken_out_of(platform, workbench):
    text = (
        "service: web\nsummary: x\nports: {http: {internal: 80}}\nimage: example/web:1.0\nsizing: {homelab: 1C/64M}\n"
        "routes: [{bypass: [{path_regexp: '^/x`) || Path(`/'}]}]\nruns: {container: {}}\n"
    )
    workbench.add_service("web", text)
    with pytest.raises(RenderError, match="backtick"):
        render(platform("RUNTIME=docker\nSERVICES_ENABLED=web,prompt-filter\n"))
