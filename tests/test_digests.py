"""Digests: canonical JSON by the examples of RFC 8785, and what an array's digest binds."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.digests import (
    canonical_json,
    digest_array,
    digest_bytes,
    digest_json,
    digest_mapping,
    load_json,
    short,
)

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_example_of_rfc_8785_section_3_2_2() -> None:
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert canonical_json(value) == (
        '{"literals":[null,true,false],'
        '"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf16_units_as_in_rfc_8785_section_3_2_3() -> None:
    value = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonical_json(value)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (999999999999999700000.0, "999999999999999700000"),
        (1e21, "1e+21"),
        (9.999999999999997e-7, "9.999999999999997e-7"),
        (0.000001, "0.000001"),
        (333333333.33333325, "333333333.33333325"),
        (1424953923781206.2, "1424953923781206.2"),
        (1.0, "1"),
        (2**53 - 1, "9007199254740991"),
    ],
)
def test_numbers_are_written_as_in_rfc_8785_appendix_b(number: float, text: str) -> None:
    assert canonical_json(number) == text


@pytest.mark.parametrize(
    "value",
    [
        *[float("nan"), float("inf"), float("-inf")],
        *[
            2**53 + 1,
            -(2**53) - 1,
            b"bytes",
            {1: "number as a key"},
            {1, 2},
            pytest.param(object(), id="object"),
            "\ud800",
        ],
    ],
    ids=repr,
)
def test_what_json_cannot_express_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_json(value)
    with pytest.raises(ValueError, match=r"."):
        digest_json({"nested": [value]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(JSON)
@settings(max_examples=50, deadline=None)
def test_canonical_json_reads_back_and_is_canonical(value: Any) -> None:
    text = canonical_json(value)
    assert load_json(text) == value
    assert canonical_json(load_json(text)) == text


@given(st.dictionaries(st.text(max_size=4), st.integers(0, 9), min_size=2))
@settings(max_examples=30, deadline=None)
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    backwards = dict(reversed(value.items()))
    assert list(backwards) != list(value)
    assert digest_json(backwards) == digest_json(value)


def test_digests_are_sha256_of_the_bytes() -> None:
    assert digest_bytes(b"") == EMPTY
    assert digest_json({"b": 1, "a": [1.0]}) == digest_bytes(b'{"a":[1],"b":1}')


def test_array_digest_is_of_a_header_line_and_the_bytes() -> None:
    data = bytes(range(48))
    header = b'{"dtype":"float64","shape":[2,3]}\n'
    expected = "sha256:" + hashlib.sha256(header + data).hexdigest()
    assert digest_array("float64", (2, 3), data) == expected


def test_array_digest_differs_by_dtype_shape_and_byte() -> None:
    data = bytes(48)
    changed = bytes([*data[:20], 1, *data[21:]])
    digests = {
        digest_array("float64", (2, 3), data),
        digest_array("int64", (2, 3), data),
        digest_array("float64", (3, 2), data),
        digest_array("float64", (6,), data),
        digest_array("float64", (2, 3), changed),
    }
    assert len(digests) == 5
    assert digest_array("float64", (), b"") != digest_array("float64", (0,), b"")


def test_mapping_digest_binds_names_and_digests_but_no_order() -> None:
    first, second = digest_bytes(b"1"), digest_bytes(b"2")
    base = digest_mapping({"a": first, "b": second})
    assert digest_mapping({"b": second, "a": first}) == base
    for other in ({"a": second, "b": first}, {"a": first}, {"a": first, "c": second}):
        assert digest_mapping(other) != base


def test_short_digests_are_twelve_hex_digits() -> None:
    assert short(EMPTY) == short(EMPTY.removeprefix("sha256:")) == "e3b0c44298fc"
