"""Label and field selectors: parsed once, then a function from an object's labels or fields to yes or no."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from eaves.kube import names, status
from eaves.kube.errors import ApiError
from eaves.kube.resource import Object


class Operator(StrEnum):
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    NOT_EXISTS = "!"
    GREATER = "gt"
    LESS = "lt"


class Requirement(Struct, frozen=True):
    """One term. Equality is IN with one value, inequality NOT_IN (which an absent key satisfies too)."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.NOT_EXISTS:
                return value is None
            case Operator.GREATER | Operator.LESS:
                return self._compare(value)

    def _compare(self, value: str | None) -> bool:
        bound = int(next(iter(self.values)))
        if value is None or not _INTEGER.fullmatch(value):
            return False
        return int(value) > bound if self.operator is Operator.GREATER else int(value) < bound


class LabelSelector(Struct, frozen=True):
    """All terms must hold; no term selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def equalities(self) -> dict[str, str]:
        """Terms that a store may answer by index."""
        single = (r for r in self.requirements if r.operator is Operator.IN and len(r.values) == 1)
        return {r.key: next(iter(r.values)) for r in single}


class FieldTerm(Struct, frozen=True):
    field: str
    value: str
    is_equal: bool


class FieldSelector(Struct, frozen=True):
    """Equalities and inequalities over a kind's selectable fields."""

    terms: tuple[FieldTerm, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all((fields.get(term.field, "") == term.value) == term.is_equal for term in self.terms)

    def equalities(self) -> dict[str, str]:
        return {term.field: term.value for term in self.terms if term.is_equal}


def parse_label_selector(text: str) -> LabelSelector:
    """``app=web,tier in (a, b),!beta``. Raises ApiError 400."""
    return LabelSelector(tuple(_LabelParser(text).parse()))


def parse_label_selector_object(value: Mapping[str, Any]) -> LabelSelector:
    """A ``metav1.LabelSelector`` with matchLabels and matchExpressions."""
    operators = {
        "In": Operator.IN,
        "NotIn": Operator.NOT_IN,
        "Exists": Operator.EXISTS,
        "DoesNotExist": Operator.NOT_EXISTS,
    }
    terms = [Requirement(k, Operator.IN, frozenset({v})) for k, v in (value.get("matchLabels") or {}).items()]
    for expression in value.get("matchExpressions") or ():
        operator = operators.get(expression.get("operator", ""))
        if operator is None:
            raise status.bad_request(f'"{expression.get("operator")}" is not a valid label selector operator')
        terms.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or ())))
    return LabelSelector(tuple(terms))


def parse_field_selector(text: str, supported: Sequence[str], *, is_plain: bool = False) -> FieldSelector:
    """``spec.nodeName=a,status.phase!=Running``; ``\\``, ``,`` and ``=`` in values are escaped by ``\\``.

    ``is_plain``: a kind of Kubernetes that has nothing selectable of its own, which is refused in other words. Raises ApiError 400.
    """
    terms = []
    for part in re.findall(r"(?:[^\\,]|\\.|\\$)+", text, re.DOTALL):
        match = re.fullmatch(r"(.*?)(!=|==|=)(.*)", part, re.DOTALL)
        if match is None:
            raise status.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        terms.append(FieldTerm(match.group(1), _unescape(match.group(3)), match.group(2) != "!="))
    for term in terms:
        if term.field not in supported:
            listed = ", ".join(f'"{name}"' for name in supported)
            known = f'"{term.field}" is not a known field selector: only {listed}'
            raise status.bad_request(known if is_plain else f"field label not supported: {term.field}")
    return FieldSelector(tuple(terms))


def _unescape(value: str) -> str:
    """Raises ApiError 400 for an escape that is none and for ``=`` without one."""
    if "\\" not in value and "=" not in value:
        return value
    plain = []
    position = 0
    while position < len(value):
        letter = value[position]
        if letter == "\\":
            position += 1
            letter = value[position : position + 1]
            if letter not in ("\\", ",", "="):
                raise status.bad_request(f"invalid field selector: invalid escape sequence: \\{letter}")
        elif letter == "=":
            raise status.bad_request(f"invalid field selector: unescaped character in value: {ord(letter)}")
        plain.append(letter)
        position += 1
    return "".join(plain)


def match_object(labels: LabelSelector, fields: FieldSelector, obj: Object, values: Mapping[str, str]) -> bool:
    """Whether an object is selected; ``values`` are its selectable fields."""
    return (not fields or fields.matches(values)) and (
        not labels or labels.matches(obj.get("metadata", {}).get("labels") or {})
    )


_TOKEN = re.compile(r"\s*(!=|==|[=!,()<>]|[^\s=!,()<>]+)")
_SPECIAL = frozenset({"", "!=", "==", "=", "!", ",", "(", ")", "<", ">"})
"""Tokens that are no identifiers; the empty one is the end."""
_INTEGER = re.compile(r"[+-]?[0-9]+")
_INT64 = 1 << 63


class _LabelParser:
    """Recursive descent over the terms of a label selector; faults are told as Kubernetes tells them."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._position = 0

    def parse(self) -> list[Requirement]:
        terms: list[Requirement] = []
        if self._peek() not in ("", "!") and not self._is_identifier():
            raise _fault(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
        while self._peek():
            terms.append(self._parse_term())
            separator = self._take()
            if separator not in ("", ","):
                raise _fault(f"found '{separator}', expected: ',' or 'end of string'")
            if separator and self._peek() != "!" and not self._is_identifier():
                raise _fault(f"found '{self._peek()}', expected: identifier after ','")
        return terms

    def _parse_term(self) -> Requirement:
        if self._peek() == "!":
            self._take()
            return Requirement(self._take_key(), Operator.NOT_EXISTS)
        key = self._take_key()
        if self._peek() in ("", ","):
            return Requirement(key, Operator.EXISTS)
        match self._take():
            case "=" | "==":
                return Requirement(key, Operator.IN, self._take_value(key))
            case "!=":
                return Requirement(key, Operator.NOT_IN, self._take_value(key))
            case "in" | "notin" as word:
                return Requirement(key, Operator(word), self._take_values(key))
            case ">" | "<" as sign:
                bound = self._take_value(key)
                if not all(_INTEGER.fullmatch(value) and -_INT64 <= int(value) < _INT64 for value in bound):
                    why = "for 'Gt', 'Lt' operators, the value must be an integer"
                    raise _requirement_fault(f"values[0]: Invalid value: {_quote(next(iter(bound)))}: {why}")
                return Requirement(key, Operator.GREATER if sign == ">" else Operator.LESS, bound)
            case other:
                raise _requirement_fault(f"found '{other}', expected: in, notin, =, ==, !=, gt, lt")

    def _take_key(self) -> str:
        key = self._take()
        if key in _SPECIAL:
            raise _requirement_fault(f"found '{key}', expected: identifier")
        if faults := names.check_qualified_name(key):
            raise _requirement_fault(f"<nil>: Invalid value: {_quote(key)}: {'; '.join(faults)}")
        return key

    def _take_value(self, key: str) -> frozenset[str]:
        """One value; an empty one is written as nothing at all: ``a=`` or ``a=,b=c``."""
        if self._peek() in ("", ","):
            return frozenset({""})
        value = self._take()
        if value in _SPECIAL:
            raise _requirement_fault(f"found '{value}', expected: identifier")
        return _check_values(key, [value])

    def _take_values(self, key: str) -> frozenset[str]:
        """A list in parentheses, where nothing between commas is an empty value."""
        if (opening := self._take()) != "(":
            raise _requirement_fault(f"found '{opening}' expected: '('")
        if not self._is_identifier() and self._peek() not in (",", ")"):
            raise _requirement_fault(f"found '{self._peek()}', expected: ',', ')' or identifier")
        values = [self._take_listed()]
        while (separator := self._take()) == ",":
            values.append(self._take_listed())
        if separator != ")":
            raise _requirement_fault(f"found '{separator}', expected: ',' or ')'")
        return _check_values(key, values)

    def _take_listed(self) -> str:
        return self._take() if self._is_identifier() else ""

    def _is_identifier(self) -> bool:
        return self._peek() not in _SPECIAL

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._position += 1
        return token


def _check_values(key: str, values: Sequence[str]) -> frozenset[str]:
    for index, value in enumerate(values):
        if faults := names.check_label_value(value):
            raise _requirement_fault(f"values[{index}][{key}]: Invalid value: {_quote(value)}: {'; '.join(faults)}")
    return frozenset(values)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _requirement_fault(message: str) -> ApiError:
    return _fault(f"unable to parse requirement: {message}")


def _fault(message: str) -> ApiError:
    return status.bad_request(message)
