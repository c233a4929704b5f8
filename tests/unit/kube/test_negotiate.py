"""What a client accepts decides the form of the answer."""

from __future__ import annotations

import pytest

from eaves.kube.errors import ApiError
from eaves.kube.negotiate import As, negotiate

READS = (As.OBJECT, As.TABLE, As.METADATA)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
KUBECTL = f"{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


@pytest.mark.parametrize(
    ("header", "media_type", "shape"),
    [
        ("", "application/json", As.OBJECT),
        ("*/*", "application/json", As.OBJECT),
        ("application/*", "application/json", As.OBJECT),
        ("application/json", "application/json", As.OBJECT),
        ("application/json, */*", "application/json", As.OBJECT),
        ("Application/JSON; charset=utf-8", "application/json", As.OBJECT),
        ("application/yaml", "application/yaml", As.OBJECT),
        ("application/vnd.kubernetes.protobuf,application/json", "application/json", As.OBJECT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json", As.OBJECT),
        ("application/yaml;q=0.5,application/json;q=0.9", "application/json", As.OBJECT),
        ("application/yaml;q=0.9,application/json;q=0.5", "application/yaml", As.OBJECT),
        ("application/yaml;q=0,application/json", "application/json", As.OBJECT),
        (KUBECTL, "application/json", As.TABLE),
        ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "application/json", As.METADATA),
        ("application/yaml;as=Table;v=v1;g=meta.k8s.io", "application/yaml", As.TABLE),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "application/json", As.OBJECT),
        ("application/json;as=Other;v=v1;g=meta.k8s.io,*/*", "application/json", As.OBJECT),
        ("application/json; as = Table; v = v1; g = meta.k8s.io", "application/json", As.TABLE),
    ],
)
def test_first_clause_that_can_be_served_counts(header: str, media_type: str, shape: As) -> None:
    wanted = negotiate(header, READS)
    assert (wanted.media_type, wanted.shape) == (media_type, shape)


@pytest.mark.parametrize(
    "header",
    [
        "text/plain",
        "application/vnd.kubernetes.protobuf",
        "application/json;q=0",
        "application/json;q=x",
        "application/json;as=Table;v=v9;g=meta.k8s.io",
        "application/json;as=Table;v=v1;g=other",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    ],
)
def test_nothing_acceptable_is_406_with_what_there_is(header: str) -> None:
    with pytest.raises(ApiError) as caught:
        negotiate(header, READS)
    assert caught.value.status_code == 406
    assert caught.value.message == ("only the following media types are accepted: application/json, application/yaml")


def test_discovery_is_asked_for_in_two_versions() -> None:
    header = (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
    )
    wanted = negotiate(header, (As.OBJECT, As.DISCOVERY))
    assert (wanted.shape, wanted.version) == (As.DISCOVERY, "v2")
    assert wanted.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    old = header.partition(",")[2]
    assert negotiate(old, (As.OBJECT, As.DISCOVERY)).version == "v2beta1"
    assert negotiate("application/json", (As.OBJECT, As.DISCOVERY)).content_type == "application/json"
