"""What Hypothesis builds records from: aware times and finite numbers, as everywhere in Gatehouse."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
