"""Selectors select what Kubernetes' would, and tell faults with its words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import selectors
from eaves.kube.errors import ApiError
from eaves.kube.selectors import FieldSelector, LabelSelector, Operator

LABELS = {"app": "web", "tier": "front", "empty": "", "n": "5"}


def selects(text: str) -> bool:
    return selectors.parse_label_selector(text).matches(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "app",
        "app=web",
        "app==web",
        " app = web ",
        "app!=db",
        "none!=x",
        "!none",
        "! none",
        "app in (web, db)",
        "app in (web)",
        "app\tin\t(web)",
        "app notin (db)",
        "none notin (db)",
        "empty=",
        "empty==",
        "empty=,app=web",
        "empty in ()",
        "empty in (,)",
        "empty in (x,)",
        "app!=",
        "n>4",
        "n<6",
        "n > 4, n < 6",
        "app=web,tier=front,!none",
        "app,tier",
        "app=web\n",
    ],
)
def test_labels_are_selected(text: str) -> None:
    assert selects(text)


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "app=db",
        "app!=web",
        "!app",
        "app in (db,cache)",
        "app notin (web)",
        "none in (x)",
        "none=",
        "app=",
        "empty!=",
        "n>5",
        "n<5",
        "app>1",
        "none>1",
        "app=web,none",
        "app=web,app=db",
    ],
)
def test_labels_are_not_selected(text: str) -> None:
    assert not selects(text)


@pytest.mark.parametrize("text", ["in", "notin", "in in (in)", "a=in", "a in (in,notin)", "in notin (x)", "in=notin"])
def test_words_of_the_syntax_are_keys_and_values_too(text: str) -> None:
    selectors.parse_label_selector(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a gt 1", "unable to parse requirement: found 'gt', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a=b)", "found ')', expected: ',' or 'end of string'"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("=b", "found '=', expected: !, identifier, or 'end of string'"),
        ("(a)", "found '(', expected: !, identifier, or 'end of string'"),
        ("a=!", "unable to parse requirement: found '!', expected: identifier"),
        ("a===b", "unable to parse requirement: found '=', expected: identifier"),
        ("a>=1", "unable to parse requirement: found '=', expected: identifier"),
        ("!,a", "unable to parse requirement: found ',', expected: identifier"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        (
            "a>x",
            'unable to parse requirement: values[0]: Invalid value: "x": '
            "for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_faults_are_told_as_kubernetes_tells_them(text: str, fault: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse_label_selector(text)
    assert (caught.value.status_code, caught.value.message) == (400, fault)


@pytest.mark.parametrize("text", ["-a", "A/b=c", "a/b/c", "a=-b", "a=é", "a in (b,-c)", "x" * 64, f"a={'x' * 64}", "&"])
def test_keys_and_values_must_be_those_of_labels(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse_label_selector(text)
    assert "Invalid value" in caught.value.message


def test_equalities_are_what_an_index_can_answer() -> None:
    selector = selectors.parse_label_selector("a=1,b==2,c in (3),d in (4,5),e!=6,f,!g")
    assert selector.equalities() == {"a": "1", "b": "2", "c": "3"}
    assert bool(selector)
    assert not selectors.parse_label_selector("")


def test_selector_objects() -> None:
    selector = selectors.parse_label_selector_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "tier", "operator": "NotIn", "values": ["back"]},
                {"key": "n", "operator": "Exists"},
                {"key": "none", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.matches(LABELS)
    assert not selector.matches({**LABELS, "none": "x"})
    assert selectors.parse_label_selector_object({}).matches(LABELS)


def test_unknown_operator_of_a_selector_object_is_400() -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse_label_selector_object({"matchExpressions": [{"key": "a", "operator": "Like"}]})
    assert caught.value.message == '"Like" is not a valid label selector operator'


FIELDS = ("metadata.name", "spec.nodeName")


@pytest.mark.parametrize(
    ("text", "is_selected"),
    [
        ("", True),
        ("metadata.name=web", True),
        ("metadata.name==web", True),
        ("metadata.name!=web", False),
        ("metadata.name!=db", True),
        ("spec.nodeName=", True),
        ("spec.nodeName!=", False),
        ("metadata.name=web,spec.nodeName=x", False),
        (",metadata.name=web,,", True),
        ("metadata.name= web", False),
    ],
)
def test_fields_are_selected(text: str, is_selected: bool) -> None:
    selector = selectors.parse_field_selector(text, FIELDS)
    assert selector.matches({"metadata.name": "web"}) is is_selected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x", "invalid selector: 'x'; can't understand 'x'"),
        ("metadata.name in (a)", "invalid selector: 'metadata.name in (a)'; can't understand 'metadata.name in (a)'"),
        ("spec.other=x", "field label not supported: spec.other"),
        ("=x", "field label not supported: "),
        ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
        ("metadata.name=a\\x", "invalid field selector: invalid escape sequence: \\x"),
        ("metadata.name=a\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_faults_of_field_selectors(text: str, fault: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.parse_field_selector(text, FIELDS)
    assert (caught.value.status_code, caught.value.message) == (400, fault)


@given(st.text(max_size=12), st.booleans())
def test_any_value_can_be_asked_for_when_escaped(value: str, is_equal: bool) -> None:
    escaped = value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
    selector = selectors.parse_field_selector(
        f"metadata.name{'=' if is_equal else '!='}{escaped},spec.nodeName=n", FIELDS
    )
    assert [term.value for term in selector.terms] == [value, "n"]
    assert selector.matches({"metadata.name": value, "spec.nodeName": "n"}) is is_equal
    assert selector.equalities() == ({"metadata.name": value} if is_equal else {}) | {"spec.nodeName": "n"}


KEYS = st.from_regex(r"[a-z][a-z0-9.-]{0,6}[a-z0-9]", fullmatch=True).filter(lambda key: key not in ("in", "notin"))
VALUES = st.from_regex(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,5}[A-Za-z0-9])?)?", fullmatch=True)


@st.composite
def requirements(draw: st.DrawFn) -> tuple[str, Operator, frozenset[str]]:
    operator = draw(st.sampled_from([Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.NOT_EXISTS]))
    is_listing = operator in (Operator.IN, Operator.NOT_IN)
    values = draw(st.frozensets(VALUES, min_size=1, max_size=3)) if is_listing else frozenset()
    return draw(KEYS), operator, values


def render(key: str, operator: Operator, values: frozenset[str]) -> str:
    if operator is Operator.EXISTS:
        return key
    if operator is Operator.NOT_EXISTS:
        return f"!{key}"
    return f"{key} {operator} ({','.join(sorted(values))})"


@given(st.lists(requirements(), max_size=4))
def test_rendered_terms_are_read_back(terms: list[tuple[str, Operator, frozenset[str]]]) -> None:
    parsed = selectors.parse_label_selector(",".join(render(*term) for term in terms))
    assert [(r.key, r.operator, r.values) for r in parsed.requirements] == terms


@given(requirements(), st.dictionaries(KEYS, VALUES, max_size=4))
def test_negation_selects_the_rest(term: tuple[str, Operator, frozenset[str]], labels: dict[str, str]) -> None:
    key, operator, values = term
    opposite = {
        Operator.IN: Operator.NOT_IN,
        Operator.NOT_IN: Operator.IN,
        Operator.EXISTS: Operator.NOT_EXISTS,
        Operator.NOT_EXISTS: Operator.EXISTS,
    }[operator]
    first = selectors.parse_label_selector(render(key, operator, values))
    second = selectors.parse_label_selector(render(key, opposite, values))
    assert first.matches(labels) is not second.matches(labels)


@given(st.text(max_size=20))
def test_any_text_is_a_selector_or_400(text: str) -> None:
    code = 400
    try:
        selectors.parse_label_selector(text)
        selectors.parse_field_selector(text, FIELDS)
    except ApiError as error:
        code = error.status_code
    assert code == 400


def test_objects_are_selected_by_labels_and_fields() -> None:
    obj = {"metadata": {"name": "web", "labels": {"app": "web"}}}
    labels = selectors.parse_label_selector("app=web")
    fields = selectors.parse_field_selector("metadata.name=web", FIELDS)
    assert selectors.match_object(labels, fields, obj, {"metadata.name": "web"})
    assert not selectors.match_object(labels, fields, obj, {"metadata.name": "db"})
    assert not selectors.match_object(labels, FieldSelector(), {"metadata": {}}, {})
    assert selectors.match_object(LabelSelector(), FieldSelector(), {}, {})


def test_fields_that_a_kind_does_not_have_are_told_after_what_cannot_be_read() -> None:
    def told(text: str, *, is_plain: bool = False) -> str:
        with pytest.raises(ApiError) as caught:
            selectors.parse_field_selector(text, ("metadata.name", "metadata.namespace"), is_plain=is_plain)
        return caught.value.message

    assert told("spec.x=1") == "field label not supported: spec.x"
    only = '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'
    assert told("metadata.name=a,spec.x!=1", is_plain=True) == only
    assert told("spec.x=1,a=1=2") == "invalid field selector: unescaped character in value: 61"
