"""Pools of connections that go through the proxy which the environment names for a URL: `http_proxy`, `https_proxy`,
`no_proxy`.

As curl and Python's own urllib read them, in lower or upper case; `all_proxy` and SOCKS proxies aren't supported.
The environment is read once a process: going through all of it costs a fifth of what a small image does.
"""

import urllib.request

import urllib3
from urllib3.util import Url, make_headers, parse_url

from .http.transfer import proxies


def proxy_for(url: Url) -> str | None:
    """The URL of the proxy for a URL, with its credentials; None for a direct connection."""
    named = proxies()
    proxy = named.get(url.scheme or "")
    if not proxy or urllib.request.proxy_bypass_environment(  # pyright: ignore[reportAttributeAccessIssue]  # not in the stubs
        url.netloc, named
    ):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def new_pool_manager(proxy: str | None, **options) -> urllib3.PoolManager:
    """A pool of connections through a proxy, or of direct ones if it is None.

    Args:
      proxy: from `proxy_for`.
      options: of `urllib3.PoolManager`.
    """
    if proxy is None:
        return urllib3.PoolManager(**options)
    parsed = parse_url(proxy)
    headers = make_headers(proxy_basic_auth=parsed.auth) if parsed.auth else None
    return urllib3.ProxyManager(parsed._replace(auth=None).url, proxy_headers=headers, **options)
