import pytest

from tests.fakes.http_server import MisbehavingServer
from tests.transforms.fetch.reading import BODY


@pytest.fixture(scope="module")
def server():
    with MisbehavingServer({"a.jpg": BODY, "ä ö.jpg": b"umlauts"}) as server:
        yield server
