"""The real kubectl looks around and reads: discovery, explain, every output of get, selectors, pages, describe."""

from __future__ import annotations

import pytest

from eaves.testing.kubectl import Kubectl
from eaves.testing.operator_api import ServedApi

pytestmark = pytest.mark.contract

APP = """
apiVersion: eaves.dev/v1alpha1
kind: App
metadata: {{name: {name}, labels: {{tier: {tier}}}}}
spec: {{nodeName: {node}, image: "registry.example/{name}:1"}}
"""


def app(name: str, node: str = "n1", tier: str = "web") -> str:
    return APP.format(name=name, node=node, tier=tier)


def apply(kubectl: Kubectl, space: str, *documents: str) -> None:
    kubectl.ok("apply", "-n", space, "-f", "-", stdin="\n---\n".join(documents))


def test_resources_and_versions(kubectl: Kubectl) -> None:
    lines = kubectl.ok("api-resources", "--no-headers").out.splitlines()
    found = {line.split()[0] for line in lines}
    assert found >= {
        "edgenodes",
        "onboardingkeys",
        "apps",
        "networks",
        "volumes",
        "datastores",
        "namespaces",
        "secrets",
    }
    assert found >= {"configmaps", "events", "nodes", "pods"}
    versions = kubectl.ok("api-versions").out.split()
    assert {"v1", "eaves.dev/v1alpha1", "authentication.k8s.io/v1"} <= set(versions)
    assert kubectl.ok("api-resources", "--api-group=eaves.dev", "--namespaced=false", "-o", "name").out.split() == [
        "edgenodes.eaves.dev",
        "hardwaremodels.eaves.dev",
        "onboardingkeys.eaves.dev",
    ]
    assert "apps.eaves.dev" in kubectl.ok("api-resources", "--categories=all", "-o", "name").out


def test_what_kubectl_asks_for_unasked_is_there(kubectl: Kubectl, space: str) -> None:
    assert "control plane" in kubectl.ok("cluster-info").out
    assert "No resource quota." in kubectl.ok("describe", "namespace", space).out
    told = kubectl.fails("create", "deployment", "web", "-n", space, "--image=registry.example/web:1")
    assert "write an App" in told


def test_version_is_close_to_kubectls_own(kubectl: Kubectl) -> None:
    outcome = kubectl.ok("version")
    assert "eaves" in outcome.out
    assert "WARNING" not in outcome.err


@pytest.mark.parametrize(
    "kind",
    ["apps", "appsnapshots", "edgenodes", "networks", "volumes", "datastores", "onboardingkeys", "secrets", "pods"],
)
def test_explain_tells_every_field(kubectl: Kubectl, kind: str) -> None:
    out = kubectl.ok("explain", kind, "--recursive").out
    assert "FIELDS" in out
    assert "metadata" in out
    assert "managedFields" in out


def test_explain_gives_the_description_of_a_field(kubectl: Kubectl) -> None:
    out = kubectl.ok("explain", "app.spec.networks.ports.nodePort").out
    assert "Port on the node that leads to it" in out
    assert "KIND:       App" in out


def test_every_output_of_get(kubectl: Kubectl, space: str) -> None:
    apply(kubectl, space, app("web"), app("db", "n2", "db"))
    table = kubectl.ok("get", "apps", "-n", space).out.splitlines()
    assert table[0].split()[:3] == ["NAME", "NODE", "PHASE"]
    assert [line.split()[0] for line in table[1:]] == ["db", "web"]
    assert "IMAGE" in kubectl.ok("get", "apps", "-n", space, "-o", "wide").out
    assert kubectl.ok("get", "app", "web", "-n", space, "-o", "json").json()["spec"]["nodeName"] == "n1"
    assert kubectl.ok("get", "ea", "web", "-n", space, "-o", "yaml").yaml()["kind"] == "App"
    assert kubectl.ok("get", "apps", "-n", space, "-o", "name").out.split() == ["app.eaves.dev/db", "app.eaves.dev/web"]
    path = "-o=jsonpath={.items[*].spec.image}"
    assert kubectl.ok("get", "apps", "-n", space, path).out == "registry.example/db:1 registry.example/web:1"
    custom = kubectl.ok("get", "apps", "-n", space, "-o", "custom-columns=N:.metadata.name,I:.spec.image").out
    assert custom.splitlines()[0].split() == ["N", "I"]
    template = kubectl.ok("get", "apps", "-n", space, "-o", "go-template={{len .items}}")
    assert template.out == "2"
    listed = kubectl.ok("get", "apps,networks", "-n", space, "-o", "json").json()
    assert {item["kind"] for item in listed["items"]} == {"App", "Network"}


def test_selectors_pages_and_order(kubectl: Kubectl, space: str) -> None:
    apply(kubectl, space, *(app(f"a{n}", f"n{n % 2}", "web" if n < 3 else "db") for n in range(5)))

    def names(*arguments: str) -> list[str]:
        out = kubectl.ok("get", "apps", "-n", space, "--no-headers", *arguments).out
        return [line.split()[0] for line in out.splitlines()]

    assert names("-l", "tier=db") == ["a3", "a4"]
    assert names("-l", "tier notin (db)") == ["a0", "a1", "a2"]
    assert names("--field-selector", "spec.nodeName=n1") == ["a1", "a3"]
    assert names("--field-selector", "metadata.name!=a0,spec.nodeName=n0") == ["a2", "a4"]
    assert names("--chunk-size=2") == ["a0", "a1", "a2", "a3", "a4"]
    assert names("--sort-by=.spec.nodeName")[:3] == ["a0", "a2", "a4"]
    everywhere = kubectl.ok("get", "apps", "-A", "--no-headers", "-l", "tier=db").out.splitlines()
    assert [line.split()[:2] for line in everywhere if line.startswith(space)] == [[space, "a3"], [space, "a4"]]
    assert names("-L", "tier") == ["a0", "a1", "a2", "a3", "a4"]
    assert "No resources found" in kubectl.ok("get", "apps", "-n", space, "-l", "tier=none").err


def test_get_of_something_missing(kubectl: Kubectl, space: str) -> None:
    assert '(NotFound): apps.eaves.dev "web" not found' in kubectl.fails("get", "app", "web", "-n", space)
    assert kubectl.ok("get", "app", "web", "-n", space, "--ignore-not-found").out == ""
    assert "the server doesn't have a resource type" in kubectl.fails("get", "widgets")


def test_get_watch_prints_rows_as_they_change(kubectl: Kubectl, space: str) -> None:
    apply(kubectl, space, app("web"))
    with kubectl.start("get", "apps", "-n", space, "-w") as watch:
        watch.wait_line("web")
        apply(kubectl, space, app("later"))
        watch.wait_line("later")
        kubectl.ok("patch", "app", "web", "-n", space, "--type=merge", "-p", '{"spec":{"nodeName":"n9"}}')
        assert "n9" in watch.wait_line("web")
    with kubectl.start("get", "app", "web", "-n", space, "-o", "json", "-w", "--output-watch-events") as watch:
        watch.wait_line("ADDED")
        kubectl.ok("delete", "app", "web", "-n", space)
        watch.wait_line("DELETED")
    with kubectl.start("get", "apps", "-n", space, "--watch-only", "-l", "tier=db") as watch:
        # A new watch has no line to wait for: changes are made until it shows one.
        for n in range(50):
            apply(kubectl, space, app("dbx", f"n{n}", "db"))
            if n == 2:
                watch.wait_line("dbx")
                break


def test_describe_shows_the_object_and_its_events(kubectl: Kubectl, served: ServedApi, space: str) -> None:
    apply(kubectl, space, app("web"))
    uid = kubectl.ok("get", "app", "web", "-n", space, "-o=jsonpath={.metadata.uid}").out
    event = f"""
apiVersion: v1
kind: Event
metadata: {{name: web.1, namespace: {space}}}
involvedObject: {{kind: App, namespace: {space}, name: web, uid: {uid}, apiVersion: eaves.dev/v1alpha1}}
reason: Pulled
message: pulled the image in 1.2 s
type: Normal
source: {{component: test}}
firstTimestamp: "2026-11-24T18:00:00Z"
lastTimestamp: "2026-11-24T18:00:00Z"
count: 3
"""
    kubectl.ok("create", "-f", "-", stdin=event)
    out = kubectl.ok("describe", "app", "web", "-n", space).out
    assert "Image:" in out
    assert "pulled the image" in out
    assert "x3" in out
    listed = kubectl.ok("events", "-n", space, "--for", "app/web").out
    assert "pulled the image" in listed
    assert "Pulled" in kubectl.ok("get", "events", "-n", space, "--field-selector", "involvedObject.name=web").out
    assert "No resources found" in kubectl.ok("get", "ev", "-n", space, "--field-selector", "reason=Nope").err


def test_who_am_i_and_what_may_i(kubectl: Kubectl) -> None:
    out = kubectl.ok("auth", "whoami").out
    assert "admin" in out
    assert "system:masters" in out
    assert kubectl.ok("auth", "can-i", "create", "apps").out.strip() == "yes"
    assert "*.*" in kubectl.ok("auth", "can-i", "--list").out
    assert kubectl.run("auth", "can-i", "create", "apps", "--token=wrong").code != 0


def test_a_wrong_token_is_told_as_such(kubectl: Kubectl) -> None:
    error = kubectl.fails("get", "apps", "--token=wrong")
    assert "Unauthorized" in error or "logged in" in error


def test_cluster_info_and_raw_pages(kubectl: Kubectl) -> None:
    assert kubectl.ok("get", "--raw", "/readyz?verbose").out.splitlines()[-1] == "readyz check passed"
    assert kubectl.ok("get", "--raw", "/livez").out == "ok"
    assert "eaves_api_requests_total" in kubectl.ok("get", "--raw", "/metrics").out


def test_a_list_of_hundreds_is_whole(kubectl: Kubectl, space: str) -> None:
    apply(kubectl, space, *(app(f"a{n:03}") for n in range(200)))
    assert len(kubectl.ok("get", "apps", "-n", space, "--no-headers").out.splitlines()) == 200


def test_kinds_that_are_not_there_are_told_by_name(kubectl: Kubectl, space: str) -> None:
    assert "apps.eaves.dev" in kubectl.ok("get", "crd").out
    told = kubectl.fails("create", "-n", space, "-f", "-", stdin=app("a").replace("kind: App", "kind: Appp"))
    assert 'no matches for kind "Appp" in version "eaves.dev/v1alpha1"' in told
