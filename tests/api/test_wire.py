"""The shapes that the client uses repeat limits and words of the domain, which it has to do without."""

from app.domain.fleet import remedy, summary
from app.domain.values import allowed, value
from app.domain.verdict.policy import Policy
from app.wire import base, compatibility


def test_limits_are_those_of_the_domain() -> None:
    assert (base.INT_MIN, base.INT_MAX, base.MAX_TEXT) == (value.INT_MIN, value.INT_MAX, value.MAX_TEXT)
    assert (compatibility.MAX_LISTED, compatibility.MAX_TRIES) == (allowed.MAX_LISTED, remedy.MAX_TRIES)
    assert compatibility.MAX_NAMED == summary.MAX_NAMED


def test_policies_are_those_of_the_domain() -> None:
    assert [policy.value for policy in compatibility.Policy] == [policy.value for policy in Policy]


def test_an_answer_of_a_newer_registry_is_read() -> None:
    device = {
        "id": "net0",
        "compatible": False,
        "release": "a.com/b@1",
        "problems": [{"code": "a-new-code", "message": "new", "new": 1}],
        "warnings": [{"code": "another-code", "message": "new"}],
        "carry_over": [],
        "unchecked": [],
        "remedies": [],
        "unit": "pci/0000:3b:00.2",
    }
    result = {"destination": "host-1", "compatible": False, "devices": [device], "new": True}
    answer = compatibility.Answer.model_validate(
        {"results": [result], "seq": 3, "registry": "r", "link": "l", "as_of": "t"}
    )
    read = answer.results[0]
    assert isinstance(read, compatibility.DestinationAnswer)
    assert read.devices[0].problems[0].code == "a-new-code"
