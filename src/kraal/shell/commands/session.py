"""Commands about the session and the shell itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kraal.client import Id
from kraal.shell.command import Command, command, option_lines
from kraal.shell.commands.writing import to_bytes
from kraal.shell.context import Context
from kraal.shell.errors import CommandError, UnknownCommandError
from kraal.shell.lines import readable
from kraal.shell.options import Argument as Place
from kraal.shell.options import Given, Kind, choice, optional, text, to_integer
from kraal.shell.results import Done, JsonObject, Lines, Result, Results
from kraal.version import REFERENCE_VERSION, __version__

GROUP = "Session and shell"
HISTORY_SHOWN = 11


@command("addauth", "scheme auth", text("scheme"), optional(text("auth")), group=GROUP)
async def addauth(shell: Context, given: Given) -> Results:
    """Authenticate this session: `addauth digest user:password`.

    Credentials that the server refuses end the session.
    """
    await shell.zk.add_auth(given[0], to_bytes(given.get(1) or ""))
    yield Done(authenticated=given[0])


@dataclass(frozen=True)
class Identities(Result):
    """What the server knows the session as."""

    ids: Sequence[Id]

    def text(self) -> Iterator[str]:
        yield "Auth scheme: User"
        for scheme, user in self.ids:
            yield f"{scheme}: {user}"

    def json(self) -> JsonObject:
        return {"identities": [{"scheme": scheme, "user": user} for scheme, user in self.ids]}


@command("whoami", "", group=GROUP)
async def whoami(shell: Context, _given: Given) -> Results:
    """The identities that the server knows this session by."""
    yield Identities(await shell.zk.who_am_i())


@command("connect", "host:port", optional(text("hosts")), group=GROUP, is_offline=True)
async def connect(shell: Context, given: Given) -> Results:
    """End the session and begin another, with these servers or the same: `host:port,…/chroot`."""
    await shell.connect(given.get(0))
    yield Done(connecting=shell.hosts)


@command("close", "", group=GROUP)
async def close(shell: Context, _given: Given) -> Results:
    """End the session, and its ephemerals with it; `connect` begins another."""
    await shell.close()
    yield Done(closed=shell.hosts)


@command("quit", "", group=GROUP, is_offline=True)
async def quit_(shell: Context, _given: Given) -> Results:
    """End the session and the shell, with the exit code of the command before."""
    await shell.close()
    shell.end()
    yield Done(closed=shell.hosts)


@command("exit", "", group=GROUP, own=True, is_offline=True)
async def exit_(shell: Context, given: Given) -> Results:
    """The same as `quit`."""
    async for result in quit_.run(shell, given):
        yield result


@command("history", "", group=GROUP, is_offline=True)
async def history(shell: Context, _given: Given) -> Results:
    """The last eleven lines with their numbers, for `redo`."""
    first = max(len(shell.history) - HISTORY_SHOWN, 0)
    for number, line in enumerate(shell.history[first:], first):
        shown = readable(line)
        yield Lines([f"{number} - {shown}"], {"number": number, "line": shown})


@command("redo", "cmdno", optional(text("number")), group=GROUP, is_offline=True)
async def redo(shell: Context, given: Given) -> Results:
    """Run a line of the history again."""
    written = given.get(0)
    if written is None:
        return
    number = to_integer(written, 32)
    # The last line is this one.
    if number is None or not 0 <= number < len(shell.history) - 1:
        raise CommandError("Command index out of range")
    line = shell.history[number]
    if line.split()[0] == "redo":
        raise CommandError("No redoing redos")
    shell.history[-1] = line
    async for result in shell.results_of(line):
        yield result


@command(
    "printwatches", "on|off",
    optional(choice("on|off", "on", "off")),
    group=GROUP, is_offline=True,
)  # fmt: skip
async def printwatches(shell: Context, given: Given) -> Results:
    """Whether events are printed; without an argument say so."""
    wanted = given.get(0)
    if wanted is not None:
        shell.prints_watches = wanted == "on"
        yield Done(printwatches=shell.prints_watches)
        return
    shown = f"printwatches is {'on' if shell.prints_watches else 'off'}"
    yield Lines([shown], {"printwatches": shell.prints_watches})


@command("version", "", optional(text("nothing")), group=GROUP, is_offline=True)
async def version(_shell: Context, given: Given) -> Results:
    """The version of kraal, and of the ZooKeeper whose shell this is like."""
    if len(given):
        raise CommandError(version.usage())
    yield Lines(
        [f"ZooKeeper CLI version: {REFERENCE_VERSION}-kraal-{__version__}"],
        {"version": __version__, "zookeeper": REFERENCE_VERSION},
    )


@dataclass(frozen=True)
class Overview(Result):
    """All commands, in their groups."""

    commands: Sequence[Command]

    def text(self) -> Iterator[str]:
        width = max(len(each.name) for each in self.commands)
        for group in dict.fromkeys(each.group for each in self.commands):
            yield f"{group}:"
            for each in self.commands:
                if each.group == group:
                    yield f"  {each.name:<{width}}  {each.summary}"
        yield "help COMMAND says more; Tab completes commands, options and paths."

    def json(self) -> JsonObject:
        return {each.name: each.summary for each in self.commands}


@dataclass(frozen=True)
class Help(Result):
    """What one command does and takes."""

    command: Command

    def text(self) -> Iterator[str]:
        yield f"{self.command.name} {self.command.synopsis}".rstrip()
        yield ""
        yield from self.command.help.splitlines()
        if self.command.options:
            yield ""
            yield from option_lines(self.command.options)

    def json(self) -> JsonObject:
        return {
            "command": self.command.name,
            "synopsis": self.command.synopsis,
            "help": self.command.help,
            "options": {each.key: each.meaning for each in self.command.options},
        }


@command(
    "help", "[command]",
    optional(Place("command", Kind.COMMAND)),
    group=GROUP, own=True, is_offline=True,
)  # fmt: skip
async def help_(shell: Context, given: Given) -> Results:
    """What there is, or what one command does."""
    name = given.get(0)
    if name is None:
        yield Overview([shell.commands[each] for each in sorted(shell.commands, key=str.lower)])
        return
    wanted = shell.commands.get(name)
    if not isinstance(wanted, Command):
        raise UnknownCommandError(name)
    yield Help(wanted)
