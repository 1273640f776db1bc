"""What the whole suite shares: how hypothesis behaves."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# File systems have slow moments: a law is judged by its result, never by the time of one example.
settings.register_profile(
    "lamella",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("lamella")
