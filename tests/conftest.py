"""Settings all tests share."""

from hypothesis import settings

# No deadline per example: a busy machine must not fail a test.
settings.register_profile("dse", deadline=None)
settings.load_profile("dse")
