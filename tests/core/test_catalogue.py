"""The catalogue: a service is a folder; every fault of every folder is named with file and line."""

from __future__ import annotations

import pytest

from autogit.errors import DependencyCycleError, DescriptorError, UsageError


def _faults(workbench):
    with pytest.raises(DescriptorError) as refused:
        workbench.catalogue()
    assert refused.value.exit_code == 2
    return {(f.place, f.subject): f.message for f in refused.value.faults}


def test_adding_a_service_is_adding_a_folder(workbench):
    workbench.add_service("wiki")
    spec = workbench.spec("SERVICES_ENABLED=api,wiki\n")
    assert [s.name for s in spec.running] == ["api", "traefik", "wiki"]
    assert workbench.catalogue().get("wiki").origin == "overrides/services/wiki"


def test_an_override_replaces_the_built_in_service_of_that_name(workbench):
    workbench.add_service("loki")
    assert workbench.catalogue().get("loki").descriptor.summary == "A small web server"
    assert workbench.catalogue().get("tempo").origin.startswith("templates/") or "tempo" in (
        workbench.catalogue().get("tempo").origin
    )


def test_all_faults_of_all_folders_come_at_once(workbench):
    workbench.add_service("one", "service: one\nsummary: x\nhelth_endpoint: /\nports:\n  http: {internal: 99999}\n")
    workbench.add_service("two", "service: other\nsummary: x\ndependencies: [grafanna]\n")
    workbench.add_service("three", "service: three\nsummary: x\nsummary: y\n")
    workbench.add_service("four", "service: [four\n")
    workbench.add_service("five", "")
    workbench.add_service("six", "service: six\nsizing: {minimal: lots}\n")
    workbench.add_service("seven", "- a list\n")
    (workbench.paths.overrides / "services" / "eight").mkdir()
    here = "overrides/services"
    faults = _faults(workbench)
    assert faults[(f"{here}/one/service.yml line 3", "helth_endpoint")] == (
        "unknown key. Did you mean health_endpoint?"
    )
    assert faults[(f"{here}/one/service.yml line 5", "ports.http.internal")] == "must be less than or equal to 65535"
    assert faults[(f"{here}/two/service.yml", "service")] == "is other, but the folder is called two"
    assert faults[(f"{here}/two/service.yml", "dependencies")] == (
        "there is no service called grafanna. Did you mean grafana?"
    )
    assert faults[(f"{here}/three/service.yml line 3", "three")] == "summary stands here again (first on line 2)"
    assert "broken YAML" in faults[(f"{here}/four/service.yml line 2", "four")]
    assert faults[(f"{here}/five/service.yml line 1", "five")] == "the file is empty"
    assert faults[(f"{here}/six/service.yml line 1", "summary")] == "is missing"
    assert "lots" in faults[(f"{here}/six/service.yml line 2", "sizing")]
    assert faults[(f"{here}/seven/service.yml line 1", "service.yml")].startswith(("must be", "Input"))
    assert faults[(f"{here}/eight/service.yml", "eight")] == "the folder has no service.yml"


def test_a_broken_template_is_named_with_its_line(workbench):
    text = "service: web\nsummary: x\nconfig:\n  - {path: a.yml}\n"
    workbench.add_service("web", text, **{"a.yml.j2": "fine: 1\n\nbroken: {{ service\n"})
    faults = _faults(workbench)
    assert list(faults) == [("overrides/services/web/config/a.yml.j2 line 3", "a.yml")]
    assert "broken template" in next(iter(faults.values()))


def test_templates_and_their_list_must_agree(workbench):
    text = "service: web\nsummary: x\nconfig:\n  - {path: listed.yml}\n"
    workbench.add_service("web", text, **{"stray.yml.j2": "a: 1\n"})
    assert _faults(workbench) == {
        ("overrides/services/web/service.yml", "config"): "listed.yml has no template config/listed.yml.j2",
        ("overrides/services/web/config/stray.yml.j2", "config"): "is not listed under config in service.yml",
    }


def test_routes_and_health_lead_to_ports_that_exist(workbench):
    text = "service: web\nsummary: x\nroutes: [{port: web}]\nruns: {embedded: {program: python}}\n"
    workbench.add_service("web", text)
    assert _faults(workbench) == {
        ("overrides/services/web/service.yml", "routes"): "route web leads to the port web, which is not in ports",
        ("overrides/services/web/service.yml", "health_port"): "http is not in ports",
    }


def test_two_services_may_not_share_a_setting(workbench):
    text = "service: NAME\nsummary: x\nsettings: [{name: PROMETHEUS_RETENTION, description: y}]\n"
    workbench.add_service("web", text)
    assert _faults(workbench) == {
        ("overrides/services/web/service.yml", "PROMETHEUS_RETENTION"): (
            "is a setting of prometheus already: choose another name"
        )
    }


def test_a_circle_of_dependencies_is_spelled_out(workbench):
    for name, needs in (("one", "two"), ("two", "three"), ("three", "one")):
        workbench.add_service(name, f"service: {name}\nsummary: x\ndependencies: [{needs}]\n")
    with pytest.raises(DependencyCycleError) as refused:
        workbench.catalogue()
    assert refused.value.exit_code == 2
    for name in ("one", "two", "three"):
        assert name in str(refused.value)
    assert str(refused.value).count("->") == 3


def test_a_file_that_is_not_text_is_a_fault(workbench):
    folder = workbench.add_service("web")
    (folder / "service.yml").write_bytes(b"\xff\xfe\x00")
    assert _faults(workbench) == {
        ("overrides/services/web/service.yml", "web"): "cannot be read as UTF-8 text: UnicodeDecodeError"
    }


def test_an_unknown_service_is_answered_with_the_nearest(workbench):
    with pytest.raises(UsageError, match=r"no service called grafanna\. Did you mean grafana\?"):
        workbench.catalogue().get("grafanna")
    assert workbench.catalogue().find("grafanna") is None


def test_hidden_folders_are_not_services(workbench):
    (workbench.paths.overrides / "services" / ".git").mkdir(parents=True)
    (workbench.paths.overrides / "services" / "_drafts").mkdir()
    assert ".git" not in workbench.catalogue().entries
    assert "_drafts" not in workbench.catalogue().entries


def test_yaml_that_only_python_would_understand_is_refused(workbench):
    workbench.add_service("web", "service: !!python/object/apply:os.getcwd []\nsummary: 2026-99-99\n")
    assert any("broken YAML" in message for message in _faults(workbench).values())


@pytest.mark.parametrize(
    ("text", "subject", "sentence"),
    [
        ("routes: [{}, {}]\nports: {http: {internal: 80}}\n", "routes", "two routes are called web"),
        ("subdomain: a.b\n", "subdomain", "pattern"),
        ("subdomain: a b\n", "subdomain", "pattern"),
        ("routes: [{path_prefix: nolead}]\nports: {http: {internal: 80}}\n", "routes.0.path_prefix", "pattern"),
        ("metrics: [{port: nope}]\n", "metrics", "nope is not in ports"),
        ("settings: [{name: SIZE, description: x}]\n", "SIZE", "is a setting of AutoGit already"),
        ("settings: [{name: A, description: x}, {name: A, description: y}]\n", "A", "stands twice"),
        ("labels: &x [*x]\n", "web", "refers to itself"),
        ("ports: {a: {internal: 80}, b: {internal: 80}}\n", "ports", "b is the same port as a"),
        ("ports: {a: {internal: 80, setting: SSH_PORT}}\n", "ports", "is a port of gitlab already"),
        ("image: nginx\n", "image", "is not an image with a tag"),
        ("image: nginx:latest\n", "image", "latest is none"),
        ("ports: {a: {internal: 80, published: true}}\n", "ports", "the ingress alone publishes ports"),
        ("runs: {container: {networks: [bad name]}}\n", "runs.container.networks.0", "pattern"),
        ("runs: {container: {exceptions: {host-path: ''}}}\n", "runs.container.exceptions.host-path", "at least 10"),
        ("runs: {container: {}}\n", "image", "runs.container needs one"),
        ("image: x:1\nruns: {container: {}}\n", "sizing", "limits in every tier"),
        ("runs: {container: {dependencies: ['@nobody']}}\n", "dependencies", "there is no service called @nobody"),
    ],
)
def test_what_could_not_work_is_a_fault_before_anything_is_planned(workbench, text, subject, sentence):
    workbench.add_service("web", f"service: web\nsummary: x\n{text}")
    with pytest.raises(DescriptorError) as refused:
        workbench.catalogue()
    assert any(f.subject == subject and sentence in f.message for f in refused.value.faults), refused.value.faults
