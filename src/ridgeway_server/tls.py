"""TLS from certificate files. A renewed certificate is tried before it is used; a broken one changes nothing."""

from __future__ import annotations

import ssl

from ridgeway_server.errors import SettingError


def make_context(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context for TLS 1.2 and newer.

    Raises:
        SettingError: The files are missing, unreadable, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(f"tls_certificate = {certificate!r}, tls_key = {key!r}: {error}") from error
    return context


def renew(context: ssl.SSLContext, certificate: str, key: str) -> bool:
    """Take up renewed files for new connections; False, and nothing changed, if they cannot be used (yet)."""
    try:
        make_context(certificate, key)
        context.load_cert_chain(certificate, key)
    except (SettingError, OSError):
        return False
    return True
