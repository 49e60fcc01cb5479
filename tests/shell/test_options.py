"""Options and arguments as commons-cli tells them apart."""

from __future__ import annotations

import pytest

from kraal.shell.errors import CommandError
from kraal.shell.options import Given, flag, parse, value

OPTIONS = (
    flag("s", "stat"), flag("w", "watch"), value("v", "version"), value("members", "all"),
    value("n", "soft", group="kind"), flag("b", "bytes", group="kind"),
    value("d", "levels", long="depth"), flag("", "everything", long="all"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "arguments", "options"),
    [
        ("/a -s /b -w", "/a /b", {"s": (), "w": ()}),
        ("-sw /a", "/a", {"s": (), "w": ()}),
        ("-v 3 /a", "/a", {"v": ("3",)}),
        ("-v3 /a", "/a", {"v": ("3",)}),
        ("-v=3 /a", "/a", {"v": ("3",)}),
        ("-sv3 /a", "/a", {"s": (), "v": ("3",)}),
        ("-v -1 /a", "/a", {"v": ("-1",)}),
        ("-v 1 -v 2", "", {"v": ("1", "2")}),
        ("-members a=1,b=2", "", {"members": ("a=1,b=2",)}),
        ("/a -- -s --x", "/a -s --x", {}),
        ("/a -", "/a -", {}),
        ("--depth 3 --all", "", {"depth": ("3",), "all": ()}),
        ("--depth=3 -d 4", "", {"depth": ("3", "4")}),
        ("-v -x /a", "/a", {"v": ("-x",)}),
    ],
)
def test_what_is_an_option(
    written: str, arguments: str, options: dict[str, tuple[str, ...]]
) -> None:
    assert parse(OPTIONS, written.split()) == Given(tuple(arguments.split()), options)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("-z", "Unrecognized option: -z"),
        ("-sz", "Unrecognized option: -sz"),
        ("--s", "Unrecognized option: --s"),
        ("-s=1", "Unrecognized option: -s=1"),
        ("--all=1", "Unrecognized option: --all=1"),
        ("/a -v", "Missing argument for option: v"),
        ("-v -s 1", "Missing argument for option: v"),
        (
            "-n 1 -b",
            "The option 'b' was specified but an option from this group has already been"
            " selected: 'n'",
        ),
    ],
)
def test_what_is_refused(written: str, complaint: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(OPTIONS, written.split())
    assert str(caught.value) == complaint


@pytest.mark.parametrize("written", ["x", "", "1.0", "2147483648", "-2147483649", "١", "9" * 99])
def test_numbers_have_java_s_range(written: str) -> None:
    given = Given((), {"v": (written,)})
    with pytest.raises(CommandError, match="-v argument must be an int value"):
        given.integer("v", -1)
    assert Given((), {"v": ("+2147483647",)}).integer("v", -1) == 2147483647
    assert Given((), {}).integer("v", -1) == -1
