"""What people are told to install exists, wherever labelbeam came from."""

from importlib import metadata

import pytest
from labelbeam.storage.installation import install_hint


@pytest.fixture(autouse=True)
def forget():
    install_hint.cache_clear()
    yield
    install_hint.cache_clear()


def test_the_extras_requirements_are_named_and_nothing_else():
    assert install_hint("evaluate") == "pip install 'hotcoco<2,>=1.3'"
    assert install_hint("gcp").startswith("pip install 'apache-beam[gcp]<3,>=2.77' 'google-auth>=2'")


def test_of_a_checkout_that_is_not_installed_the_extra_is_named(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    assert install_hint("evaluate") == "pip install '.[evaluate]' in labelbeam's folder"
