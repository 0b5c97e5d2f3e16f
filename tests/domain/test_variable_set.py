"""Variable sets are read with all faults at once and have one canonical form."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.things.variable_set import VariableSet
from app.domain.values.document import Place
from tests.domain.world import NIC, variable


def read(document: dict[str, Any]) -> tuple[VariableSet, list[tuple[str, str]]]:
    at = Place()
    read = VariableSet.read(NIC, document, at)
    return read, [(fault.pointer, fault.code.value) for fault in at.faults]


QUEUES = variable("int", 4, 1, [1, "2-8"])
FLAG = variable("bool", False, False)


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        ({}, [("", "missing-field")]),
        ({"variables": []}, [("/variables", "wrong-type")]),
        ({"variables": {}, "params": {}}, [("/params", "duplicate")]),
        ({"variables": {"a b": QUEUES}}, [("/variables/a b", "invalid-name")]),
        ({"variables": {"q": 1}}, [("/variables/q", "wrong-type")]),
        ({"variables": {"q": {"type": "int"}}}, [("/variables/q", "missing-field")]),
        ({"variables": {"q": {"type": "float", "init_value": 1}}}, [("/variables/q/type", "invalid-value")]),
        ({"variables": {"q": {**QUEUES, "x": 1}}}, [("/variables/q/x", "unknown-field")]),
        ({"variables": {"q": {**QUEUES, "init_value": 9}}}, [("/variables/q/init_value", "init-value-not-allowed")]),
        ({"variables": {"q": {**QUEUES, "off_value": 0}}}, [("/variables/q/off_value", "off-value-not-allowed")]),
        ({"variables": {"q": {**QUEUES, "init_value": 1.0}}}, [("/variables/q/init_value", "invalid-value")]),
        ({"variables": {"q": {**QUEUES, "init_value": True}}}, [("/variables/q/init_value", "invalid-value")]),
        ({"variables": {"q": {**QUEUES, "off_value": None}}}, [("/variables/q/off_value", "invalid-value")]),
        ({"variables": {"q": {**QUEUES, "settable": False}}}, []),
        ({"variables": {"q": QUEUES}, "migratable": "no"}, [("/migratable", "wrong-type")]),
        ({"variables": {"q": QUEUES}, "migratable": 1}, [("/migratable", "wrong-type")]),
        ({"variables": {"q": QUEUES}, "migratable": "unknown"}, []),
        ({"variables": {"q": {**QUEUES, "settable": "no"}}}, [("/variables/q/settable", "wrong-type")]),
        ({"variables": {"q": {**QUEUES, "scope": "guest"}}}, [("/variables/q/scope", "invalid-value")]),
        (
            {"variables": {"q": {**QUEUES, "allowed_values": []}}},
            [
                ("/variables/q/init_value", "init-value-not-allowed"),
                ("/variables/q/off_value", "off-value-not-allowed"),
            ],
        ),
        ({"variables": {}, "constraints": [{"when": {}}]}, [("/constraints/0", "missing-field")]),
        (
            {"variables": {"q": QUEUES}, "constraints": [{"when": {"z": [1]}, "require": {"q": ["a"]}}]},
            [("/constraints/0/when/z", "unknown-variable"), ("/constraints/0/require/q/0", "invalid-value")],
        ),
        (
            {"variables": {"q": QUEUES}, "constraints": [{"when": {}, "require": {"q": [8]}}]},
            [("/constraints/0", "init-values-break-constraint")],
        ),
        (
            {"variables": {"d": variable("str", "", scope="backend")}, "blocks_migration": [{"when": {"d": ["x"]}}]},
            [("/blocks_migration/0/when/d", "wrong-scope")],
        ),
        ({"variables": {}, "migratable": 0}, [("/migratable", "wrong-type")]),
    ],
)
def test_faults(document: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    assert sorted(read(document)[1]) == sorted(faults)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"variables": {"q": {**QUEUES, "type": "string"}}},
            'must be bool, int or str, not "string" (did you mean "str"?)',
        ),
        ({"variables": {"q": {**QUEUES, "init_value": 9}}}, "must be an allowed value (1-8), not 9"),
        ({"variables": {"q": {**QUEUES, "off_value": "x"}}}, 'must be an integer, such as 4, 0x10 or -1, not "x"'),
        (
            {"variables": {"queues": QUEUES}, "blocks_migration": [{"when": {"queue": [1]}}]},
            'unknown variable (did you mean "queues"?)',
        ),
        (
            {"variables": {"q": QUEUES}, "constraints": [{"when": {}, "require": {"q": [8]}}]},
            "must be met by the init values, but q=4, not 8",
        ),
    ],
)
def test_messages(document: dict[str, Any], message: str) -> None:
    place = Place()
    VariableSet.read(NIC, document, place)
    assert [fault.message for fault in place.faults] == [message]


def test_only_the_first_faults_have_a_hint() -> None:
    blocks = [{"when": {"queue": [1]}}] * 20
    place = Place()
    VariableSet.read(NIC, {"variables": {"queues": QUEUES}, "blocks_migration": blocks}, place)
    assert [fault.message for fault in place.faults[9:11]] == [
        'unknown variable (did you mean "queues"?)',
        "unknown variable",
    ]


def test_all_faults_are_reported_at_once() -> None:
    document = {
        "variables": {"a/b": {**QUEUES, "scope": "x"}, "q": {**QUEUES, "off_value": "abc"}},
        "constraints": 1,
        "migratable": 1,
    }
    assert len(read(document)[1]) == 5


def test_the_canonical_form_has_every_default() -> None:
    canonical, faults = read({"params": {"q": QUEUES}})
    assert not faults
    assert canonical.document() == {
        "model": NIC,
        "variables": {
            "q": {
                "type": "int",
                "init_value": 4,
                "off_value": 1,
                "allowed_values": ["1-8"],
                "settable": True,
                "runtime": False,
                "scope": "interface",
                "resolved_by_host": [],
                "description": "",
            }
        },
        "constraints": [],
        "migratable": True,
        "blocks_migration": [],
    }


def test_an_unsettable_variable_allows_its_init_value_alone() -> None:
    fixed = read({"variables": {"q": variable("int", 4, allowed=["1-8"], settable=False)}})[0]
    assert fixed.variables["q"].allowed.document() == [4]


def test_equal_content_has_one_digest_however_it_is_written() -> None:
    rule = {"when": {"f": [True]}, "require": {"q": ["3-8"]}}
    other = {"when": {"f": ["off"]}, "require": {"q": ["1-8"]}}
    one = read({"variables": {"q": QUEUES, "f": FLAG}, "constraints": [rule, other]})[0]
    written = {
        "f": {"type": "bool", "init_value": "off", "off_value": "no", "runtime": False},
        "q": {"off_value": "1", "init_value": "0x4", "type": "int", "allowed_values": [8, "1-7"]},
    }
    same = read({"params": written, "constraints": [other, rule], "migratable": True})[0]
    assert one.digest == same.digest
    assert one.digest != read({"variables": {"q": QUEUES, "f": FLAG}})[0].digest


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["variables", "type", "init_value", "allowed_values", "when", "require", "constraints", "q"]
                ),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_read_or_has_faults(document: Any) -> None:
    at = Place()
    VariableSet.read(NIC, at.fields(document, optional=frozenset({"variables", "constraints"})), at)
    assert at.faults or isinstance(document, dict)
