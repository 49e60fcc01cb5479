"""What is said to who is refused in a handshake (RFC 8446 section 6).

An event loop forgets it: the handshake fails, and the connection is closed without the alert that
OpenSSL has written for the other end, who would learn from it that it needs a certificate.
"""

from __future__ import annotations

import ssl

PLAIN = b"\x15\x03\x03\x00\x02\x02\x46"
"""A fatal alert, protocol_version, to who does not speak TLS: OpenSSL has no answer for it."""
_ALERT, _HANDSHAKE, _MAJOR = 0x15, 0x16, 3


def is_tls(first: bytes) -> bool:
    """Whether the first bytes of a connection are those of TLS, a handshake or an alert."""
    return len(first) >= 2 and first[0] in (_ALERT, _HANDSHAKE) and first[1] == _MAJOR


def is_alert(first: bytes) -> bool:
    """Whether the first bytes that came back are an alert."""
    return is_tls(first) and first[0] == _ALERT


def alert_of(error: OSError) -> bytes:
    """What is still to be sent after a handshake with this end has failed."""
    if isinstance(error, ssl.SSLError):
        alert = vars(error).get("alert", b"")
        assert isinstance(alert, bytes)
        if error.reason == "WRONG_VERSION_NUMBER":
            return alert or PLAIN
        return alert
    return b""


class _Speaker(ssl.SSLObject):
    outgoing: ssl.MemoryBIO | None = None

    def do_handshake(self) -> None:
        """The error has the alert, see `alert_of`."""
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if self.outgoing is not None:
                vars(error)["alert"] = self.outgoing.read()
            raise


class AlertingContext(ssl.SSLContext):
    """A context for a port, whose failures say what the other end is to be told."""

    sslobject_class = _Speaker

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As that of `SSLContext`."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _Speaker)
        made.outgoing = outgoing
        return made
