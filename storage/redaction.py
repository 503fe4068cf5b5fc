"""Keeps credentials out of rows, error messages and logs.

Two places of a URI hold them: the user information (`https://user:password@host/`) and the query of signed URLs
(`?X-Amz-Signature=…`, `?sig=…`, `?token=…`). A table's `uri` keeps the query, which tells images apart and is
needed to join tables with lists; text for people, which names the host or stands beside the URI, has neither.

Not for secrets that look like ordinary words of a path: nobody could tell those.
"""

import functools
import logging
import re

# Of any scheme but Azure's, whose `container@account` is an address. Up to the last @ of the authority, as URL
# parsers take it: passwords with an unescaped @ are common. Those with an unescaped /, ? or # make no URL; what
# begins with `name:` and is followed by no port is taken for one, up to the last @.
_PASSWORD = r"[^\s/?#:@]*:(?!\d*(?:[/?#\s\"']|\Z))[^\s@]*@(?:[^\s@]*@)*"
_USER_INFO = re.compile(rf"(?i)(?<![a-z0-9+.-])((?!abfss?:)[a-z][a-z0-9+.-]*://)(?:{_PASSWORD}|[^\s/?#]*@)")
_USER_INFO_OF_URI = re.compile(rf"(?i)\A((?!abfss?:)[a-z][a-z0-9+.-]*://)(?:[^/?#]*@|{_PASSWORD})")
# All parameters: what is a secret has another name with every service. A `?` that ends a word of a sentence has no `=`.
_QUERY = re.compile(r"\?[^\s\"'<>?]*=[^\s\"'<>]*")


def without_user_info(uri: str) -> str:
    """A URI without user name and password."""
    return _USER_INFO_OF_URI.sub(r"\1", uri)


def redact(text: str) -> str:
    """Text without the user information and the queries of the URIs in it: what every URI goes through on its way
    out.
    """
    return _QUERY.sub("?…", _USER_INFO.sub(r"\1", text))


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True


@functools.cache
def redact_urllib3_logs() -> None:
    """Redacts what urllib3 logs of requests: paths with their queries, as warnings for retries and at level DEBUG
    for all.
    """
    logging.getLogger("urllib3.connectionpool").addFilter(_Redacting())
