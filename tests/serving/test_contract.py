"""The interface keeps what `/openapi.json` promises: Schemathesis sends, and judges the answers."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as openapi

CHECKS = [
    checks.not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_headers_conformance,
    openapi.response_schema_conformance,
]


@pytest.mark.parametrize("max_examples", [8, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_one_that_is_promised(api, key, mode, max_examples):
    some = settings(max_examples=max_examples, deadline=None, suppress_health_check=[*HealthCheck])
    promised = schemathesis.openapi.from_asgi("/openapi.json", api)
    operations = [found.ok() for found in promised.get_all_operations()]
    assert {one.path for one in operations} >= {"/v1/recommendations", "/v1/rank", "/v1/events"}
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # any text is an id

        @some
        @given(case=operation.as_strategy(generation_mode=mode))
        def holds(case):
            case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)

        holds()
