"""What is kept in GitLab, through the engine's own plan: made once, healed, given back, and never somebody else's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pydantic import SecretStr

from autogit.connectors.gitlab import GitLabClient
from autogit.connectors.gitlab_parts import first_password_of
from autogit.connectors.gitlab_settings import GitLabSettings
from autogit.core.observe import observe
from autogit.core.plan import intent, make_plan
from autogit.errors import AutogitError, ProviderAuthError, UnavailableError, UnsupportedError
from autogit.model.lockfile import LockEntry, Lockfile
from autogit.model.plan import Action
from autogit.model.project import ProjectPaths
from autogit.model.resource import Address, Resource
from autogit.providers.base import ProviderContext
from autogit.testing.contracts import ReconcilerContract
from tests.fakes.gitlab.clients import connect

TOKEN = "autogit"


def address(name):
    return Address("gitlab_setting", name)


def wish(name, /, payload=None, replace_on=(), **attributes):
    return Resource(address(name), attributes, payload=payload, replace_on=frozenset(replace_on))


def setting(name, value):
    return wish(f"application_settings/{name}", value=value)


OPS = wish("group/ops", name="Operations", visibility="private")
TOOLS = wish("group/ops/tools", name="tools", visibility="private")
NESTED = replace(TOOLS, depends_on=(OPS.address,))
ANA = wish("user/ana", name="Ana", email="ana@example.com", admin=False)
GRAFANA = wish(
    "application/grafana",
    payload="GRAFANA_GITLAB_CLIENT",
    replace_on=("redirect_uri", "scopes", "confidential"),
    redirect_uri="https://grafana.autogit.localhost/login/gitlab",
    scopes=("email", "openid", "profile"),
    confidential=True,
    secret="stored",
)
SIGN_UP = setting("signup_enabled", value=False)
ALL = [SIGN_UP, setting("minimum_password_length", 12), OPS, NESTED, ANA, GRAFANA]


class Instance:
    """Plans and applies against the fake, and keeps what the lockfile would."""

    def __init__(self, world, kept, tmp_path):
        self.world, self.kept = world, kept
        self.token = world.fake.seed_admin_token(["api", "admin_mode"], TOKEN)
        self.progress = []
        paths = ProjectPaths(tmp_path, tmp_path / ".env")
        self.context = ProviderContext(paths, progress=lambda place, text: self.progress.append(text))
        self.provider = self.make()
        self.lockfile = Lockfile()

    def make(self, **more):
        return GitLabSettings(self.context, self.connect, self.kept, **more)

    def connect(self):
        return GitLabClient(self.world.place(), SecretStr(self.token))

    def plan(self, wishes, adopt=(), provider=None):
        provider = provider or self.provider
        state = asyncio.run(observe([provider], wishes, self.lockfile))
        return make_plan(wishes, state, self.lockfile, adopt=adopt)

    def apply(self, wishes, adopt=()):
        plan = self.plan(wishes, adopt)

        async def run():
            return [outcome async for outcome in self.provider.apply(plan.pending)]

        outcomes = asyncio.run(run())
        entries = dict(self.lockfile.entries)
        for change, outcome in zip(plan.pending, outcomes, strict=True):
            if not outcome.ok:
                continue
            entries.pop(change.address, None)
            if change.after is not None:
                attributes = {**change.after.attributes, **outcome.attributes}
                entries[change.address] = LockEntry(change.address, attributes, depends_on=change.depends_on)
        self.lockfile = replace(self.lockfile, entries=entries)
        return outcomes

    def pending(self, wishes, **more):
        return {str(c.address.name): c.action for c in self.plan(wishes, **more).pending}

    def errors(self, wishes):
        plan = self.plan(wishes)
        return [fault.message for fault in asyncio.run(self.provider.check(plan.pending))]

    @property
    def api(self):
        return connect(self.world.fake, self.token)

    def writes(self):
        return [(one.method, one.path.removeprefix("/api/v4")) for one in self.world.fake.writes()]


@pytest.fixture
def gitlab(world, kept, tmp_path):
    instance = Instance(world, kept, tmp_path)
    yield instance
    assert world.fake.unknown_parameters == []


class TestContract(ReconcilerContract):
    @pytest.fixture
    def provider(self, gitlab):
        return gitlab.provider

    @pytest.fixture
    def wishes(self):
        return [OPS, TOOLS, ANA, GRAFANA]

    @pytest.fixture
    def other_wishes(self):
        return [
            replace(OPS, attributes={**OPS.attributes, "visibility": "internal"}),
            replace(TOOLS, attributes={**TOOLS.attributes, "name": "Tools"}),
            replace(ANA, attributes={**ANA.attributes, "email": "ana@example.org", "admin": True}),
            replace(GRAFANA, attributes={**GRAFANA.attributes, "redirect_uri": "https://g.example/login/gitlab"}),
        ]


def test_all_of_it_is_made_and_a_second_apply_writes_nothing(gitlab):
    assert [o.error for o in gitlab.apply(ALL) if not o.ok] == []
    written = len(gitlab.writes())
    assert gitlab.apply(ALL) == []
    assert len(gitlab.writes()) == written
    assert gitlab.api.groups.get("ops/tools").full_path == "ops/tools"
    user = gitlab.api.users.list(username="ana")[0]
    assert (user.email, user.is_admin) == ("ana@example.com", False)
    shown = gitlab.api.settings.get()
    assert (shown.signup_enabled, shown.minimum_password_length) == (False, 12)


class TestSettings:
    def test_what_is_changed_behind_its_back_is_healed(self, gitlab):
        gitlab.apply([SIGN_UP])
        gitlab.api.http_put("/application/settings", post_data={"signup_enabled": True})
        (change,) = gitlab.plan([SIGN_UP]).pending
        assert (change.action, change.drift) == (Action.UPDATE, True)
        gitlab.apply([SIGN_UP])
        assert gitlab.api.settings.get().signup_enabled is False
        assert gitlab.pending([SIGN_UP]) == {}

    def test_one_that_is_no_longer_wished_for_gets_back_what_it_had(self, gitlab):
        before = gitlab.api.settings.get().minimum_password_length
        for value in (12, 14):  # what it had before the first of them counts
            gitlab.apply([setting("minimum_password_length", value)])
        gitlab.apply([])
        assert gitlab.api.settings.get().minimum_password_length == before
        assert gitlab.lockfile.entries == {}

    def test_one_that_was_so_already_is_left_so(self, gitlab):
        gitlab.lockfile = Lockfile(entries={SIGN_UP.address: LockEntry(SIGN_UP.address, {"value": True})})
        (outcome,) = gitlab.apply([])
        assert (outcome.ok, outcome.detail) == (True, "left as it is: AutoGit never changed it")
        assert gitlab.writes() == []

    def test_lists_of_texts_and_what_must_go_along(self, gitlab):
        wishes = [
            setting("outbound_local_requests_whitelist", ("hooks.example.org", "10.0.0.7:8080")),
            setting("require_two_factor_authentication", value=True),
        ]
        assert [o.error for o in gitlab.apply(wishes)] == [None, None]
        assert gitlab.pending(wishes) == {}
        assert gitlab.api.settings.get().two_factor_grace_period == 48

    def test_one_that_gitlab_does_not_have_is_an_obstacle(self, gitlab):
        (fault,) = gitlab.errors([setting("sign_up_enabled", value=False)])
        assert fault == "this GitLab has no application setting sign_up_enabled, or never shows it"

    def test_a_value_that_gitlab_refuses(self, gitlab):
        (outcome,) = gitlab.apply([setting("minimum_password_length", 3)])
        assert not outcome.ok
        assert "must be greater than or equal to 8" in outcome.error.message


class TestGroupsAndUsers:
    def test_what_somebody_made_is_foreign_until_it_is_adopted(self, gitlab):
        gitlab.world.fake.seed_group("ops")
        gitlab.world.fake.seed_user("ana")
        plan = gitlab.plan([OPS, ANA])
        assert [(c.action, c.reason) for c in plan.changes] == [
            (Action.HOLD, "somebody made it in GitLab, not AutoGit"),
            (Action.HOLD, "somebody made it in GitLab, not AutoGit"),
        ]
        gitlab.apply([OPS], adopt=[OPS.address])
        assert gitlab.api.groups.get("ops").name == "Operations"
        assert gitlab.pending([OPS]) == {}

    def test_a_group_with_the_id_of_another_is_not_ours(self, gitlab):
        gitlab.apply([OPS])
        gitlab.world.fake.state.find_namespace("ops").path = "moved"
        gitlab.world.fake.seed_group("ops")
        assert [c.action for c in gitlab.plan([OPS]).changes] == [Action.HOLD]
        (outcome,) = gitlab.apply([])
        assert outcome.detail == "left as it is"
        assert gitlab.api.groups.get("ops").name == "ops"

    def test_what_a_killed_run_made_is_ours(self, gitlab):
        gitlab.apply([OPS, GRAFANA])
        del gitlab.kept["GRAFANA_GITLAB_CLIENT_SECRET"]
        begun = {w.address: LockEntry(w.address, {}, intended=intent(w)) for w in (OPS, GRAFANA)}
        gitlab.lockfile = Lockfile(entries=begun)
        assert gitlab.pending([OPS, GRAFANA]) == {"application/grafana": Action.UPDATE}
        gitlab.apply([OPS, GRAFANA])
        assert len(gitlab.api.applications.list(get_all=True)) == 1
        (application,) = gitlab.world.fake.state.applications.values()
        assert gitlab.kept["GRAFANA_GITLAB_CLIENT_SECRET"] == application["secret"]

    def test_what_somebody_makes_after_the_plan_is_not_taken(self, gitlab):
        (change,) = gitlab.plan([OPS]).pending
        gitlab.world.fake.seed_group("ops")

        async def run():
            return [outcome async for outcome in gitlab.provider.apply([change])]

        (outcome,) = asyncio.run(run())
        assert outcome.error.message == "gitlab: gitlab_setting/group/ops was made by somebody just now"

    def test_a_group_below_one_that_nobody_declared(self, gitlab):
        (outcome,) = gitlab.apply([wish("group/team/tools", name="tools", visibility="private")])
        assert outcome.error.message == "gitlab: there is no group team for team/tools to be in"

    def test_a_group_goes_only_when_it_is_empty(self, gitlab):
        gitlab.apply([OPS])
        gitlab.world.fake.seed_project("ops/app")
        (fault,) = gitlab.errors([])
        assert fault == "ops still has projects in it: move them, or declare the group again"
        (outcome,) = gitlab.apply([])
        assert not outcome.ok
        assert gitlab.api.groups.get("ops").id

    def test_an_empty_group_that_is_ours_goes(self, gitlab):
        gitlab.apply([OPS])
        assert [o.ok for o in gitlab.apply([])] == [True]
        assert gitlab.pending([]) == {}
        assert gitlab.pending([OPS]) == {"group/ops": Action.CREATE}

    def test_a_first_password_is_kept_before_gitlab_hears_of_it(self, gitlab):
        gitlab.world.fake.faults.fail("/api/v4/users", status=500, method="POST")
        assert [o.ok for o in gitlab.apply([ANA])] == [False]
        first = gitlab.kept[first_password_of("ana")]
        assert len(first) == 24
        (outcome,) = gitlab.apply([ANA])
        assert gitlab.kept[first_password_of("ana")] == first
        assert first not in str(outcome)
        assert "autogit secrets reveal gitlab_user_ana" in outcome.detail

    def test_who_is_no_longer_wished_for_is_blocked_not_deleted(self, gitlab):
        gitlab.apply([ANA])
        gitlab.apply([])
        assert gitlab.api.users.list(username="ana")[0].state == "blocked"
        assert gitlab.lockfile.entries == {}
        assert first_password_of("ana") not in gitlab.kept


class TestApplication:
    def test_its_secret_is_kept_and_shown_nowhere(self, gitlab):
        (outcome,) = gitlab.apply([GRAFANA])
        secret = gitlab.kept["GRAFANA_GITLAB_CLIENT_SECRET"]
        assert secret == next(iter(gitlab.world.fake.state.applications.values()))["secret"]
        assert secret not in repr(outcome) + repr(gitlab.lockfile)
        assert set(outcome.attributes) == {"id"}
        client_id = gitlab.kept["GRAFANA_GITLAB_CLIENT_ID"]
        assert client_id not in repr(outcome) + repr(gitlab.lockfile)

    def test_a_lost_secret_is_renewed(self, gitlab):
        gitlab.apply([GRAFANA])
        old = gitlab.kept.pop("GRAFANA_GITLAB_CLIENT_SECRET")
        assert gitlab.pending([GRAFANA]) == {"application/grafana": Action.UPDATE}
        gitlab.apply([GRAFANA])
        assert gitlab.kept["GRAFANA_GITLAB_CLIENT_SECRET"] != old
        assert gitlab.pending([GRAFANA]) == {}
        assert len(gitlab.api.applications.list(get_all=True)) == 1

    def test_another_address_makes_another_one_and_the_old_one_goes(self, gitlab):
        gitlab.apply([GRAFANA])
        moved = replace(GRAFANA, attributes={**GRAFANA.attributes, "redirect_uri": "https://g.example/login/gitlab"})
        assert gitlab.pending([moved]) == {"application/grafana": Action.REPLACE}
        gitlab.apply([moved])
        (one,) = gitlab.api.applications.list(get_all=True)
        assert one.callback_url == "https://g.example/login/gitlab"

    def test_somebody_elses_of_the_same_name_stays(self, gitlab):
        theirs = {"name": "grafana", "redirect_uri": "https://x.example/", "scopes": "openid"}
        gitlab.api.applications.create(theirs)
        assert [c.action for c in gitlab.plan([GRAFANA]).changes] == [Action.HOLD]
        gitlab.apply([])
        assert len(gitlab.api.applications.list(get_all=True)) == 1


class TestWhenGitLabIsAway:
    def test_by_hand_it_is_a_fault(self, gitlab):
        gitlab.world.fake.stop()
        with pytest.raises(UnavailableError):
            gitlab.plan(ALL)

    def test_in_the_one_plan_it_has_what_was_last_applied(self, gitlab):
        gitlab.apply(ALL)
        gitlab.world.fake.stop()
        patient = gitlab.make(is_patient=True)
        assert gitlab.pending(ALL, provider=patient) == {}
        assert "taken as it was last applied" in gitlab.progress[-1]
        assert asyncio.run(patient.check(gitlab.plan([], provider=patient).pending)) == ()

    def test_a_refused_token_hinders_no_other_service(self, gitlab):
        gitlab.apply([OPS])
        gitlab.token = "glpat-canary-nobody-has-this"
        assert gitlab.pending([OPS], provider=gitlab.make(is_patient=True)) == {}
        with pytest.raises(ProviderAuthError):
            gitlab.plan([OPS])

    def test_health_is_a_sentence(self, gitlab):
        assert asyncio.run(gitlab.provider.health()).detail == "GitLab 19.5.3, as root"
        gitlab.token = gitlab.world.fake.seed_token(gitlab.world.fake.seed_user("ada").username)
        assert asyncio.run(gitlab.provider.health()).ok is False


def test_an_address_of_nothing_is_refused(gitlab):
    for name in ("group", "licence/x", "user/"):
        with pytest.raises((UnsupportedError, AutogitError)):
            gitlab.provider.normalise([wish(name, value=1)])
