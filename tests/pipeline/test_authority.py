"""Identities, ACL lists of requests, permissions: client-protocol.md sections 10.2 to 10.8."""

from __future__ import annotations

import pytest

from kraal.errors import ErrorCode, RequestError
from kraal.model.acl import ADMIN, ALL, CREATE, OPEN_UNSAFE, READ, WRITE, Acl, Id
from kraal.model.config import SecurityConfig
from kraal.model.limits import ACL_MAX_BYTES
from kraal.pipeline.auth import digest, ip
from kraal.pipeline.auth.authority import SUPER, Authority
from kraal.wire.records.data import decode_acls, encode_acls
from tests.pipeline.support import acl_list

ME = Id("digest", "user:smGaoVKd/cQkjm7b88GyorAUz20=")
HOST = Id("ip", "127.0.0.1")
NULL_ID = Acl(ALL, "digest", None)


def authority(**settings: object) -> Authority:
    return Authority(SecurityConfig(**settings))  # type: ignore[arg-type]


def stored(*entries: Acl, auth: tuple[Id, ...] = (HOST,), **settings: object) -> list[Acl]:
    return decode_acls(authority(**settings).stored_list(encode_acls(list(entries)), auth))


def refusal(*entries: Acl, auth: tuple[Id, ...] = (HOST,), **settings: object) -> ErrorCode:
    with pytest.raises(RequestError) as caught:
        stored(*entries, auth=auth, **settings)
    return caught.value.code


class TestDigest:
    @pytest.mark.parametrize(
        ("credentials", "identity"),
        [
            (b"super:secret", "super:lK75jTNcA+U9vtVEw5vB51mj/w4="),
            (b"user:pass", ME.id),
            (b"zed", "zed:WCG2SkUVYiWbl7gaUg7oZzK3imI="),
            (b"", ":2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
        ],
    )
    def test_identities(self, credentials: bytes, identity: str) -> None:
        assert digest.identity(credentials, "sha1") == identity

    def test_the_user_ends_at_the_first_colon_and_all_is_hashed(self) -> None:
        found = {digest.identity(text, "sha1") for text in (b"a:b:c", b"a:b", b"a:c")}
        assert len(found) == 3
        assert all(identity.startswith("a:") for identity in found)

    @pytest.mark.parametrize("id_", ["a:b", ":b", "a:b:", "a:b::"])
    def test_valid(self, id_: str) -> None:
        assert digest.is_valid(id_)

    @pytest.mark.parametrize("id_", ["a", "a:", "", ":", "::", "a:b:c", "a::", "a::b"])
    def test_invalid(self, id_: str) -> None:
        assert not digest.is_valid(id_)

    @pytest.mark.parametrize(
        ("java", "python"), [("SHA1", "sha1"), ("SHA-256", "sha256"), ("MD5", "md5")]
    )
    def test_names_of_algorithms(self, java: str, python: str) -> None:
        assert digest.hash_function(java) == python

    @pytest.mark.parametrize("java", ["ROT-13", "", "SHAKE_128", "SHA1\0"])
    def test_algorithms_that_are_none(self, java: str) -> None:
        with pytest.raises(ValueError, match="unsupported"):
            digest.hash_function(java)


class TestIp:
    @pytest.mark.parametrize(
        "id_",
        [
            "1.2.3.4", "1.2.3.4/0", "1.2.3.4/32", "1.2.3.4/+8", "1.2.3.4/008", "1.2.3.4/-0",
            "255.255.255.255", "127.000.0.+1", "0000000001.2.3.4", "::1", "::", "1::", "1::/64",
            "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::/128", "ABCD::ef01/0",
        ],
    )  # fmt: skip
    def test_valid(self, id_: str) -> None:
        assert ip.is_valid(id_)

    @pytest.mark.parametrize(
        "id_",
        [
            "", "localhost", "256.1.1.1", "1.2.3", "1.2.3.4.5", "1.2.-3.4", " 1.2.3.4", "1.2.3.4 ",
            "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/", "1.2.3.4/x", "1.2.3.4/8/8", "/8", "1..2.3",
            "::/129", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8",
            "12345::", "::g", "::ffff:1.2.3.4", "9" * 5000 + ".1.1.1", "1.2.3.4/" + "9" * 5000,
            "1.2.3.4/ 8", "\u0661.2.3.4",
        ],
    )  # fmt: skip
    def test_invalid(self, id_: str) -> None:
        assert not ip.is_valid(id_)

    @pytest.mark.parametrize(
        ("host", "id_", "matches"),
        [
            ("10.1.2.3", "10.1.2.3", True),
            ("10.1.2.3", "10.1.2.4", False),
            ("10.1.2.3", "10.0.0.0/8", True),
            ("11.1.2.3", "10.0.0.0/8", False),
            ("10.1.2.3", "10.9.9.9/8", True),
            ("10.1.2.3", "10.1.2.2/31", True),
            ("10.1.2.3", "10.1.2.4/31", False),
            ("10.128.0.0", "10.255.0.0/9", True),
            ("10.127.0.0", "10.255.0.0/9", False),
            ("1.2.3.4", "9.9.9.9/0", True),
            ("0:0:0:0:0:0:0:1", "::1", True),
            ("0:0:0:0:0:0:0:1", "::/0", True),
            ("fe80:0:0:0:1:0:0:1", "fe80::/10", True),
            ("ff80:0:0:0:1:0:0:1", "fe80::/10", False),
            ("1.2.3.4", "::/0", False),
            ("0:0:0:0:0:0:0:1", "0.0.0.0/0", False),
            ("nowhere", "0.0.0.0/0", False),
            ("1.2.3.4", "nowhere", False),
        ],
    )
    def test_networks(self, host: str, id_: str, matches: bool) -> None:
        assert ip.matches(host, id_) == matches

    @pytest.mark.parametrize(
        ("host", "shown"),
        [
            ("127.0.0.1", "127.0.0.1"), ("::1", "0:0:0:0:0:0:0:1"),
            ("fe80::abcd%eth0", "fe80:0:0:0:0:0:0:abcd"), ("", ""),
        ],
    )  # fmt: skip
    def test_addresses_are_shown_as_the_reference_shows_them(self, host: str, shown: str) -> None:
        assert ip.show(host) == shown


class TestAuthPackets:
    def test_digest_earns_an_identity(self) -> None:
        assert authority().authenticate("digest", b"user:pass", "1.2.3.4") == [ME]

    def test_the_super_user_earns_two(self) -> None:
        found = authority(super_digest=ME.id).authenticate("digest", b"user:pass", "1.2.3.4")
        assert found == [ME, SUPER]

    def test_ip_earns_the_address_whatever_was_sent(self) -> None:
        for data in (b"", None, b"9.9.9.9"):
            assert authority().authenticate("ip", data, "1.2.3.4") == [Id("ip", "1.2.3.4")]

    @pytest.mark.parametrize(
        ("scheme", "data"),
        [("digest", None), ("world", b"anyone"), ("auth", b""), ("super", b""), (None, b"x"),
         ("", b""), ("Digest", b"u:p"), ("sasl", b"x"), ("x509", b"x"), ("bogus", b"x")],
    )  # fmt: skip
    def test_refused(self, scheme: str | None, data: bytes | None) -> None:
        with pytest.raises(RequestError) as caught:
            authority().authenticate(scheme, data, "1.2.3.4")
        assert caught.value.code == ErrorCode.AUTH_FAILED

    def test_digest_can_be_switched_off(self) -> None:
        with pytest.raises(RequestError):
            authority(digest_enabled=False).authenticate("digest", b"u:p", "1.2.3.4")
        assert refusal(Acl(ALL, *ME), digest_enabled=False) == ErrorCode.INVALID_ACL


class TestStoredLists:
    def test_kept_verbatim(self) -> None:
        entries = [*OPEN_UNSAFE, Acl(-1, *ME), Acl(255, "ip", "10.0.0.0/8"), Acl(0, "digest", ":b")]
        assert stored(*entries) == entries

    def test_duplicates_go_and_the_first_stays(self) -> None:
        one, two = Acl(1, *ME), Acl(2, *ME)
        assert stored(two, one, two, one) == [two, one]

    def test_auth_becomes_the_identities_that_authenticate(self) -> None:
        other = Id("digest", "other:x")
        found = stored(Acl(5, "auth", "ignored"), auth=(HOST, ME, SUPER, other))
        assert sorted(found) == sorted([Acl(5, *ME), Acl(5, *other)])

    def test_auth_may_have_no_id(self) -> None:
        assert stored(Acl(5, "auth", None), auth=(ME,)) == [Acl(5, *ME)]

    def test_auth_depends_on_who_asks(self) -> None:
        """A list with it is not remembered for others."""
        one = authority()
        vector = encode_acls([Acl(5, "auth", "")])
        assert decode_acls(one.stored_list(vector, (ME,))) == [Acl(5, *ME)]
        with pytest.raises(RequestError):
            one.stored_list(vector, (HOST,))

    @pytest.mark.parametrize(
        "entry",
        [
            Acl(31, "auth", ""), Acl(31, "world", "somebody"), Acl(31, "World", "anyone"),
            Acl(31, "super", ""), Acl(31, "x509", "CN=x"), Acl(31, "sasl", "x"),
            Acl(31, "bogus", "x"), Acl(31, "", ""), Acl(31, None, "anyone"), Acl(31, None, None),
            Acl(31, "digest", "a"), Acl(31, "ip", "localhost"), Acl(31, "ip", "1.2.3.4/33"),
        ],
    )  # fmt: skip
    def test_invalid_entries(self, entry: Acl) -> None:
        assert refusal(entry) == ErrorCode.INVALID_ACL
        assert refusal(Acl(READ, "world", "anyone"), entry) == ErrorCode.INVALID_ACL

    def test_an_empty_list_and_none(self) -> None:
        assert refusal() == ErrorCode.INVALID_ACL
        with pytest.raises(RequestError) as caught:
            authority().stored_list(None, (HOST,))
        assert caught.value.code == ErrorCode.INVALID_ACL

    @pytest.mark.parametrize("scheme", ["digest", "ip", "world"])
    def test_a_null_id_under_a_known_scheme(self, scheme: str) -> None:
        assert refusal(Acl(31, scheme, None)) == ErrorCode.MARSHALLING_ERROR

    def test_a_null_scheme_behind_an_entry_of_the_same_permissions(self) -> None:
        """The reference stumbles over it while it looks for duplicates."""
        assert refusal(*OPEN_UNSAFE, Acl(31, None, "x")) == ErrorCode.MARSHALLING_ERROR
        assert refusal(Acl(31, "bogus", "x"), Acl(31, "bogus", None)) == ErrorCode.MARSHALLING_ERROR

    def test_the_first_bad_entry_decides(self) -> None:
        assert refusal(Acl(31, "bogus", "x"), NULL_ID) == ErrorCode.INVALID_ACL
        assert refusal(NULL_ID, Acl(31, "bogus", "x")) == ErrorCode.MARSHALLING_ERROR

    def test_auth_may_not_multiply_a_list_beyond_a_record(self) -> None:
        identities = tuple(Id("digest", f"user-{number}:{'h' * 28}") for number in range(100))
        few = [Acl(perms, "auth", None) for perms in range(50)]
        assert len(encode_acls(stored(*few, auth=identities))) <= ACL_MAX_BYTES
        many = [Acl(perms, "auth", None) for perms in range(500)]
        assert refusal(*many, auth=identities) == ErrorCode.INVALID_ACL

    @pytest.mark.timeout(20)
    def test_forty_thousand_entries_are_not_compared_with_each_other(self) -> None:
        entries = [Acl(perms, "world", "anyone") for perms in range(40_000)]
        assert stored(*entries) == entries


class TestPermissions:
    @pytest.mark.parametrize(
        ("entry", "auth", "permitted"),
        [
            (OPEN_UNSAFE[0], (), True),
            (Acl(READ, "world", "anyone"), (ME,), True),
            (Acl(WRITE, "world", "anyone"), (ME,), False),
            (Acl(READ, *ME), (HOST, ME), True),
            (Acl(READ, *ME), (HOST,), False),
            (Acl(READ, *ME), (Id("sasl", ME.id),), False),
            (Acl(WRITE, *ME), (ME,), False),
            (Acl(-1, *ME), (ME,), True),
            (Acl(0, *ME), (ME,), False),
            (Acl(0, *ME), (ME, SUPER), True),
            (Acl(READ, "ip", "127.0.0.0/8"), (HOST,), True),
            (Acl(READ, "ip", "10.0.0.0/8"), (HOST,), False),
            (Acl(READ, None, None), (ME,), False),
        ],
    )
    def test_one_entry(self, entry: Acl, auth: tuple[Id, ...], permitted: bool) -> None:
        assert authority().permits(acl_list(entry), READ, auth) == permitted

    def test_any_of_several_permissions_is_enough(self) -> None:
        acl = acl_list(Acl(ADMIN, *ME))
        assert authority().permits(acl, READ | ADMIN, (ME,))
        assert not authority().permits(acl, READ | CREATE, (ME,))

    def test_an_empty_list_lets_only_super_in(self) -> None:
        assert not authority().permits(acl_list(), READ, (ME, HOST))
        assert authority().permits(acl_list(), READ, (SUPER,))

    def test_checks_can_be_switched_off(self) -> None:
        assert authority(skip_acl=True).permits(acl_list(), ALL, ())


class TestWhatIsShown:
    LISTED = acl_list(
        Acl(READ, "digest", "u1:hash"), Acl(READ, "ip", "1.2.3.4"), Acl(ADMIN, *ME),
        Acl(READ, "world", "anyone"), Acl(READ, "digest", "none"), Acl(READ, "digest", ":h"),
    )  # fmt: skip

    def test_hashes_are_hidden_without_admin(self) -> None:
        shown = decode_acls(authority().shown_list(self.LISTED, (HOST,)))
        assert [entry.id for entry in shown] == [
            "u1:x",
            "1.2.3.4",
            "user:x",
            "anyone",
            "none:x",
            ":x",
        ]
        assert [entry.perms for entry in shown] == [entry.perms for entry in self.LISTED.acls]

    @pytest.mark.parametrize("auth", [(ME,), (SUPER,)])
    def test_but_not_with_it(self, auth: tuple[Id, ...]) -> None:
        assert authority().shown_list(self.LISTED, auth) == self.LISTED.encoded

    @pytest.mark.parametrize(
        ("identity", "user"),
        [(ME, "user"), (HOST, "127.0.0.1"), (SUPER, ""), (Id("digest", "zed"), "zed")],
    )
    def test_users(self, identity: Id, user: str) -> None:
        assert authority().user_name(identity) == user


class TestEnforcement:
    @pytest.mark.parametrize(
        ("schemes", "auth", "is_missing"),
        [
            ((), (HOST,), False),
            (("digest",), (HOST,), True),
            (("digest",), (HOST, ME), False),
            (("digest", "ip"), (HOST,), False),
        ],
    )
    def test_one_of_the_schemes_must_be_held(
        self, schemes: tuple[str, ...], auth: tuple[Id, ...], is_missing: bool
    ) -> None:
        found = authority(enforce_auth_schemes=schemes)
        assert found.enforces == bool(schemes)
        assert found.is_enforced_and_missing(auth) == is_missing


class TestSasl:
    """Apache ZooKeeper 3.9.5 was asked the same."""

    BOB = Id("sasl", "bob")

    @pytest.mark.parametrize("id_", ["x", "", "a/b", "a@b", "a/h@b", "@", "a/@"])
    def test_ids_that_acls_may_have(self, id_: str) -> None:
        entry = Acl(ALL, "sasl", id_)
        assert stored(entry, sasl_provided=True) == [entry]
        assert refusal(entry) is ErrorCode.INVALID_ACL

    @pytest.mark.parametrize("id_", ["a@b@c", "a/b/c@d"])
    def test_ids_that_they_may_not_have(self, id_: str) -> None:
        assert refusal(Acl(ALL, "sasl", id_), sasl_provided=True) is ErrorCode.INVALID_ACL

    def test_who_has_logged_in_may_have_znodes_of_its_own(self) -> None:
        mine = Acl(ALL, "auth", "")
        assert stored(mine, auth=(HOST, self.BOB), sasl_provided=True) == [Acl(ALL, *self.BOB)]
        assert refusal(mine, auth=(HOST, self.BOB)) is ErrorCode.INVALID_ACL

    @pytest.mark.parametrize(
        ("entry", "who", "settings", "may"),
        [
            ("bob", "bob", {}, True),
            ("bob", "al", {}, False),
            ("bob", "super", {}, True),
            ("any", "bob", {}, False),
            ("any", "bob", {"any_sasl_user": "any"}, True),
            ("bob", "bob", {"sasl_provided": False}, False),
        ],
    )
    def test_permissions(
        self, entry: str, who: str, settings: dict[str, object], may: bool
    ) -> None:
        acl = acl_list(Acl(READ, "sasl", entry))
        one = authority(**{"sasl_provided": True, **settings})
        assert one.permits(acl, READ, (HOST, Id("sasl", who))) is may
        assert not one.permits(acl, READ, (HOST, ME))

    def test_superusers(self) -> None:
        one = authority(sasl_super_users=frozenset({"bob"}))
        assert one.logged_in("bob") == [self.BOB, SUPER]
        assert one.logged_in("al") == [Id("sasl", "al")]

    def test_names_of_users(self) -> None:
        assert authority(sasl_provided=True).user_name(self.BOB) == "bob"
        assert authority().user_name(self.BOB) == ""
