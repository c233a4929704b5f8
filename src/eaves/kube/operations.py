"""The ``paths`` of an OpenAPI v3 document: what can be asked of each resource, with its parameters and bodies.

Used by :mod:`eaves.kube.openapi` alone. kubectl reads from here which kinds a path serves (``x-kubernetes-group-version-kind``),
whether the server validates fields (parameter ``fieldValidation`` of PATCH) and which patches a kind takes (content types of PATCH).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from eaves.kube import definitions
from eaves.kube.decode import JSON, YAML
from eaves.kube.definitions import kind_of
from eaves.kube.patch import accepted_types
from eaves.kube.resource import Object, Resource, Subresource, Verb
from eaves.kube.schema import Schema

PREFIX = "#/components/schemas/"

_CONNECTS = frozenset({"exec", "attach", "portforward", "proxy"})
"""Subresources that carry a stream."""
_PLAIN_TEXT = frozenset({"log"})

_COLLECTION_VERBS = {Verb.LIST: "get", Verb.CREATE: "post", Verb.DELETE_COLLECTION: "delete"}
_OBJECT_VERBS = {Verb.GET: "get", Verb.UPDATE: "put", Verb.PATCH: "patch", Verb.DELETE: "delete"}
_ACTIONS = {
    Verb.LIST: ("list", "list"),
    Verb.CREATE: ("create", "post"),
    Verb.DELETE_COLLECTION: ("delete", "deletecollection"),
    Verb.GET: ("read", "get"),
    Verb.UPDATE: ("replace", "put"),
    Verb.PATCH: ("patch", "patch"),
    Verb.DELETE: ("delete", "delete"),
}
"""Word of the operation's id and ``x-kubernetes-action`` of a verb."""

_CONTINUE = "Token of the previous answer: gives the next part of the list."
_LIST_PARAMETERS = (
    ("allowWatchBookmarks", "boolean", "Send BOOKMARK events from time to time, which say how far the watch is."),
    ("continue", "string", _CONTINUE),
    ("fieldSelector", "string", "Restricts the answer to objects with these fields."),
    ("labelSelector", "string", "Restricts the answer to objects with these labels."),
    ("limit", "integer", "Objects in one answer; more come with the continue token."),
    ("resourceVersion", "string", "Version that the answer must have, or after which a watch begins."),
    ("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "boolean", "Begin a watch with the objects that there are and a BOOKMARK after them."),
    ("timeoutSeconds", "integer", "Ends the call after this time."),
    ("watch", "boolean", "Answer changes as they happen."),
)
_DRY_RUN = ("dryRun", "string", "All: go through every stage, keep nothing.")
_WRITE_PARAMETERS = (
    _DRY_RUN,
    ("fieldManager", "string", "Name of the one who makes the change, for the ownership of fields."),
    ("fieldValidation", "string", "What happens with unknown and duplicate fields: Ignore, Warn (usual) or Strict."),
)
_FORCE = ("force", "boolean", "Take over fields that others own. Only for apply.")
_DELETE_PARAMETERS = (
    _DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds that the object is given to end."),
    ("orphanDependents", "boolean", "Older form of propagationPolicy."),
    ("propagationPolicy", "string", "What happens to objects that this one owns: Orphan, Background or Foreground."),
)
_LOG_PARAMETERS = (
    ("container", "string", "Container whose log is wanted; may be left out when there is one."),
    ("follow", "boolean", "Go on with new lines as they come."),
    ("limitBytes", "integer", "Ends the answer after this many bytes."),
    ("previous", "boolean", "The log of the container's previous run."),
    ("sinceSeconds", "integer", "Lines of the last seconds only."),
    ("sinceTime", "string", "Lines from this moment (RFC 3339) only."),
    ("tailLines", "integer", "Only so many lines from the end, besides those that follow."),
    ("timestamps", "boolean", "Each line begins with its time."),
)
_PARAMETERS: Mapping[Verb, tuple[tuple[str, str, str], ...]] = {
    Verb.LIST: _LIST_PARAMETERS,
    Verb.CREATE: _WRITE_PARAMETERS,
    Verb.UPDATE: _WRITE_PARAMETERS,
    Verb.PATCH: (*_WRITE_PARAMETERS, _FORCE),
    Verb.DELETE: _DELETE_PARAMETERS,
    Verb.DELETE_COLLECTION: (*_DELETE_PARAMETERS, *_LIST_PARAMETERS[1:8]),
}
_PRETTY = ("pretty", "string", "true: indent the answer.")


def root_of(group: str, version: str) -> str:
    """Path of a group version without its first slash: ``api/v1``, ``apis/eaves.dev/v1alpha1``."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


def render_paths(resources: Iterable[Resource], group: str, version: str, known: frozenset[str]) -> Object:
    """Every path of a group version. ``known`` are the names of the document's definitions."""
    root = f"/{root_of(group, version)}"
    paths: Object = {f"{root}/": {"get": _render_discovery_operation(group, version)}}
    for resource in resources:
        for path, item in _render_resource(resource, root, known):
            paths[path] = item
    return dict(sorted(paths.items()))


def _render_resource(resource: Resource, root: str, known: frozenset[str]) -> Iterator[tuple[str, Object]]:
    plural = resource.gvr.resource
    base = f"{root}/namespaces/{{namespace}}/{plural}" if resource.namespaced else f"{root}/{plural}"
    place = [_path_parameter("namespace", "Namespace of the object.")] if resource.namespaced else []
    if resource.namespaced and Verb.LIST in resource.verbs:
        operation = _render_operation(resource, Verb.LIST, "ForAllNamespaces")
        yield f"{root}/{plural}", {"get": operation, "parameters": [_query_parameter(*_PRETTY)]}
    collection = _render_item(resource, _COLLECTION_VERBS)
    if collection:
        yield base, {**collection, "parameters": [*place, _query_parameter(*_PRETTY)]}
    named = [_path_parameter("name", f"Name of the {resource.kind}."), *place]
    item = _render_item(resource, _OBJECT_VERBS)
    if item:
        yield f"{base}/{{name}}", {**item, "parameters": [*named, _query_parameter(*_PRETTY)]}
    for sub in resource.subresources:
        item = _render_subresource(resource, sub, known)
        yield f"{base}/{{name}}/{sub.name}", {**item, "parameters": [*named, _query_parameter(*_PRETTY)]}


def _render_item(resource: Resource, methods: Mapping[Verb, str]) -> Object:
    verbs = (verb for verb in methods if verb in resource.verbs)
    return {methods[verb]: _render_operation(resource, verb) for verb in verbs}


def _render_operation(resource: Resource, verb: Verb, suffix: str = "") -> Object:
    word, action = _ACTIONS[verb]
    scope = "" if suffix or not resource.namespaced else "Namespaced"
    collection = "Collection" if verb is Verb.DELETE_COLLECTION else ""
    name = f"{word}{_camel(resource)}{collection}{scope}{resource.kind}{suffix}"
    schema = resource.schema
    response = {
        Verb.LIST: definitions.list_schema(resource),
        Verb.DELETE: definitions.STATUS,
        Verb.DELETE_COLLECTION: definitions.STATUS,
    }.get(verb, schema)
    operation: Object = {
        "tags": [_tag(resource)],
        "description": _describe(verb, resource.kind),
        "operationId": name,
        "parameters": [_query_parameter(*parameter) for parameter in _PARAMETERS.get(verb, ())],
        **_request_body(resource, verb, schema),
        "responses": _responses(verb, response),
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind_of(resource.gvr.group, resource.gvr.version, resource.kind),
    }
    if not operation["parameters"]:
        del operation["parameters"]
    return operation


def _describe(verb: Verb, kind: str) -> str:
    match verb:
        case Verb.LIST:
            return f"list or watch objects of kind {kind}"
        case Verb.CREATE:
            return f"create a {kind}"
        case Verb.GET:
            return f"read the specified {kind}"
        case Verb.UPDATE:
            return f"replace the specified {kind}"
        case Verb.PATCH:
            return f"partially update the specified {kind}"
        case Verb.DELETE:
            return f"delete a {kind}"
        case _:
            return f"delete collection of {kind}"


def _request_body(resource: Resource, verb: Verb, schema: Schema) -> Object:
    if verb in (Verb.CREATE, Verb.UPDATE):
        content = {JSON: _reference(schema), YAML: _reference(schema)}
        return {"requestBody": {"content": content, "required": True}}
    if verb is Verb.PATCH:
        content = {media_type: _reference(definitions.PATCH) for media_type in accepted_types(resource)}
        return {"requestBody": {"content": content, "required": True}}
    if verb in (Verb.DELETE, Verb.DELETE_COLLECTION):
        return {"requestBody": {"content": {JSON: _reference(definitions.DELETE_OPTIONS)}}}
    return {}


def _responses(verb: Verb, schema: Schema) -> Object:
    """Codes that a call may succeed with; 401 stands for every failure, as each is a Status."""
    codes = {
        Verb.CREATE: {"200": "OK", "201": "Created", "202": "Accepted"},
        Verb.UPDATE: {"200": "OK", "201": "Created"},
        Verb.PATCH: {"200": "OK", "201": "Created"},
        Verb.DELETE: {"200": "OK", "202": "Accepted"},
    }.get(verb, {"200": "OK"})
    content = {JSON: _reference(schema), YAML: _reference(schema)}
    if verb is Verb.LIST:
        content[f"{JSON};stream=watch"] = _reference(schema)
    answers: Object = {code: {"description": text, "content": content} for code, text in codes.items()}
    return {**answers, "401": {"description": "Unauthorized"}}


def _render_subresource(resource: Resource, sub: Subresource, known: frozenset[str]) -> Object:
    schema = _subresource_schema(resource, sub, known)
    kind = kind_of(sub.group, sub.version, sub.kind) if sub.kind and sub.version else None
    methods = {
        "get": Verb.GET,
        "create": Verb.CREATE,
        "update": Verb.UPDATE,
        "patch": Verb.PATCH,
        "delete": Verb.DELETE,
    }
    names = {Verb.CREATE: "post", **_OBJECT_VERBS}
    item: Object = {}
    for word in sorted(sub.verbs & methods.keys()):
        verb = methods[word]
        operation = _render_operation(resource, verb, _capital(sub.name))
        scope = "Namespaced" if resource.namespaced else ""
        start = "connect" + word.capitalize() if sub.name in _CONNECTS else _ACTIONS[verb][0]
        operation["operationId"] = f"{start}{_camel(resource)}{scope}{resource.kind}{_capital(sub.name)}"
        operation["description"] = f"{start} {sub.name} of the specified {resource.kind}"
        operation["x-kubernetes-group-version-kind"] = kind or operation["x-kubernetes-group-version-kind"]
        if sub.name in _CONNECTS or sub.name in _PLAIN_TEXT:
            _make_plain(operation, sub)
        elif schema is not resource.schema:
            if verb in (Verb.CREATE, Verb.UPDATE):
                operation.update(_request_body(resource, verb, schema))
            operation["responses"] = _responses(verb, schema)
        item[names[verb]] = operation
    return item


def _make_plain(operation: Object, sub: Subresource) -> None:
    """A log or a stream: text instead of an object, and no body."""
    operation.pop("requestBody", None)
    operation.pop("parameters", None)
    if sub.name in _PLAIN_TEXT:
        operation["parameters"] = [_query_parameter(*parameter) for parameter in _LOG_PARAMETERS]
    else:
        operation["x-kubernetes-action"] = "connect"
    content = {"text/plain": {"schema": {"type": "string"}}}
    operation["responses"] = {
        "200": {"description": "OK", "content": content},
        "401": {"description": "Unauthorized"},
    }


def _subresource_schema(resource: Resource, sub: Subresource, known: frozenset[str]) -> Schema:
    """The body of a subresource: the kind itself, another kind of this document, or an object of a kind described elsewhere."""
    if not sub.kind or sub.kind == resource.kind:
        return resource.schema
    group = (sub.group or "core").partition(".")[0]
    name = f"io.k8s.api.{group}.{sub.version}.{sub.kind}"
    return Schema(type="object", preserve_unknown=True, reference=name if name in known else "")


def _render_discovery_operation(group: str, version: str) -> Object:
    content = {JSON: _reference(definitions.API_RESOURCE_LIST), YAML: _reference(definitions.API_RESOURCE_LIST)}
    return {
        "tags": [_tag_name(group, version)],
        "description": "get available resources",
        "operationId": f"get{_camel_name(group, version)}APIResources",
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
    }


def _reference(schema: Schema) -> Object:
    if not schema.reference:
        return {"schema": {"type": "object"}}
    return {"schema": {"$ref": PREFIX + schema.reference}}


def _query_parameter(name: str, kind: str, description: str) -> Object:
    return {"name": name, "in": "query", "description": description, "schema": {"type": kind, "uniqueItems": True}}


def _path_parameter(name: str, description: str) -> Object:
    schema = {"type": "string", "uniqueItems": True}
    return {"name": name, "in": "path", "description": description, "required": True, "schema": schema}


def _camel(resource: Resource) -> str:
    return _camel_name(resource.gvr.group, resource.gvr.version)


def _camel_name(group: str, version: str) -> str:
    """``eaves.dev`` ``v1alpha1`` → ``EavesDevV1alpha1``; groups of Kubernetes lose ``.k8s.io``."""
    short = group.removesuffix(".k8s.io") or "core"
    return "".join(_capital(part) for part in short.split(".")) + _capital(version)


def _tag(resource: Resource) -> str:
    return _tag_name(resource.gvr.group, resource.gvr.version)


def _tag_name(group: str, version: str) -> str:
    name = _camel_name(group, "")
    return f"{name[0].lower()}{name[1:]}_{version}"


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]
