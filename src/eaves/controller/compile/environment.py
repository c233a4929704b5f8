"""An app's environment and files, with the values of Secrets and ConfigMaps filled in.

Later sources win: ``envFrom`` in its order, then ``env``. Values are taken literally.
"""

from __future__ import annotations

from collections.abc import Mapping

from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.user_data import UserFile
from eaves.kinds.app import App
from eaves.kinds.app_spec import AppFile, EnvFrom, EnvVar
from eaves.kinds.fields import KeyReference
from eaves.kinds.rules import is_env_name


def want_environment(app: App, lookup: Lookup) -> tuple[dict[str, str], list[str]]:
    """The variables, and the keys that were left out because they are no names of variables. Raises :class:`HeldBackError`."""
    environment: dict[str, str] = {}
    unusable: list[str] = []
    for source in app.spec.env_from:
        for key, value in _all_of(app, source, lookup).items():
            name = source.prefix + key
            if is_env_name(name):
                environment[name] = _text(value, f"key {key}")
            else:
                unusable.append(name)
    for variable in app.spec.env:
        text = _value_of(app, variable, lookup)
        if text is not None:
            environment[variable.name] = text
    return environment, sorted(unusable)


def want_files(app: App, lookup: Lookup) -> list[UserFile]:
    """The files to place, by path. Raises :class:`HeldBackError`."""
    files = []
    for file in sorted(app.spec.files, key=lambda file: file.path):
        content = _content_of(app, file, lookup)
        if content is not None:
            files.append(UserFile(path=file.path, content=content, mode=file.mode.zfill(4)))
    return files


def _all_of(app: App, source: EnvFrom, lookup: Lookup) -> Mapping[str, bytes]:
    namespace = app.metadata.namespace
    reference = source.secret_ref or source.config_map_ref
    if reference is None:
        return {}
    kind = "Secret" if source.secret_ref else "ConfigMap"
    data = (
        lookup.secret_data(namespace, reference.name)
        if source.secret_ref
        else lookup.configmap_data(namespace, reference.name)
    )
    if data is None:
        if reference.optional:
            return {}
        raise HeldBackError(
            f"{kind}NotFound", f"envFrom needs {kind} {reference.name}, which does not exist; create it"
        )
    return dict(sorted(data.items()))


def _value_of(app: App, variable: EnvVar, lookup: Lookup) -> str | None:
    if variable.value_from is None:
        return variable.value or ""
    value = value_of_key(
        app.metadata.namespace,
        variable.value_from.secret_key_ref,
        variable.value_from.config_map_key_ref,
        f"env {variable.name}",
        lookup,
    )
    return None if value is None else _text(value, f"env {variable.name}")


def _content_of(app: App, file: AppFile, lookup: Lookup) -> bytes | None:
    if file.content is not None:
        return file.content.encode()
    return value_of_key(
        app.metadata.namespace, file.secret_key_ref, file.config_map_key_ref, f"file {file.path}", lookup
    )


def value_of_key(
    namespace: str, secret: KeyReference | None, configmap: KeyReference | None, user: str, lookup: Lookup
) -> bytes | None:
    """The value of the key; None when it is missing and optional, empty when neither is named. Raises :class:`HeldBackError`."""
    reference = secret or configmap
    if reference is None:
        return b""
    kind = "Secret" if secret else "ConfigMap"
    data = lookup.secret_data(namespace, reference.name) if secret else lookup.configmap_data(namespace, reference.name)
    if data is not None and reference.key in data:
        return data[reference.key]
    if reference.optional:
        return None
    if data is None:
        raise HeldBackError(f"{kind}NotFound", f"{user} needs {kind} {reference.name}, which does not exist; create it")
    raise HeldBackError(
        f"{kind}KeyNotFound", f"{user} needs key {reference.key} of {kind} {reference.name}, which has no such key"
    )


def _text(value: bytes, user: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise HeldBackError("InvalidVariableValue", f"{user} is not UTF-8 text; use a file for binary data") from error
    if "\0" in text:
        raise HeldBackError(
            "InvalidVariableValue", f"{user} has a NUL character, which no environment can hold; use a file"
        )
    return text
