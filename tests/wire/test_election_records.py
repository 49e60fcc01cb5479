"""Election records against captures of Apache ZooKeeper 3.9.5, and what is malformed."""

from __future__ import annotations

import struct

import pytest

from kraal.errors import DecodeError
from kraal.model.ensemble import Address, EnsembleConfig
from kraal.wire.records.election import (
    InitialMessage,
    Notification,
    decode_initial,
    decode_notification,
    encode_initial,
    encode_notification,
)

THREE = EnsembleConfig.parse(
    "server.1=zk1:32011:32021\nserver.2=zk2:32012:32022\nserver.3=zk3:32013:32023"
)
NOBODY = -(1 << 63)

# reference/quorum-protocol.md section 10
INITIAL_V1 = bytes.fromhex("ffffffffffff0000 0000000000000002 00000009 7a6b323a3332303232")
INITIAL_V2 = bytes.fromhex(
    "ffffffffffff0001 0000000000000001 00000014 7a6b313a33323032317c7a6b31623a3332303231"
)
LOOKING = bytes.fromhex(
    "00000000 0000000000000002 0000000000000000 0000000000000001 0000000000000000 00000002 00000078"
    "7365727665722e313d7a6b313a33323031313a33323032313a7061727469636970616e740a"
    "7365727665722e323d7a6b323a33323031323a33323032323a7061727469636970616e740a"
    "7365727665722e333d7a6b333a33323031333a33323032333a7061727469636970616e740a"
    "76657273696f6e3d30"
)
SETTLED_HEAD = bytes.fromhex(
    "00000001 0000000000000002 0000000000000000 0000000000000001 0000000000000001 00000002"
)
OBSERVER_HEAD = bytes.fromhex(
    "00000000 8000000000000000 8000000000000000 0000000000000001 8000000000000000 00000002"
)


class TestInitialMessage:
    def test_v1(self) -> None:
        addresses = (Address("zk2", 32022),)
        assert encode_initial(2, addresses, multi_address=False) == INITIAL_V1
        assert decode_initial(INITIAL_V1) == (InitialMessage(2, addresses), len(INITIAL_V1))

    def test_v2_with_two_addresses(self) -> None:
        addresses = (Address("zk1", 32021), Address("zk1b", 32021))
        assert encode_initial(1, addresses, multi_address=True) == INITIAL_V2
        assert decode_initial(INITIAL_V2) == (InitialMessage(1, addresses), len(INITIAL_V2))

    def test_a_literal_of_ipv6_is_bracketed(self) -> None:
        addresses = (Address("0:0:0:0:0:0:0:1", 32021),)
        message = encode_initial(1, addresses, multi_address=False)
        assert message.endswith(b"[0:0:0:0:0:0:0:1]:32021")
        assert decode_initial(message) == (InitialMessage(1, addresses), len(message))

    def test_the_form_of_3_4_is_the_id_alone(self) -> None:
        message = (7).to_bytes(8, "big")
        assert decode_initial(message + LOOKING) == (InitialMessage(7, ()), 8)

    @pytest.mark.parametrize("message", [INITIAL_V1, INITIAL_V2, bytes(8)])
    def test_a_part_of_it_is_not_complete(self, message: bytes) -> None:
        assert all(decode_initial(message[:size]) is None for size in range(len(message)))
        whole = decode_initial(message)
        assert whole is not None
        assert decode_initial(message + b"what follows") == whole

    @pytest.mark.parametrize("version", [-1, -65534, -65537, -(1 << 63)])
    def test_an_unknown_version_is_refused_by_its_first_bytes(self, version: int) -> None:
        with pytest.raises(DecodeError):
            decode_initial(struct.pack(">q", version))

    @pytest.mark.parametrize("length", [0, -1, 2049, (1 << 31) - 1])
    def test_an_impossible_length_is_refused_before_the_text(self, length: int) -> None:
        with pytest.raises(DecodeError):
            decode_initial(struct.pack(">qqi", -65536, 2, length))

    @pytest.mark.parametrize("server_id", [-1, -(1 << 63), (1 << 63) - 1])
    def test_ids_of_nobody(self, server_id: int) -> None:
        with pytest.raises(DecodeError):
            decode_initial(struct.pack(">qqi", -65536, server_id, 5) + b"zk2:1")

    @pytest.mark.parametrize(
        "text",
        [b"zk2", b"zk2:", b":1", b"zk2:x", b"zk2:0", b"zk2:65536", b"zk2:-1", b"zk2:1|", b"\xff:1",
         b"::1:32021", b"[]:1", b"zk\x002:1", "zk2:\u0661".encode(), b"zk2:000000000001"],
    )  # fmt: skip
    def test_addresses_that_are_none(self, text: bytes) -> None:
        with pytest.raises(DecodeError):
            decode_initial(struct.pack(">qqi", -65536, 2, len(text)) + text)


class TestNotification:
    def test_a_looking_server(self) -> None:
        config = THREE.text().encode()
        assert encode_notification(0, 2, 0, 1, 0, config) == LOOKING
        assert decode_notification(LOOKING) == Notification(0, 2, 0, 1, 0, 2, config)

    def test_heads_of_a_settled_server_and_of_an_observer(self) -> None:
        assert encode_notification(1, 2, 0, 1, 1, b"").startswith(SETTLED_HEAD)
        assert encode_notification(0, NOBODY, NOBODY, 1, NOBODY, b"").startswith(OBSERVER_HEAD)

    def test_28_bytes_take_the_epoch_from_the_zxid(self) -> None:
        message = struct.pack(">iqqq", 2, 3, 0x5_0000_0007, 9)
        assert decode_notification(message) == Notification(2, 3, 0x5_0000_0007, 9, 5, 0, None)

    @pytest.mark.parametrize("version", [0, 1, 2])
    def test_40_bytes_are_of_version_0(self, version: int) -> None:
        message = struct.pack(">iqqqqi", 1, 3, 7, 9, 4, version)
        assert decode_notification(message) == Notification(1, 3, 7, 9, 4, 0, None)

    @pytest.mark.parametrize("version", [0, 1, -5])
    def test_an_old_version_with_bytes_behind_it(self, version: int) -> None:
        message = struct.pack(">iqqqqi", 1, 3, 7, 9, 4, version) + b"??"
        assert decode_notification(message) == Notification(1, 3, 7, 9, 4, version, None)

    def test_what_follows_the_configuration_is_skipped(self) -> None:
        message = encode_notification(0, 3, 7, 9, 4, b"config") + b"future"
        assert decode_notification(message).config == b"config"

    @pytest.mark.parametrize("size", [0, 1, 27, 29, 35, 36, 39, 41, 43])
    def test_sizes_that_no_version_has(self, size: int) -> None:
        with pytest.raises(DecodeError):
            decode_notification(LOOKING[:size])

    @pytest.mark.parametrize("length", [-1, 7, (1 << 31) - 1])
    def test_a_configuration_longer_than_the_message(self, length: int) -> None:
        message = struct.pack(">iqqqqii", 0, 3, 7, 9, 4, 2, length) + b"config"
        with pytest.raises(DecodeError):
            decode_notification(message)
