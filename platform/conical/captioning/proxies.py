"""Which proxy a request goes through, by the environment (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`)."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def proxy_for(url: str) -> str | None:
    """The proxy for an address; None for none. What runs on this machine is never asked for through one."""
    parts = urlsplit(url)
    host, proxies = parts.hostname or "", getproxies()
    if _is_loopback(host) or proxy_bypass(host) or proxy_bypass(parts.netloc) or _is_in(host, proxies.get("no", "")):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def without_credentials(proxy: str) -> str:
    """A proxy's address as it may be printed.

    >>> without_credentials("http://me:se/c@ret@proxy.example:3128/")
    'http://proxy.example:3128'
    """
    scheme, _, rest = proxy.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('/')[0]}"


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _is_in(host: str, no_proxy: str) -> bool:
    """Whether `no_proxy` holds a network, such as 10.0.0.0/8, with the host in it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        try:
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue  # a name, not a network
    return False
