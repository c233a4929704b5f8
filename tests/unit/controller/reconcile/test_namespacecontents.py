"""What each namespace is to have: made when it is missing, mended when it is wrong, left alone when it is right."""

from __future__ import annotations

import copy

from eaves.controller.reconcile.namespacecontents import (
    DESCRIPTION,
    make_account,
    make_network,
    plan_authorities,
)
from eaves.kube.resource import Object

NOW = 1_795_550_400.0
PEM = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def test_an_account_says_nothing_but_who_it_is() -> None:
    account = make_account("shop", NOW)
    meta = account.pop("metadata")
    assert account == {"apiVersion": "v1", "kind": "ServiceAccount"}
    assert (meta["namespace"], meta["name"], meta["creationTimestamp"]) == ("shop", "default", "2026-11-24T20:00:00Z")


def test_authorities_are_told_by_one_key_and_described() -> None:
    made = plan_authorities(None, PEM, "shop", NOW)
    assert made is not None
    assert (made["kind"], made["metadata"]["name"], made["metadata"]["namespace"]) == (
        "ConfigMap",
        "kube-root-ca.crt",
        "shop",
    )
    assert made["data"] == {"ca.crt": PEM.decode()}
    assert "verifies" in made["metadata"]["annotations"][DESCRIPTION]
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["time"]) == (
        "eaves-controller",
        "Update",
        "2026-11-24T20:00:00Z",
    )
    described: Object = {".": {}, f"f:{DESCRIPTION}": {}}
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:ca.crt": {}}, "f:metadata": {"f:annotations": described}}


def test_what_is_right_is_left_alone_whatever_else_was_added() -> None:
    made = plan_authorities(None, PEM, "shop", NOW)
    assert made is not None
    made["metadata"]["labels"] = {"ours": "yes"}
    made["metadata"]["annotations"] = {DESCRIPTION: "in words of somebody else", "ours": "yes"}
    assert plan_authorities(made, PEM, "shop", NOW) is None


def test_what_is_wrong_is_mended_and_the_rest_kept() -> None:
    made = plan_authorities(None, b"former", "shop", NOW)
    assert made is not None
    made["data"]["more"] = "x"
    made["metadata"]["managedFields"].append(
        {"manager": "forger", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:more": {}}}}
    )
    made["metadata"]["annotations"] = {"ours": "yes"}
    made["metadata"]["labels"] = {"ours": "yes"}
    before = copy.deepcopy(made)
    mended = plan_authorities(made, PEM, "shop", NOW + 60)
    assert mended is not None
    assert made == before
    assert mended["data"] == {"ca.crt": PEM.decode()}
    assert mended["metadata"]["annotations"]["ours"] == "yes"
    assert mended["metadata"]["annotations"][DESCRIPTION]
    assert [entry["manager"] for entry in mended["metadata"]["managedFields"]] == ["eaves-controller"]
    kept = ("uid", "creationTimestamp", "labels")
    assert [mended["metadata"][key] for key in kept] == [before["metadata"][key] for key in kept]


def test_without_authorities_of_our_own_the_bundle_is_empty() -> None:
    made = plan_authorities(None, None, "shop", NOW)
    assert made is not None
    assert made["data"] == {"ca.crt": ""}
    assert plan_authorities(made, None, "shop", NOW) is None


def test_remarks_in_a_bundle_may_be_in_any_encoding() -> None:
    made = plan_authorities(None, b"# G\xfcltig\n" + PEM, "shop", NOW)
    assert made is not None
    assert made["data"]["ca.crt"].endswith(PEM.decode())


def test_a_network_takes_a_subnet_that_no_other_has() -> None:
    networks: list[Object] = []
    for number in range(20):
        networks.append(make_network(f"n{number}", networks, NOW))
    assert len({each["spec"]["subnet"] for each in networks}) == len(networks)
