"""Commands that copy subtrees: `export`, `import`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from kraal.client.hosts import parse as parse_hosts
from kraal.shell import files, paths
from kraal.shell.command import command
from kraal.shell.commands.trees import refuse_denied
from kraal.shell.context import Context
from kraal.shell.documents import FORMAT, FORMS, STDIN, VERSION, Form, Writer, form
from kraal.shell.errors import CommandError
from kraal.shell.importing import Action, Counts, Existing, Importer, Step
from kraal.shell.kinds import Kinds
from kraal.shell.options import FILE, PATH, Given, choice, flag, optional, text, value
from kraal.shell.results import JsonObject, Lines, Result, Results
from kraal.shell.selection import ALL, counted, refuse_more, walked
from kraal.shell.survey import Source
from kraal.shell.walk import RESERVED
from kraal.shell.znodes import Entry, NodeKind, entry_json, kind_of

GROUP = "Subtrees"

FORMAT_OPTION = value(
    "o", "json or yaml, whatever the file's name", long="format", of=choice("format", *FORMS)
)
ACLS = flag("A", "with the ACLs", long="acls")
ADMIN = value(
    "k",
    "the admin port of a kraal server, which tells containers and TTLs",
    long="admin",
    of=text("host:port"),
)
EPHEMERALS = flag("e", "with ephemerals, which are marked", long="ephemerals")
FORCE = flag("f", "replace a file that exists", long="force")


@dataclass
class Exported(Result):
    """What an export has come to."""

    path: str
    file: str
    znodes: int = 0
    ephemerals: int = 0
    denied: int = 0

    def text(self) -> Iterator[str]:
        yield f"{counted(self.znodes, 'znode')} of {self.path} exported to {self.file}"

    def notes(self) -> Iterator[str]:
        if self.ephemerals:
            yield f"{counted(self.ephemerals, 'ephemeral')} left out; --ephemerals exports them"

    def json(self) -> JsonObject:
        return {
            "exported": self.path, "file": self.file, "znodes": self.znodes,
            "ephemerals_left_out": self.ephemerals, "no_permission": self.denied,
        }  # fmt: skip


@command(
    "export", "[options] path [file]",
    PATH, optional(FILE), ALL, FORMAT_OPTION, ACLS, EPHEMERALS, FORCE, ADMIN,
    group=GROUP, own=True,
)  # fmt: skip
async def export(shell: Context, given: Given) -> Results:
    """Write a znode and all below it to a file, as JSON or YAML; without a file, to the screen.

    The file's name decides, .json or .yaml, or --format. Data is text, or base64 where it is no
    UTF-8; null data stays null. Ephemerals are left out unless --ephemerals is given. The protocol
    does not tell which znodes are containers or have a time to live: these are exported as
    persistent, unless --admin names the admin port of a kraal server, which tells; KRAAL_ADMIN_AUTH
    is who asks it.

    It is no snapshot: each znode is read for itself while others may write. The file is there
    when all was written, and not before. Exit code 1 if znodes could not be read.
    """
    refuse_more(given, 2, export.usage())
    path, file = given[0], given.get(1)
    writer = Writer(form(given.value(FORMAT_OPTION.key), file), path)
    answer = Exported(path, file or STDIN)
    kinds = _kinds(shell, given)
    await kinds.begin(path)
    entries = _entries(shell, path, given, answer, kinds)
    if file is None or file == STDIN:
        async with aclosing(_shown(writer, path, entries)) as pieces:
            async for piece in pieces:
                yield piece
        for note in answer.notes():
            shell.note(note)
    else:
        with files.written(file, replaces=given.has(FORCE.key)) as out:
            out.write(writer.beginning())
            async with aclosing(entries):
                async for entry in entries:
                    out.write(writer.znode(entry))
            out.write(writer.end())
        yield answer
    refuse_denied(answer.denied)


async def _entries(
    shell: Context, path: str, given: Given, answer: Exported, kinds: Kinds
) -> AsyncGenerator[Entry, None]:
    """What is to be exported."""
    acl = given.has(ACLS.key)
    znodes = walked(
        shell, "exporting", path, given, data=True, acl=acl, streams=answer.file == STDIN
    )
    async with aclosing(znodes):
        async for znode in znodes:
            if znode.stat is None:
                answer.denied += not znode.is_gone
            elif kind_of(znode.stat) is NodeKind.EPHEMERAL and not given.has(EPHEMERALS.key):
                answer.ephemerals += 1
            else:
                answer.znodes += 1
                seen = paths.seen_from(path, znode.path)
                yield Entry(seen, znode.data, *await kinds.of(znode), znode.acl)


def _kinds(shell: Context, given: Given) -> Kinds:
    """Raises CommandError where --admin is given and nobody can be asked."""
    target, opened = given.value(ADMIN.key), shell.settings.kinds
    if target is None:
        return Kinds(None)
    if opened is None:
        raise CommandError("--admin: this shell cannot ask an admin port")
    return Kinds(opened(target), parse_hosts(shell.hosts)[1])


async def _shown(writer: Writer, root: str, entries: AsyncGenerator[Entry, None]) -> Results:
    """The text of a file in lines as they are whole; programs get an object for each znode."""
    *beginning, rest = writer.beginning().split("\n")
    head: Lines | None = Lines(beginning, {"format": FORMAT, "version": VERSION, "root": root})
    async with aclosing(entries):
        async for entry in entries:
            if head is not None:  # not before the root was found
                yield head
                head = None
            *lines, rest = f"{rest}{writer.znode(entry)}".split("\n")
            yield Lines(lines, entry_json(entry))
    if head is not None:
        yield head
    *lines, rest = f"{rest}{writer.end()}".split("\n")
    yield Lines(lines, {"count": writer.count})


MODE = value(
    "m", "what happens to znodes that exist: refuse, merge, overwrite, replace", long="mode",
    of=choice("mode", *(each.value for each in Existing)),
)  # fmt: skip
DRY_RUN = flag("n", "only say what would be done", long="dry-run")
PARENTS = flag("p", "make parents that are missing", long="parents")
NO_ACLS = flag("x", "leave the ACLs of the file out", long="no-acls")
VERBOSE = flag("v", "say what is done with each znode", long="verbose")


@dataclass(frozen=True)
class Told(Result):
    """What was done with a znode, or would be."""

    step: Step
    is_dry: bool

    def text(self) -> Iterator[str]:
        yield f"{self.step.action.value} {self.step.path}"

    def json(self) -> JsonObject:
        return {"action": self.step.action.value, "path": self.step.path, "dry_run": self.is_dry}


@dataclass(frozen=True)
class Imported(Result):
    """What an import has come to."""

    path: str
    counts: Counts
    ephemerals: int
    reserved: int
    is_dry: bool

    def text(self) -> Iterator[str]:
        counts = self.counts
        told = (
            f"{self.path}: {counts.created} created, {counts.changed} changed,"
            f" {counts.kept} kept, {counts.deleted} deleted"
        )
        yield f"{told} (dry run: nothing was done)" if self.is_dry else told

    def notes(self) -> Iterable[str]:
        if self.ephemerals:
            yield f"{counted(self.ephemerals, 'ephemeral')} of the file left out"
        if self.reserved:
            yield f"{counted(self.reserved, 'znode')} below {RESERVED} left out"

    def json(self) -> JsonObject:
        counts = self.counts
        return {
            "imported": self.path, "created": counts.created, "changed": counts.changed,
            "kept": counts.kept, "deleted": counts.deleted, "dry_run": self.is_dry,
            "ephemerals_left_out": self.ephemerals, "reserved_left_out": self.reserved,
        }  # fmt: skip


def _existing(given: Given) -> Existing:
    written = given.value(MODE.key) or Existing.REFUSE.value
    for each in Existing:
        if each.value == written:
            return each
    known = ", ".join(each.value for each in Existing)
    raise CommandError(f"--mode {written!r} is none of {known}")


@command(
    "import", "[options] file [path]",
    FILE, optional(PATH), MODE, DRY_RUN, PARENTS, FORMAT_OPTION, NO_ACLS, VERBOSE,
    group=GROUP, own=True,
)  # fmt: skip
async def import_(shell: Context, given: Given) -> Results:
    """Create the znodes of an export file at their old place, or at `path`; `-` is standard input.

    --mode says what happens where something is: `refuse` (the default) imports nothing, `merge`
    adds what is missing, `overwrite` also gives existing znodes the file's data and ACLs,
    `replace` also deletes what the file does not have. Ephemerals are never touched.

    The file is read to its end before anything is written. Znodes are written in transactions of
    at most 500; the import as a whole is none: others may see a part of it, and a failure leaves
    what was written before. Repeating it with --mode merge or overwrite brings it to its end.
    """
    refuse_more(given, 2, import_.usage())
    file, existing, is_dry = given[0], _existing(given), given.has(DRY_RUN.key)
    notation = form(given.value(FORMAT_OPTION.key), file)
    async with files.opened(file, has_input=shell.has_input) as stream:
        source = _source(shell, given, notation, stream)
        survey = await asyncio.to_thread(source.survey)
        target = source.target or survey.root
        await _provide_parent(shell, target, makes=given.has(PARENTS.key), is_dry=is_dry)
        importer = Importer(
            shell.zk, survey, target, existing,
            with_acl=not given.has(NO_ACLS.key), is_dry=is_dry, limit=source.limit,
            skip=() if source.has_chroot else (RESERVED,), note=shell.note,
        )  # fmt: skip
        is_told = is_dry or given.has(VERBOSE.key)
        with shell.progress("importing", len(survey.paths), streams=is_told) as step:
            async with aclosing(importer.run(source.entries())) as steps:
                async for each in steps:
                    step(each.action is not Action.DELETE)
                    if is_told and each.action is not Action.KEEP:
                        yield Told(each, is_dry)
    yield Imported(target, importer.counts, survey.ephemerals, survey.reserved, is_dry)


def _source(shell: Context, given: Given, notation: Form, stream: files.Stream) -> Source:
    file = given[0]
    return Source(
        notation, stream, "standard input" if file == STDIN else file, given.get(1),
        has_chroot=bool(parse_hosts(shell.hosts)[1]),
        makes_parents=given.has(PARENTS.key),
        limit=shell.settings.max_request_bytes,
    )  # fmt: skip


async def _provide_parent(shell: Context, target: str, *, makes: bool, is_dry: bool) -> None:
    """Raise CommandError if there is no place for the target and none is to be made."""
    parent = paths.parent(target)
    if target == "/" or await shell.zk.exists(parent) is not None:
        return
    if not makes:
        raise CommandError(f"Node does not exist: {parent}; --parents creates it")
    if not is_dry:
        await shell.zk.ensure_path(parent)
