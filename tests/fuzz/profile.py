"""A pytest plugin for `make fuzz`: every property test with many more examples and no deadline.

    MAILSTACK_FUZZ_EXAMPLES=100000 python -m pytest -p tests.fuzz.profile -m hypothesis -o timeout=0 tests/wire

A test that sets its own number of examples keeps it. What was found stays in .hypothesis/ and is tried first next time;
a finding becomes an `@example` of its test before it is mended.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz",
    max_examples=int(os.environ.get("MAILSTACK_FUZZ_EXAMPLES", "20000")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile("fuzz")
