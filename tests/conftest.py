"""Fixtures that tests in several folders use; each module says what it holds."""

pytest_plugins = ["tests.fixtures.browser", "tests.fixtures.jobs", "tests.fixtures.networks", "tests.fixtures.stores"]
