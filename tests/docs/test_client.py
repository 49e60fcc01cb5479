"""The code blocks of docs/client.md run, in their order, as they stand there."""

from __future__ import annotations

import asyncio
import re
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import kraal
import kraal.client
from tests.support import servers
from tests.support.servers import HOST, ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_page_on_the_client(tmp_path: Path) -> None:
    whole, *blocks = BLOCK.findall((ROOT / "docs" / "client.md").read_text())
    names = {name: getattr(kraal.client, name) for name in kraal.client.__all__}
    with servers.kraal(tmp_path) as server:
        hosts = f"{HOST}:{server.port}"
        exec(compile(whole.replace(f"{HOST}:2181", hosts), "the first block", "exec"), {})
        body = textwrap.indent("\n".join(blocks), "    ")
        space: dict[str, object] = {**names, "asyncio": asyncio, "kraal": kraal}
        exec(compile(f"async def run(zk, hosts):\n{body}", "docs/client.md", "exec"), space)
        run = cast(Callable[[kraal.Client, str], Awaitable[None]], space["run"])

        async def main() -> None:
            async with kraal.connect(hosts) as zk:
                await run(zk, hosts)

        asyncio.run(main())
