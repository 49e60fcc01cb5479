"""One measurement in a process of its own: `python -m bench.clients.worker CLIENT CASE PORT S`."""

from __future__ import annotations

import logging
import sys

from bench.clients.cases import Case
from bench.clients.drivers import DRIVERS


def main() -> None:
    client, case, port, seconds = sys.argv[1:]
    logging.disable()
    print(*DRIVERS[client](Case[case], int(port), float(seconds)))


if __name__ == "__main__":
    main()
