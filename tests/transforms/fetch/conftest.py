import pytest
from labelbeam.transforms.fetch.prefetch import Prefetch

from tests.fakes.http_server import MisbehavingServer
from tests.transforms.fetch.reading import BODY


@pytest.fixture(scope="module")
def server():
    with MisbehavingServer({"a.jpg": BODY, "ä ö.jpg": b"umlauts"}) as server:
        yield server


@pytest.fixture(autouse=True)
def threads_end(monkeypatch):
    """Those of a test don't outlive it: other tests count the threads that are left."""
    made, init = [], Prefetch.__init__

    def noted(self, *args, **kwargs):
        made.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(Prefetch, "__init__", noted)
    yield
    for ahead in made:
        ahead.close()
