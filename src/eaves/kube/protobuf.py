"""Objects in Kubernetes' protobuf form, as clients send them: to JSON, by tables of field numbers.

The typed clients of client-go write every kind of Kubernetes so (leader election its Leases), and with them stock kubectl: ``create
namespace``, ``auth can-i``, evictions … They have no other way when a server refuses. Answers are JSON always, which these clients accept.
Field numbers are those of the ``generated.proto`` files of k8s.io/api and k8s.io/apimachinery.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from msgspec import Struct

from eaves.kube import protowire, status
from eaves.kube.protowire import WireError
from eaves.kube.resource import Object

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_EPOCH = datetime(1970, 1, 1)

_TABLES = """
ObjectMeta: name=1 generateName=2 namespace=3 selfLink=4 uid=5 resourceVersion=6 generation=7:int creationTimestamp=8:Time
  deletionTimestamp=9:Time deletionGracePeriodSeconds=10:int? labels=11:texts annotations=12:texts
  ownerReferences=13:OwnerReference* finalizers=14* managedFields=17:ManagedFieldsEntry*
OwnerReference: kind=1 name=3 uid=4 apiVersion=5 controller=6:bool? blockOwnerDeletion=7:bool?
ManagedFieldsEntry: manager=1 operation=2 apiVersion=3 time=4:Time fieldsType=6 fieldsV1=7:FieldsV1 subresource=8
DeleteOptions: gracePeriodSeconds=1:int? preconditions=2:Preconditions orphanDependents=3:bool? propagationPolicy=4 dryRun=5*
Preconditions: uid=1 resourceVersion=2
LabelSelectorRequirement: key=1 operator=2 values=3*

ConfigMap: metadata=1:ObjectMeta data=2:texts binaryData=3:blobs immutable=4:bool?
Secret: metadata=1:ObjectMeta data=2:blobs type=3 stringData=4:texts immutable=5:bool?
Namespace: metadata=1:ObjectMeta spec=2:NamespaceSpec status=3:NamespaceStatus
NamespaceSpec: finalizers=1*
NamespaceStatus: phase=1 conditions=2:NamespaceCondition*
NamespaceCondition: type=1 status=2 lastTransitionTime=4:Time reason=5 message=6
ServiceAccount: metadata=1:ObjectMeta secrets=2:ObjectReference* imagePullSecrets=3:LocalObjectReference*
  automountServiceAccountToken=4:bool?
ObjectReference: kind=1 namespace=2 name=3 uid=4 apiVersion=5 resourceVersion=6 fieldPath=7
LocalObjectReference: name=1
Event: metadata=1:ObjectMeta involvedObject=2:ObjectReference reason=3 message=4 source=5:EventSource firstTimestamp=6:Time
  lastTimestamp=7:Time count=8:int type=9 eventTime=10:MicroTime series=11:EventSeries action=12 related=13:ObjectReference
  reportingComponent=14 reportingInstance=15
EventV1: metadata=1:ObjectMeta eventTime=2:MicroTime series=3:EventSeries reportingController=4 reportingInstance=5 action=6 reason=7
  regarding=8:ObjectReference related=9:ObjectReference note=10 type=11 deprecatedSource=12:EventSource
  deprecatedFirstTimestamp=13:Time deprecatedLastTimestamp=14:Time deprecatedCount=15:int
EventSeries: count=1:int lastObservedTime=2:MicroTime
EventSource: component=1 host=2
Pod: metadata=1:ObjectMeta spec=2:PodSpec
PodSpec: containers=2:Container* restartPolicy=3 nodeName=10
Container: name=1 image=2 command=3* args=4* workingDir=5
Lease: metadata=1:ObjectMeta spec=2:LeaseSpec
LeaseSpec: holderIdentity=1? leaseDurationSeconds=2:int? acquireTime=3:MicroTime renewTime=4:MicroTime leaseTransitions=5:int? strategy=6?
  preferredHolder=7?

TokenRequest: metadata=1:ObjectMeta spec=2:TokenRequestSpec
TokenRequestSpec: audiences=1* boundObjectRef=3:BoundObjectReference expirationSeconds=4:int?
BoundObjectReference: kind=1 apiVersion=2 name=3 uid=4
SelfSubjectReview: metadata=1:ObjectMeta
TokenReview: metadata=1:ObjectMeta spec=2:TokenReviewSpec
TokenReviewSpec: token=1 audiences=2*
SelfSubjectAccessReview: metadata=1:ObjectMeta spec=2:AccessReviewSpec
SubjectAccessReview: metadata=1:ObjectMeta spec=2:AccessReviewSpec
LocalSubjectAccessReview: metadata=1:ObjectMeta spec=2:AccessReviewSpec
AccessReviewSpec: resourceAttributes=1:ResourceAttributes nonResourceAttributes=2:NonResourceAttributes user=3 groups=4*
  extra=5:lists uid=6
ResourceAttributes: namespace=1 verb=2 group=3 version=4 resource=5 subresource=6 name=7 fieldSelector=8:SelectorAttributes
  labelSelector=9:SelectorAttributes
NonResourceAttributes: path=1 verb=2
SelectorAttributes: rawSelector=1 requirements=2:LabelSelectorRequirement*
SelfSubjectRulesReview: metadata=1:ObjectMeta spec=2:RulesReviewSpec
RulesReviewSpec: namespace=1
Eviction: metadata=1:ObjectMeta deleteOptions=2:DeleteOptions

Role: metadata=1:ObjectMeta rules=2:PolicyRule*
ClusterRole: metadata=1:ObjectMeta rules=2:PolicyRule* aggregationRule=3:AggregationRule
RoleBinding: metadata=1:ObjectMeta subjects=2:Subject* roleRef=3:RoleRef
ClusterRoleBinding: metadata=1:ObjectMeta subjects=2:Subject* roleRef=3:RoleRef
PolicyRule: verbs=1* apiGroups=2* resources=3* resourceNames=4* nonResourceURLs=5*
AggregationRule: clusterRoleSelectors=1:LabelSelector*
LabelSelector: matchLabels=1:texts matchExpressions=2:LabelSelectorRequirement*
RoleRef: apiGroup=1 kind=2 name=3
Subject: kind=1 apiGroup=2 name=3 namespace=4
"""
"""Messages: ``field=number``, then ``:type`` unless it is text, ``*`` for a list, ``?`` where false, 0 and "" differ from absent.

Pod has what its refusal needs to show the App to write instead; pods are never created."""

_KINDS: Mapping[str, frozenset[str]] = {
    "v1": frozenset({"ConfigMap", "Secret", "Namespace", "ServiceAccount", "Event", "Pod"}),
    "authentication.k8s.io/v1": frozenset({"TokenRequest", "SelfSubjectReview", "TokenReview"}),
    "authorization.k8s.io/v1": frozenset(
        {"SelfSubjectAccessReview", "SubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectRulesReview"}
    ),
    "coordination.k8s.io/v1": frozenset({"Lease"}),
    "events.k8s.io/v1": frozenset({"Event"}),
    "policy/v1": frozenset({"Eviction"}),
    "rbac.authorization.k8s.io/v1": frozenset({"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}),
}
_MESSAGES = {("events.k8s.io/v1", "Event"): "EventV1"}
"""Where it has not the name of the kind."""


class _Field(Struct, frozen=True):
    name: str
    type: str
    is_repeated: bool
    keeps_zero: bool


def decode_object(body: bytes) -> Object:
    """The object of a body. Raises ApiError 400 for what is no such message, 415 for a kind that is known in JSON and YAML only."""
    if not body.startswith(_MAGIC):
        raise status.bad_request("the object provided is not in the protobuf form of Kubernetes: its mark is missing")
    try:
        envelope = dict(protowire.decode_fields(body[len(_MAGIC) :]))
        type_meta = dict(protowire.decode_fields(_bytes(envelope.get(1, b""))))
        version, kind = (_bytes(type_meta.get(number, b"")).decode() for number in (1, 2))
        # Clients say the options of a delete in the version of what they delete.
        if kind != "DeleteOptions" and kind not in _KINDS.get(version, ()):
            raise status.unsupported_media_type(MEDIA_TYPE, ("application/json", "application/yaml"))
        message = _MESSAGES.get((version, kind), kind)
        return {"apiVersion": version, "kind": kind, **_decode_message(message, _bytes(envelope.get(2, b"")))}
    except (WireError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise status.bad_request(f"the object provided is no valid protobuf message: {error}") from error


def _decode_message(name: str, message: bytes) -> Object:
    fields = _tables()[name]
    decoded: Object = {}
    for number, value in protowire.decode_fields(message):
        field = fields.get(number)
        # Fields of later versions are passed over, as protobuf has it.
        if field is not None:
            _put(decoded, field, value)
    return decoded


def _put(decoded: Object, field: _Field, value: int | bytes) -> None:
    if field.type in _MAPS:
        key, item = _decode_entry(_bytes(value), _MAPS[field.type])
        decoded.setdefault(field.name, {})[key] = item
        return
    item = _decode_value(field.type, value)
    if field.is_repeated:
        decoded.setdefault(field.name, []).append(item)
    elif field.keeps_zero or item not in ("", 0, False, None, {}):
        decoded[field.name] = item


def _decode_value(kind: str, value: int | bytes) -> Any:
    match kind:
        case "text":
            return _bytes(value).decode()
        case "int":
            return protowire.decode_signed(_int(value))
        case "bool":
            return bool(_int(value))
        case "Time":
            return _decode_time(_bytes(value), "seconds")
        case "MicroTime":
            return _decode_time(_bytes(value), "microseconds")
        case "FieldsV1":
            return json.loads(_bytes(dict(protowire.decode_fields(_bytes(value))).get(1, b"{}")))
        case _:
            return _decode_message(kind, _bytes(value))


def _decode_time(message: bytes, precision: str) -> str | None:
    """RFC 3339 in UTC; None for the zero time, which is an empty message or one far before our era of computing."""
    fields = dict(protowire.decode_fields(message))
    seconds = protowire.decode_signed(_int(fields.get(1, 0)))
    if not fields or seconds <= 0:
        return None
    micros = _int(fields.get(2, 0)) // 1000 if precision == "microseconds" else 0
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=micros)
    return moment.isoformat(timespec=precision) + "Z"


def _decode_entry(message: bytes, decode: Callable[[bytes], Any]) -> tuple[str, Any]:
    entry = dict(protowire.decode_fields(message))
    return _bytes(entry.get(1, b"")).decode(), decode(_bytes(entry.get(2, b"")))


def _decode_list(message: bytes) -> list[str]:
    return [_bytes(value).decode() for number, value in protowire.decode_fields(message) if number == 1]


_MAPS: Mapping[str, Callable[[bytes], Any]] = {
    "texts": bytes.decode,
    "blobs": lambda value: base64.b64encode(value).decode(),
    "lists": _decode_list,
}


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise WireError("a number stands where a text or message belongs")
    return value


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise WireError("a text stands where a number belongs")
    return value


@cache
def _tables() -> Mapping[str, Mapping[int, _Field]]:
    tables: dict[str, dict[int, _Field]] = {}
    current: dict[int, _Field] = {}
    for word in _TABLES.split():
        if word.endswith(":"):
            current = tables.setdefault(word[:-1], {})
            continue
        name, _, rest = word.partition("=")
        number, _, kind = rest.rstrip("*?").partition(":")
        current[int(number)] = _Field(name, kind or "text", rest.endswith("*"), rest.endswith("?"))
    return tables
