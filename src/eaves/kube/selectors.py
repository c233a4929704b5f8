"""Label and field selectors: parsed once, then a function from an object's labels or fields to yes or no."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from eaves.kube import names, status
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
        if value is None or not re.fullmatch(r"[+-]?\d+", value):
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


_TOKEN = re.compile(r"\s*(!=|==|=|!|,|\(|\)|<|>|[^\s=!,()<>]+)")


def parse_label_selector(text: str) -> LabelSelector:
    """``app=web,tier in (a, b),!beta``. Raises ApiError 400."""
    try:
        return LabelSelector(tuple(_parse_terms(_Tokens(text))))
    except _SyntaxError as error:
        raise status.bad_request(f"unable to parse requirement: {error}") from error


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


def parse_field_selector(text: str, supported: Sequence[str]) -> FieldSelector:
    """``spec.nodeName=a,status.phase!=Running``; ``\\``, ``,`` and ``=`` in values are escaped by ``\\``. Raises ApiError 400."""
    terms = []
    for part in _split_escaped(text):
        if not part:
            continue
        match = re.fullmatch(r"([^=!]+?)(!=|==|=)(.*)", part, re.DOTALL)
        if match is None:
            raise status.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        field = match.group(1)
        if field not in supported:
            raise status.bad_request(f"field label not supported: {field}")
        value = re.sub(r"\\([\\,=])", r"\1", match.group(3))
        terms.append(FieldTerm(field, value, match.group(2) != "!="))
    return FieldSelector(tuple(terms))


def match_object(labels: LabelSelector, fields: FieldSelector, obj: Object, values: Mapping[str, str]) -> bool:
    """Whether an object is selected; ``values`` are its selectable fields."""
    return (not fields or fields.matches(values)) and (
        not labels or labels.matches(obj.get("metadata", {}).get("labels") or {})
    )


class _SyntaxError(Exception):
    """Internal: becomes a 400 at the door."""


class _Tokens:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position = 0
        text = text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise _SyntaxError(f"unexpected text {text[position:]!r}")
            self._tokens.append(match.group(1))
            position = match.end()
        self._next = 0

    def peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self._next += 1
        return token


def _parse_terms(tokens: _Tokens) -> list[Requirement]:
    terms: list[Requirement] = []
    while tokens.peek():
        terms.append(_parse_term(tokens))
        separator = tokens.take()
        if separator not in ("", ","):
            raise _SyntaxError(f"found '{separator}', expected: ',' or 'end of string'")
        if separator == "," and not tokens.peek():
            raise _SyntaxError("found '', expected: identifier after ','")
    return terms


def _parse_term(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.take()
        return Requirement(_take_key(tokens), Operator.NOT_EXISTS)
    key = _take_key(tokens)
    match tokens.peek():
        case "" | ",":
            return Requirement(key, Operator.EXISTS)
        case "=" | "==":
            tokens.take()
            return Requirement(key, Operator.IN, frozenset({_take_value(tokens, key)}))
        case "!=":
            tokens.take()
            return Requirement(key, Operator.NOT_IN, frozenset({_take_value(tokens, key)}))
        case "in" | "notin" as word:
            tokens.take()
            return Requirement(key, Operator(word), frozenset(_take_values(tokens, key)))
        case ">" | "<" as sign:
            tokens.take()
            bound = _take_value(tokens, key)
            if not re.fullmatch(r"[+-]?\d+", bound):
                raise _SyntaxError("for 'Gt', 'Lt' operators, the value must be an integer")
            return Requirement(key, Operator.GREATER if sign == ">" else Operator.LESS, frozenset({bound}))
        case other:
            raise _SyntaxError(f"found '{other}', expected: in, notin, =, ==, !=, gt, lt")


def _take_key(tokens: _Tokens) -> str:
    key = tokens.take()
    if faults := names.check_qualified_name(key):
        raise _SyntaxError(f'key: Invalid value: "{key}": {"; ".join(faults)}')
    return key


def _take_value(tokens: _Tokens, key: str) -> str:
    # An empty value is written as nothing at all: `a=` or `a=,b=c`.
    value = "" if tokens.peek() in ("", ",", ")") else tokens.take()
    if faults := names.check_label_value(value):
        raise _SyntaxError(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(faults)}')
    return value


def _take_values(tokens: _Tokens, key: str) -> list[str]:
    if (opening := tokens.take()) != "(":
        raise _SyntaxError(f"found '{opening}' expected: '('")
    values = [_take_value(tokens, key)]
    while (separator := tokens.take()) == ",":
        values.append(_take_value(tokens, key))
    if separator != ")":
        raise _SyntaxError(f"found '{separator}', expected: ',' or ')'")
    return values


def _split_escaped(text: str) -> list[str]:
    return re.findall(r"(?:[^\\,]|\\.)+", text)
