"""Tokens of service accounts: issued by ``serviceaccounts/NAME/token``, known again by their signature, published for others to verify.

A token is good for its audiences until it expires, and only as long as the account, and the object that it is bound to, exist. Nothing of
it is stored. The keys are those of the controller's identity, several while one follows another.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from eaves.controller.api.backends import Backend
from eaves.controller.api.http import JSON, Request, Response
from eaves.controller.api.identity import GROUP_AUTHENTICATED, Identity
from eaves.controller.api.questions import load_question, make_question
from eaves.controller.api.routing import Target
from eaves.controller.documents import key_of
from eaves.kinds import serviceaccount
from eaves.kinds.fields import about
from eaves.kinds.times import render_time
from eaves.kube import encode, jwt, status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.jwt import JwtError
from eaves.kube.rbac import SERVICE_ACCOUNT_PREFIX
from eaves.store.abc import ObjectStore

LEAST_S, USUAL_S, MOST_S = 600, 3600, 365 * 24 * 3600
"""A longer life that is asked for is cut: keys are kept for a year after they were followed by others."""
DISCOVERY_PATH, KEYS_PATH = "/.well-known/openid-configuration", "/openid/v1/jwks"
_PRIVATE = "kubernetes.io"
_EXTRA = "authentication.kubernetes.io/"

AccountKeys = Callable[[], Sequence[ec.EllipticCurvePrivateKey]]
"""The keys in use, newest last."""


class BoundReference(Struct, frozen=True, rename="camel"):
    """The object without which a token is none."""

    kind: Annotated[str, about("Pod, Secret or Node.")] = ""
    api_version: Annotated[str, about("API version of the object.")] = ""
    name: Annotated[str, about("Name of the object.")] = ""
    uid: Annotated[str, about("UID of the object; any when empty.")] = ""


class TokenSpec(Struct, frozen=True, rename="camel"):
    """What is asked for."""

    audiences: Annotated[tuple[str, ...] | None, about("For whom the token is meant; for this API when empty.")] = None
    expiration_seconds: Annotated[int | None, about("For how long it is asked to be good.")] = USUAL_S
    bound_object_ref: Annotated[BoundReference | None, about("The object without which it is none.")] = None


class TokenStatus(Struct, frozen=True, rename="camel"):
    """The answer."""

    token: Annotated[str, about("The token.")] = ""
    expiration_timestamp: Annotated[str, about("When it ends.")] = ""


TOKEN_REQUEST = make_question(
    "authentication.k8s.io",
    "tokenrequests",
    "TokenRequest",
    "TokenRequest asks for a token of a service account.",
    spec=TokenSpec,
    answer=TokenStatus,
    namespaced=True,
)


class KnownAccount(Struct, frozen=True):
    """Whom a good token is of, until when, and for whom it is meant."""

    identity: Identity
    expires_at: float
    audiences: tuple[str, ...]


class Accounts:
    """Issues tokens and knows them again. ``bound`` are the kinds that a token may be bound to."""

    def __init__(
        self,
        store: ObjectStore,
        keys: AccountKeys,
        issuer: str,
        bound: Mapping[str, Backend],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keys = keys
        self.issuer = issuer
        self._bound = bound
        self._clock = clock

    async def serve_token(self, request: Request, target: Target) -> Response:
        """``serviceaccounts/NAME/token``. Raises ApiError 400, 404, 409, 422."""
        body = await load_question(TOKEN_REQUEST, request, target.namespace, "token")
        spec = msgspec.convert(body.get("spec") or {}, TokenSpec)
        account = await self._store.get(key_of(serviceaccount.RESOURCE, target.namespace, target.name))
        if account is None:
            raise status.not_found("", "serviceaccounts", target.name)
        _check_name(body["metadata"].get("name") or "", target.name)
        lifetime_s = _check_lifetime(spec)
        claims: dict[str, Any] = {"namespace": target.namespace, "serviceaccount": _name(target.name, account.uid)}
        if spec.bound_object_ref is not None:
            claims |= await self._bind(spec.bound_object_ref, target.namespace)
        audiences = list(spec.audiences or (self.issuer,))
        now = self._clock()
        token = self._issue(
            f"{SERVICE_ACCOUNT_PREFIX}{target.namespace}:{target.name}", audiences, now, lifetime_s, claims
        )
        document = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                **body["metadata"],
                "name": target.name,
                "namespace": target.namespace,
                "uid": account.uid,
                "creationTimestamp": render_time(now),
            },
            "spec": {
                "audiences": audiences,
                "expirationSeconds": lifetime_s,
                "boundObjectRef": (body.get("spec") or {}).get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": render_time(now + lifetime_s)},
        }
        return Response(encode.encode_json(document), 201)

    async def find(self, token: str, audiences: Sequence[str] = ()) -> KnownAccount:
        """Whose token it is, if it is meant for one of ``audiences`` (this API when empty). Raises JwtError."""
        claims = jwt.verify_token(token, [key.public_key() for key in self._keys()])
        meant = claims.get("aud") or ()
        wanted = tuple(audiences) or (self.issuer,)
        common = tuple(audience for audience in wanted if audience in meant)
        now = self._clock()
        if claims.get("iss") != self.issuer or not common:
            raise JwtError("the token is meant for somebody else")
        if not isinstance(claims.get("exp"), int | float) or not claims.get("nbf", 0) <= now < claims["exp"]:
            raise JwtError("the token has expired or is not valid yet")
        private = claims[_PRIVATE]
        space, account = private["namespace"], private["serviceaccount"]
        found = await self._store.get(key_of(serviceaccount.RESOURCE, space, account["name"]))
        if found is None or found.uid != account["uid"]:
            raise JwtError("the token's account is gone")
        extra = {f"{_EXTRA}credential-id": (f"JTI={claims['jti']}",)}
        for kind in self._bound:
            if (reference := private.get(kind.lower())) is not None:
                await self._check_bound(kind, space, reference)
                extra |= {f"{_EXTRA}{kind.lower()}-{part}": (reference[part],) for part in ("name", "uid")}
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{space}", GROUP_AUTHENTICATED)
        identity = Identity(f"{SERVICE_ACCOUNT_PREFIX}{space}:{account['name']}", groups, found.uid, extra)
        return KnownAccount(identity, claims["exp"], common)

    def render_discovery(self) -> Response:
        """Where the keys are, by OpenID Connect Discovery."""
        document = {
            "issuer": self.issuer,
            "jwks_uri": self.issuer + KEYS_PATH,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        return Response(encode.encode_json(document), 200, JSON, {"Cache-Control": "public, max-age=3600"})

    def render_keys(self) -> Response:
        keys = jwt.render_jwks([key.public_key() for key in self._keys()])
        headers = {"Cache-Control": "public, max-age=3600"}
        return Response(encode.encode_json(keys), 200, "application/jwk-set+json", headers)

    def _issue(self, user: str, audiences: list[str], now: float, lifetime_s: int, private: dict[str, Any]) -> str:
        start = int(now)
        claims = {
            "aud": audiences,
            "exp": start + lifetime_s,
            "iat": start,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            _PRIVATE: private,
            "nbf": start,
            "sub": user,
        }
        return jwt.encode_token(claims, self._keys()[-1])

    async def _bind(self, reference: BoundReference, namespace: str) -> dict[str, Any]:
        backend = self._bound.get(reference.kind)
        if backend is None or reference.api_version not in ("", "v1"):
            known = ", ".join(sorted(self._bound))
            raise status.bad_request(f"cannot bind a token to a {reference.kind or 'nameless kind'}: known are {known}")
        if not reference.name:
            raise status.bad_request("spec.boundObjectRef.name: Required value")
        found = await backend.get(namespace if backend.resource.namespaced else "", reference.name)
        if found is None:
            raise status.not_found("", backend.resource.gvr.resource, reference.name)
        if reference.uid and reference.uid != found.uid:
            why = f"the UID in the bound object reference ({reference.uid}) does not match the UID in record. The object might have been deleted and then recreated"  # noqa: E501 - a kube-apiserver's own sentence
            raise status.conflict("", backend.resource.gvr.resource, reference.name, why)
        return {reference.kind.lower(): _name(reference.name, found.uid)}

    async def _check_bound(self, kind: str, namespace: str, reference: Mapping[str, str]) -> None:
        backend = self._bound[kind]
        found = await backend.get(namespace if backend.resource.namespaced else "", reference["name"])
        if found is None or found.uid != reference["uid"]:
            raise JwtError(f"the {kind} that the token is bound to is gone")


def _name(name: str, uid: str) -> dict[str, str]:
    return {"name": name, "uid": uid}


def _check_name(given: str, name: str) -> None:
    """Raises ApiError 422."""
    if given not in ("", name):
        why = "must match the service account name if specified"
        fault = FieldError("metadata.name", CauseType.INVALID, why, given)
        raise status.invalid("authentication.k8s.io", "TokenRequest", name, [fault])


def _check_lifetime(spec: TokenSpec) -> int:
    """Seconds. Raises ApiError 422."""
    seconds = USUAL_S if spec.expiration_seconds is None else spec.expiration_seconds
    why = ""
    if seconds < LEAST_S:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > 1 << 32:
        why = "may not specify a duration larger than 2^32 seconds"
    if why:
        fault = FieldError("spec.expirationSeconds", CauseType.INVALID, why, seconds)
        raise status.invalid("authentication.k8s.io", "TokenRequest", "", [fault])
    return min(seconds, MOST_S)
