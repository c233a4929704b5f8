"""YAML bodies to JSON's types, as Kubernetes' own decoder reads them, with remarks on keys that stand twice.

Differs from PyYAML where Kubernetes does: ``1e3`` is a number, ``12:30`` and dates are text, ``y`` and ``n`` are booleans. Anchors
cannot blow a document up beyond its size in bytes. Called by :mod:`eaves.kube.decode` only.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

_FEW_NODES = 100_000
"""What anchors may expand a document to, however short it is."""

_TAG = "tag:yaml.org,2002:"
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_INT = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_BOOL = re.compile(r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF")
_TRUE = frozenset({"y", "yes", "true", "on"})


class YamlError(Exception):
    """A body that is no YAML, or has no form in JSON; told of in the words of Kubernetes' decoder."""


def decode_yaml(body: bytes) -> tuple[Any, list[str]]:
    """The first YAML document as JSON would give it, and remarks on its duplicate keys. Raises YamlError."""
    try:
        loader = _Loader(body.decode())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlError(_say(error)) from error
    try:
        node = loader.get_node() if loader.check_node() else None
        if node is None:
            return None, []
        remarks = _find_duplicates(node)
        return _Converter(loader, max(_FEW_NODES, len(body))).convert(node), remarks
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise YamlError(_say(error)) from error
    finally:
        loader.dispose()


def _say(error: Exception) -> str:
    """``yaml: line 1: did not find expected node content``; lines are counted as that decoder counts them."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"yaml: {error}"
    marks = [mark for mark in (error.context_mark, error.problem_mark) if mark is not None and mark.line]
    line = marks[0].line + isinstance(error, yaml.scanner.ScannerError) if marks else 0
    return f"yaml: line {line}: {error.problem}" if line else f"yaml: {error.problem}"


class _Loader(yaml.CSafeLoader):
    """Safe loader with the resolution of plain scalars that Kubernetes has."""

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        return str(self.construct_scalar(node)).lower() in _TRUE

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        digits = text.lstrip("+-")
        is_old_octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        value = int(digits, 8) if is_old_octal else int(digits, 0)
        return -value if text.startswith("-") else value

    def construct_yaml_merge(self, node: yaml.ScalarNode) -> str:
        """``<<`` where it is no key."""
        return str(self.construct_scalar(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node)).replace("_", "").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", re.compile(r"~|null|Null|NULL|"), ("~", "n", "N", "")),
    ("merge", re.compile(r"<<"), "<"),
):
    # PyYAML takes a pattern that matches at the start for a match of all.
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern.pattern})\Z"), list(_first))
_Loader.add_constructor(_TAG + "bool", _Loader.construct_yaml_bool)
_Loader.add_constructor(_TAG + "int", _Loader.construct_yaml_int)
_Loader.add_constructor(_TAG + "float", _Loader.construct_yaml_float)
_Loader.add_constructor(_TAG + "merge", _Loader.construct_yaml_merge)


class _Converter:
    """Makes JSON's types of a document's nodes. Aliases become copies of their own, within the budget."""

    def __init__(self, loader: _Loader, budget: int) -> None:
        self._loader = loader
        self._budget = budget

    def convert(self, node: yaml.Node) -> Any:
        self._budget -= 1
        if self._budget < 0:
            raise ValueError("document contains excessive aliasing")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            self._loader.flatten_mapping(node)
            return {self._convert_key(key): self.convert(value) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.convert(item) for item in node.value]
        if not isinstance(node, yaml.ScalarNode):
            raise TypeError(f"{node.tag} has no form in JSON")
        return self._convert_scalar(node)

    def _convert_scalar(self, node: yaml.ScalarNode) -> Any:
        value = self._loader.construct_object(node)
        match value:
            case None | bool() | str():
                return value
            case int():
                return value if -(1 << 63) <= value < 1 << 64 else float(value)
            case float():
                return _convert_float(value, node.value)
            case bytes():
                return value.decode()
        raise TypeError(f"{node.tag} has no form in JSON")

    def _convert_key(self, node: yaml.Node) -> str:
        """A mapping's key as text: JSON has no other."""
        value = self._convert_scalar(node) if isinstance(node, yaml.ScalarNode) else None
        match value:
            case None:
                raise TypeError(f"unsupported map key {node.value!r}")
            case bool():
                return "true" if value else "false"
            case _:
                return str(value)


def _convert_float(value: float, text: str) -> float | int | str:
    if math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 1 << 53 else value
    if "inf" in text.lower() or "nan" in text.lower():
        raise ValueError(f"{value} has no form in JSON")
    # Digits for a number that is too large remain text.
    return text


def _find_duplicates(root: yaml.Node) -> list[str]:
    """Remarks in document order. A node that stands in several places by an alias is looked at once."""
    found: dict[str, None] = {}
    done: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        below: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key_node, value_node in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
                if key in seen and key_node.tag != _TAG + "merge":
                    found[f'line {key_node.start_mark.line + 1}: key "{key}" already set in map'] = None
                seen.add(key)
                below.append(value_node)
        elif isinstance(node, yaml.SequenceNode):
            below.extend(node.value)
        stack.extend(reversed(below))
    return list(found)
