"""Three workers share a lock; what they write carries the fencing token.

python examples/lock.py 127.0.0.1:2181
"""

from __future__ import annotations

import asyncio
import sys

import kraal
from kraal.recipes import Lock


class Account:
    """A resource that refuses whoever comes with a token that is older than one it has seen."""

    def __init__(self) -> None:
        self.balance = 100
        self.last_token = 0

    def write(self, balance: int, token: int) -> None:
        if token < self.last_token:
            raise PermissionError(f"token {token:#x} after {self.last_token:#x}")
        self.last_token, self.balance = token, balance


async def worker(hosts: str, name: str, account: Account) -> None:
    async with kraal.connect(hosts) as zk:
        lock = Lock(zk, "/examples/account", name)
        for _ in range(3):
            async with lock as held:
                balance = account.balance
                await asyncio.sleep(0.01)  # somebody else would change it now
                held.check()  # raises if the lock is known to be lost
                account.write(balance - 10, held.token)
                print(f"{name} leaves {account.balance}")


async def main(hosts: str) -> None:
    account = Account()
    await asyncio.gather(*(worker(hosts, name, account) for name in ("ann", "ben", "eve")))
    print(f"balance {account.balance}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2181"))
