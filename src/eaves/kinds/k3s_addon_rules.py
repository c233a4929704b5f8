"""Rules for ``spec.addOns`` of a K3sCluster: what can be known of manifests and charts before the cluster sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

from eaves.kinds import rules
from eaves.kinds.durations import check_duration
from eaves.kinds.k3scluster_spec import AddOn, HelmChart, K3sClusterSpec
from eaves.kinds.pem import check_certificates
from eaves.kinds.rules import forbidden, invalid, required
from eaves.kube.errors import FieldError

_LONGEST_RELEASE = 50
"""K3s names the chart's job ``helm-install-NAME``, and names of jobs have 63 characters at most."""
_PACKAGED_CHARTS = {"traefik": "traefik", "traefik-crd": "traefik"}
"""Charts that K3s installs itself, by the component that ``disable`` names."""
_DAY_S = 86_400


def check_add_ons(spec: K3sClusterSpec) -> Iterator[FieldError]:
    """Every fault of the add-ons."""
    for index, add_on in enumerate(spec.add_ons):
        path = f"spec.addOns[{index}]"
        yield from rules.check_dns_label(f"{path}.name", add_on.name)
        if bool(add_on.manifest) is (add_on.helm is not None):
            yield required(path, "must have exactly one of manifest and helm")
        if add_on.manifest:
            yield from _check_manifest(f"{path}.manifest", add_on.manifest)
        if add_on.helm is not None:
            yield from _check_release(path, add_on, spec)
            yield from _check_chart(f"{path}.helm", add_on.helm)


def _check_release(path: str, add_on: AddOn, spec: K3sClusterSpec) -> Iterator[FieldError]:
    if len(add_on.name) > _LONGEST_RELEASE:
        yield invalid(f"{path}.name", add_on.name, f"of a chart must have no more than {_LONGEST_RELEASE} characters")
    component = _PACKAGED_CHARTS.get(add_on.name)
    if component is not None and component not in spec.disable:
        yield invalid(
            f"{path}.name",
            add_on.name,
            f"is a chart of K3s itself: name {component} in spec.disable, or take another name",
        )
    if spec.config.get("disable-helm-controller") in (True, "true"):
        yield forbidden(f"{path}.helm", "spec.config[disable-helm-controller] turns off what installs charts")


def _check_chart(path: str, chart: HelmChart) -> Iterator[FieldError]:
    has_place = "://" in chart.chart
    if has_place and not chart.chart.startswith(("oci://", "https://", "http://")):
        yield invalid(f"{path}.chart", chart.chart, "must start with oci://, https:// or http://, or be a name in repo")
    if has_place and chart.repo:
        yield forbidden(f"{path}.repo", "chart says already where it is")
    if not has_place and not chart.repo:
        yield required(f"{path}.repo", "a chart that is a name needs the repository that has it")
    if chart.repo and not chart.repo.startswith(("https://", "http://")):
        yield invalid(
            f"{path}.repo",
            chart.repo,
            "must start with https:// or http://; a chart of an OCI registry is named oci://… in chart",
        )
    if chart.plain_http and not chart.chart.startswith("oci://"):
        yield forbidden(f"{path}.plainHTTP", "is for charts of an oci:// registry")
    if chart.target_namespace:
        yield from rules.check_dns_label(f"{path}.targetNamespace", chart.target_namespace)
    for index, secret in enumerate(chart.values_secrets):
        yield from rules.check_dns_subdomain(f"{path}.valuesSecrets[{index}].name", secret.name)
    for field, reference in (
        ("authSecret", chart.auth_secret),
        ("dockerRegistrySecret", chart.docker_registry_secret),
    ):
        if reference is not None:
            yield from rules.check_dns_subdomain(f"{path}.{field}.name", reference.name)
    if chart.ca_certificates:
        yield from check_certificates(f"{path}.caCertificates", chart.ca_certificates, single=False)
    if chart.timeout:
        yield from check_duration(f"{path}.timeout", chart.timeout, least_s=1, most_s=_DAY_S)


def _check_manifest(path: str, text: str) -> Iterator[FieldError]:
    """Objects with a kind and a name. What they mean is the cluster's business."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        yield invalid(path, f"{len(text)} characters", f"must be YAML: {' '.join(str(error).split())}")
        return
    if not documents:
        yield required(path, "must hold at least one object")
    for number, document in enumerate(documents, 1):
        is_object = isinstance(document, Mapping) and document.get("apiVersion") and document.get("kind")
        if not is_object:
            yield invalid(path, f"document {number}", "must be a Kubernetes object with apiVersion and kind")
