"""Why TLS with a server failed, in words that say what helps."""

from __future__ import annotations

import ssl

_GIVE = "name it as cert_file, or zookeeper.ssl.keyStore.location of the shell"
_REFUSED = "the server refuses the client's certificate, or that it has none: its log says why"
_PLAIN = "the server does not speak TLS at this port: name its secureClientPort, or do without TLS"
_CLOSED = (
    "the server closed the connection during the TLS handshake: perhaps it does not speak TLS at"
    " this port, and its secureClientPort is another one"
)
_UNKNOWN = (
    "is of an authority that is not trusted: name that as ca_file, or"
    " zookeeper.ssl.trustStore.location of the shell"
)
_OTHER_NAME = "is of other names: name the server as the certificate does"
SPOKEN_HERE = (
    "the server speaks TLS at this port: connect by TLS (tls=…, or zookeeper.client.secure=true of"
    " the shell), or name its clientPort"
)
"""Of a server that answers who does not speak TLS with an alert."""
_REFUSALS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": f"the server demands a certificate of the client: {_GIVE}",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refuses the TLS handshake: it demands a"
    f" certificate of the client ({_GIVE}), or has no cipher suite in common with it",
    "TLSV1_ALERT_UNKNOWN_CA": "the server does not trust the client's certificate: have it issued"
    " by an authority of the server's trust store",
    "TLSV1_ALERT_DECRYPT_ERROR": "the server does not trust the client's certificate: have it"
    " issued by an authority of the server's trust store",
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REFUSED,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the client's certificate was revoked: have one issued",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client's certificate has expired: have one issued",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server accepts no version of TLS that the client offers",
    "WRONG_VERSION_NUMBER": _PLAIN,
    "UNEXPECTED_EOF_WHILE_READING": _CLOSED,
}
"""OpenSSL's words for what a server says, and what they mean to a user."""
_UNVERIFIED = {
    9: "is not valid yet: are the clocks right?",
    10: "has expired: the server needs a new one",
    18: _UNKNOWN, 19: _UNKNOWN, 20: _UNKNOWN, 21: _UNKNOWN,
    62: _OTHER_NAME, 64: _OTHER_NAME,
}  # fmt: skip
"""By OpenSSL's numbers (X509_V_ERR_*), what is wrong with a server's certificate."""


def tls_reason(error: OSError) -> str | None:
    """Why TLS with a server failed, and what helps; None: that has nothing to do with TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = _UNVERIFIED.get(error.verify_code)
        if problem is None:
            return f"the server's certificate is refused: {error.verify_message}"
        return f"the server's certificate {problem} ({error.verify_message.rstrip('.')})"
    if isinstance(error, ssl.SSLError) and error.reason:
        return _REFUSALS.get(error.reason, error.reason.replace("_", " ").lower())
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return _CLOSED
    return None
