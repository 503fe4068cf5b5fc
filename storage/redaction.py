"""Keeps credentials out of rows, error messages and logs: what every URI goes through on its way out.

Places of a URI that hold them: the user information (`https://user:password@host/`), and values in the query
(`?X-Amz-Signature=…`, `?sig=…`, `?token=…`). Two ways out:

- `redact`, for people (messages, logs, records, pages): neither user information nor any query, nor what terminals
  obey. `redact_name` for one name among a line's words.
- `without_credentials`, for tables: queries stay, since they tell images apart, but for values whose name says that
  they are secret. These become `REDACTED`.

Not for secrets that look like ordinary words of a path: nobody could tell those. Takes time in proportion to the text.
"""

import logging
import re

REMOVED = "REDACTED"

# Of any scheme but Azure's, whose `container@account` is an address. Up to the last @ of the authority, as URL
# parsers take it: passwords with an unescaped @ are common. Those with an unescaped /, ? or # make no URL; what
# begins with `name:` (not `[`, which an IPv6 address begins with) and is followed by no port is taken for one, up to
# the last @.
_PASSWORD = r"(?!\[)[^\s/?#:@]*:(?!\d*(?:[/?#\s\"']|\Z)).*@"
_USER_INFO = re.compile(rf"(?i)(?<![a-z0-9+.-])((?!abfss?:)[a-z][a-z0-9+.-]*://)(?:{_PASSWORD}|[^\s/?#]*@)")
_USER_INFO_OF_URI = re.compile(rf"(?is)\A((?!abfss?:)[a-z][a-z0-9+.-]*://)(?:[^/?#]*@|{_PASSWORD})")
_WORD = re.compile(r"\S+")
# All parameters: what is a secret has another name with every service. A `?` that ends a word of a sentence has no `=`.
_QUERY = re.compile(r"\?[^\s\"'<>?]*=[^\s\"'<>]*")
# Names of parameters (`X-Amz-Credential`, `AWSAccessKeyId`, `access_token`, `sig`), also of a URL that is escaped to be
# a parameter itself.
_SECRET_VALUE = re.compile(
    r"(?i)((?:[?&;#]|%3F|%26)(?:[\w.-]{0,40}(?:signature|credential|token|secret|passw|(?:api|access|account|private)[_-]?key)"
    r"[\w.-]{0,20}|sig|sign|sas|auth|authorization|hmac|jwt|pwd|pass|session(?:[_-]?id)?)(?:=|%3D))"
    r"(?:(?!%26)[^\s&;#\"'<>])*"
)
# What moves a terminal's cursor or turns its text around; names of files may hold all of it.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_ENDS_LINES = re.compile(r"[\t\n\u2028\u2029]")


def without_credentials(uri: str) -> str:
    """A URI as tables hold it: without user name and password, nor values of its query that are secret.

    Paths of this machine stay as they are: a `?` is a letter of them.
    """
    if "://" not in uri or uri.startswith("/"):
        return uri
    return _SECRET_VALUE.sub(rf"\1{REMOVED}", _without_user_info(_USER_INFO_OF_URI.sub(r"\1", uri)))


def redact(text: str) -> str:
    """Text for people, without the user information and the queries of the URIs in it; with control characters but
    tabs and ends of lines as escapes.
    """
    return _OBEYED.sub(_escaped, _SECRET_VALUE.sub(r"\1…", _QUERY.sub("?…", _without_user_info(text))))


def redact_name(uri: str) -> str:
    """`redact` for a URI or another name, which stays on one line."""
    return _ENDS_LINES.sub(_escaped, redact(uri))


def holds_credentials(value: str) -> bool:
    """Whether a URI, or an option as `KEY=VALUE`, holds what tables wouldn't."""
    return without_credentials(value) != value or bool(_SECRET_VALUE.search(f"?{value.lstrip('-')}"))


def _escaped(found: re.Match) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _without_user_info(text: str) -> str:
    return _WORD.sub(_word_without_user_info, text) if "@" in text and "://" in text else text


def _word_without_user_info(word: re.Match) -> str:
    head, at, rest = word[0].rpartition("@")
    return _USER_INFO.sub(r"\1", head + at) + rest  # which ends with @: no search for one is in vain


class RedactingFormatter(logging.Formatter):
    """Formats records of logs, with their tracebacks, and redacts them."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
