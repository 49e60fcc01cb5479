"""Commands of a running server's admin port, kraal's or Apache ZooKeeper's, over HTTP or HTTPS."""

from __future__ import annotations

import json
import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import BadStatusLine, HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from threading import Timer
from typing import IO
from urllib.parse import urlsplit

from kraal.cli.tools.terminal import FailedError, NobodyError

logger = logging.getLogger("kraal.cli")

LIMIT_SECONDS = 60.0
PATIENCE_SECONDS = 3.0
COMMANDS = "/commands"
_ANSWER_MAX_BYTES = 16 << 20
_WRONGLY_ASKED = (401, 403)
"""HTTP statuses of a credential that is missing or wrong."""
UNKNOWN_COMMAND = "Unknown command"
_HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:/\[\]]+):[0-9]{1,5}")


_UNSENDABLE = re.compile(r"[^\x20-\x7e\xa0-\xff]")


class UnknownCommandError(FailedError):
    """The server is one that has no such command."""


@contextmanager
def _waiting(name: str) -> Iterator[None]:
    """Say whom it waits for, if it does so for long."""
    limit = f"{LIMIT_SECONDS:.0f} s at most without a word"
    timer = Timer(PATIENCE_SECONDS, logger.warning, ("waiting for %s, %s", name, limit))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks: the Authorization header, and files for TLS."""

    authorization: str
    ca: Path | None = None
    certificate: Path | None = None


def is_server(text: str) -> bool:
    """Whether it names a server: host:port, or an http(s) URL."""
    return text.startswith(("http://", "https://")) or bool(_HOST_AND_PORT.fullmatch(text))


class AdminClient:
    """Asks one server; each command has a connection of its own."""

    def __init__(self, target: str, access: Access) -> None:
        try:
            url = urlsplit(target if "://" in target else f"http://{target}")
            self._host, self._port = url.hostname or "", url.port
        except ValueError as error:
            raise NobodyError(f"{target}: {error}") from error
        if url.scheme not in ("http", "https") or not self._host:
            raise NobodyError(f"{target} is no admin port: write HOST:PORT, or an http(s) URL")
        if _UNSENDABLE.search(access.authorization):
            raise NobodyError("the credential of --auth has characters that no header can hold")
        self.name = url.netloc
        self._is_tls = url.scheme == "https"
        self._path = url.path.rstrip("/") or COMMANDS
        self._access = access

    def _connection(self) -> HTTPConnection:
        if not self._is_tls:
            return HTTPConnection(self._host, self._port, timeout=LIMIT_SECONDS)
        context = ssl.create_default_context(cafile=self._access.ca)
        if self._access.certificate is not None:
            context.load_cert_chain(self._access.certificate)
        return HTTPSConnection(self._host, self._port, timeout=LIMIT_SECONDS, context=context)

    @contextmanager
    def asked(
        self, command: str, *, body: IO[bytes] | None = None, size: int = 0
    ) -> Iterator[HTTPResponse]:
        """The answer to a command; to a POST of `size` bytes where there is a body.

        Raises NobodyError when there is no answer.
        """
        headers = {"Authorization": self._access.authorization}
        if body is not None:
            headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        try:
            connection = self._connection()
        except HTTPException as error:
            raise NobodyError(f"{self.name} is no admin port: {error}") from error
        try:
            try:
                method = "GET" if body is None else "POST"
                with _waiting(self.name):
                    connection.request(method, f"{self._path}/{command}", body, headers)
                    response = connection.getresponse()
            except (OSError, HTTPException, UnicodeError) as error:
                raise NobodyError(f"{self.name} does not answer: {self._hinted(error)}") from error
            yield response
        finally:
            connection.close()

    def _hinted(self, error: Exception) -> str:
        """What is wrong, and what is probably meant."""
        if isinstance(error, ssl.SSLCertVerificationError) and self._access.ca is None:
            return f"{error.verify_message}; --ca says who may have signed its certificate"
        if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
            return f"it does not speak TLS; http://{self.name} may be meant"
        if isinstance(error, ConnectionRefusedError):
            return f"{error}; a server has an admin port with `pip install 'kraal[admin]'`"
        broke_off = isinstance(error, ConnectionResetError | BadStatusLine)
        if broke_off and not self._is_tls:
            return f"{error}; if it speaks TLS, name it https://{self.name}"
        return str(error)

    def json(self, command: str) -> dict[str, object]:
        """What a command says. Raises FailedError when it is nothing of a server's."""
        with self.asked(command) as response:
            return self.members(response)

    def members(self, response: HTTPResponse) -> dict[str, object]:
        """The members of a JSON answer. Raises NobodyError for any other."""
        try:
            found = json.loads(response.read(_ANSWER_MAX_BYTES))
        except (ValueError, RecursionError, OSError, HTTPException):
            found = None
        if not isinstance(found, dict):
            raise NobodyError(f"{self.name} is no admin port of a server")
        return found

    def refusal(self, response: HTTPResponse, command: str) -> FailedError:
        """The error that an answer stands for which is not what was asked for."""
        return self.refused(self.members(response), command, response.status)

    def refused(self, members: dict[str, object], command: str, status: int = 200) -> FailedError:
        """The same, where the answer has been read."""
        said = members.get("error")
        if str(said or "").startswith(UNKNOWN_COMMAND):
            return UnknownCommandError(f"{self.name} has no command {command}")
        reason = {
            401: "it does not know who asks: give --auth 'SCHEME CREDENTIAL'",
            403: "that needs credentials with all permissions on the root: give --auth",
            429: "it limits how often that is done (admin.rateLimiterIntervalInMS)",
            503: "its configuration has turned the command off",
        }.get(status)
        texts = [str(text) for text in (reason, said) if text]
        shown = "; ".join(dict.fromkeys(texts)) or f"HTTP status {status}"
        kind = NobodyError if status in _WRONGLY_ASKED else FailedError
        return kind(f"{self.name} refused {command}: {shown}")
