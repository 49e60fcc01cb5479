"""JSON as the reference prints it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kraal.admin.json_text import PAUSE, Json, Pairs, Pause, Rows, pieces

CAPTURED = """\
{
  "connections" : [ {
    "remote_socket_address" : "127.0.0.1:48344",
    "avg" : 3.0
  }, {
    "remote_socket_address" : "x"
  } ],
  "secure_connections" : [ ],
  "session_id_to_ephemeral_paths" : {
    "72057625720324096" : [ "/e0", "/é\\"" ]
  },
  "none" : { },
  "voting" : true,
  "error" : null
}"""


def test_values_are_printed_as_the_reference_does() -> None:
    value: Json = {
        "connections": [
            {"remote_socket_address": "127.0.0.1:48344", "avg": 3.0},
            {"remote_socket_address": "x"},
        ],
        "secure_connections": [],
        "session_id_to_ephemeral_paths": {"72057625720324096": ["/e0", '/é"']},
        "none": {},
        "voting": True,
        "error": None,
    }
    assert "".join(pieces(value)) == CAPTURED


def test_lists_are_made_while_they_are_printed() -> None:
    made = []

    def rows() -> Iterator[Json | Pause]:
        for number in range(3):
            yield PAUSE
            made.append(number)
            yield number

    text = pieces({"rows": Rows(rows()), "by": Pairs(iter([("a", Rows([])), ("b", 2)]))})
    first = next(text)
    assert made == []
    whole = json.loads(first + "".join(text))
    assert whole == {"rows": [0, 1, 2], "by": {"a": [], "b": 2}}


def test_what_is_no_number_is_text() -> None:
    assert "".join(pieces([float("nan"), 1e7, 0.0])) == '[ "NaN", 1.0E7, 0.0 ]'
