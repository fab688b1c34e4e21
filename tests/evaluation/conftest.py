"""Settings of the property tests."""

from hypothesis import settings

# The first example pays for imports, and machines that run tests are shared: time limits on
# single examples would only make failures at random. Examples are the same in every run.
settings.register_profile("retdm", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("retdm")
