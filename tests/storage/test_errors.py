from labelbeam.storage.errors import shorten


def test_long_texts_lose_their_middle():
    assert shorten("a" * 60) == "a" * 60
    assert shorten("abcdefghij", 6) == "abc…ij" and len(shorten("x" * 1000, 61)) == 61
    assert shorten({"a": [1]}) == '{"a": [1]}'
