"""Deploy hooks as wishes: what they wait for, and what they are about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autogit.core.desired import desired_resources
from autogit.core.explain import describe_setting
from autogit.core.render import render
from autogit.model.cert_hooks import CERT_HOOK
from autogit.model.host import CertificateFacts
from autogit.model.resource import Address

HOOKS = """CERT_DEPLOY_HOOKS='[["/usr/bin/one"], ["/usr/bin/two", "a b"]]'\n"""


def hooks(workbench, env):
    spec = workbench.spec(env)
    return spec, [one for one in desired_resources(spec, render(spec)) if one.address.kind == CERT_HOOK]


@pytest.mark.parametrize("runtime", ["embedded", "docker"])
def test_each_hook_waits_for_the_ingress_and_all_that_it_reads_and_for_no_other_hook(workbench, runtime):
    spec, found = hooks(workbench, f"RUNTIME={runtime}\nSERVICES_ENABLED=api\n{HOOKS}")
    assert [one.payload.words for one in found] == [("/usr/bin/one",), ("/usr/bin/two", "a b")]
    for one in found:
        waits = set(one.depends_on)
        assert Address(spec.unit_kind, "traefik") in waits
        assert Address("certificate", spec.certificate.name) in waits
        assert Address("file", "traefik/dynamic/tls.yml") in waits
        assert not [address for address in waits if address.kind == CERT_HOOK]
        assert one.payload.hosts == ("api.autogit.localhost",)
        assert one.payload.port == spec.ports["traefik/https"]


def test_a_new_version_is_a_new_wish_of_the_same_hook(workbench):
    _, before = hooks(workbench, HOOKS)
    due = CertificateFacts(1, "a third of its life is left", ("autogit.localhost", "*.autogit.localhost"))
    workbench.facts = replace(workbench.facts, certificates={"autogit.localhost": due})
    _, after = hooks(workbench, HOOKS)
    assert [one.address for one in before] == [one.address for one in after]
    assert [one.attributes["version"] for one in after] == [2, 2]


def test_a_list_of_commands_is_told_as_the_one_value_that_it_is():
    said = describe_setting("CERT_DEPLOY_HOOKS", "", '[["a", "b"], ["c"]]')
    assert said == 'CERT_DEPLOY_HOOKS (unset) -> [["a", "b"], ["c"]]'
