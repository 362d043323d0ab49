"""Published vectors of the standards.

Merkle tree: the reference leaves of google/certificate-transparency, with the roots and proofs of
transparency-dev/merkle, proof/verify_test.go. Notes: golang.org/x/mod, sumdb/note/note_test.go. Envelopes:
secure-systems-lab/dsse, testvectors/vectors.json, with the keys of RFC 8032, section 7.1.
"""

from typing import Any

LEAVES = [
    bytes.fromhex(data)
    for data in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]

ROOTS = [
    bytes.fromhex(root)
    for root in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]

_LEAF_2 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
_LEAVES_3_4 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
_LEAVES_5_8 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
_LEAF_5 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
_LEAVES_7_8 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
_LEAVES_5_6 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
_LEAF_7 = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"

INCLUSION = [
    (0, 1, []),
    (0, 8, [_LEAF_2, _LEAVES_3_4, _LEAVES_5_8]),
    (5, 8, [_LEAF_5, _LEAVES_7_8, ROOTS[3].hex()]),
    (2, 3, [ROOTS[1].hex()]),
    (1, 5, [ROOTS[0].hex(), _LEAVES_3_4, _LEAF_5]),
]
"""(index from 0, size, proof)"""

CONSISTENCY = [
    (1, 1, []),
    (1, 8, [_LEAF_2, _LEAVES_3_4, _LEAVES_5_8]),
    (6, 8, [_LEAVES_5_6, _LEAVES_7_8, ROOTS[3].hex()]),
    (2, 5, [_LEAVES_3_4, _LEAF_5]),
    (6, 7, [_LEAVES_5_6, _LEAF_7, ROOTS[3].hex()]),
]
"""(old size, new size, proof)"""

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
NOTE_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6K"
    "E6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1"
    "RvMc+QQ=\n"
)

RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
]
"""(seed, public key, message, signature) of TEST 1 and TEST 2"""

_IN_TOTO = "application/vnd.in-toto+json"
_BODY = "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ=="
_BY_A = "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=="
_BY_B = "c1+67/aT0yqEpwx8PsVY3MLHsj9D0CZ014/Fv/QlG59P+9CobUZ7xECJ/V3USG0Ob9CiE5LjReEZUzNF2l7eBw=="


def _envelope(payload: str, kind: str, *signatures: dict[str, str]) -> dict[str, Any]:
    return {"payload": payload, "payloadType": kind, "signatures": list(signatures)}


ENVELOPES = {
    "single-signature": (_envelope(_BODY, _IN_TOTO, {"sig": _BY_A, "keyid": "A"}), "A", 1, True),
    "url-safe-base64": (
        _envelope(
            "-_-_Pj8=",
            _IN_TOTO,
            {
                "sig": "P-_KHICeR7tI6S_YyejJTRtrXhcQyQ2LYPaL8h90KjC9qN8HU_svOQ6TuDOT1HIrsGW886DbWNWcCmX5twLrAw==",
                "keyid": "A",
            },
        ),
        "A",
        1,
        True,
    ),
    "payload-type-swapped": (
        _envelope(_BODY, "application/vnd.example.other+json", {"sig": _BY_A, "keyid": "A"}),
        "A",
        1,
        False,
    ),
    "non-ascii-payload-type": (
        _envelope(
            _BODY,
            "application/vnd.exämple+json",
            {
                "sig": "xmSk/ug66ysT7ayhkCIjhAq42zgZXSsEWuzUaNL7w2eGAdF/NU6/fRXPtmfN+5DNSAs5/i2lUnHjbbjPsu0tAw==",
                "keyid": "A",
            },
        ),
        "A",
        1,
        True,
    ),
    "empty-payload": (
        _envelope(
            "",
            _IN_TOTO,
            {
                "sig": "gSggCAaTLTYyRH6FIDBem6meyIynsYy8RTHVzwx9tnTb7Bg/1jMWnuVgI/gffqmbsC2VX5/jHfkkDqsj7CDbDg==",
                "keyid": "A",
            },
        ),
        "A",
        1,
        True,
    ),
    "threshold-two-distinct-keys": (
        _envelope(_BODY, _IN_TOTO, {"sig": _BY_A, "keyid": "A"}, {"sig": _BY_B, "keyid": "B"}),
        "AB",
        2,
        True,
    ),
    "threshold-two-one-key-twice": (
        _envelope(_BODY, _IN_TOTO, {"sig": _BY_A, "keyid": "A"}, {"sig": _BY_A, "keyid": "A"}),
        "AB",
        2,
        False,
    ),
    "threshold-two-without-keyids": (
        _envelope(_BODY, _IN_TOTO, {"sig": _BY_A}, {"sig": _BY_B}),
        "AB",
        2,
        True,
    ),
}
"""id → (envelope, names of the trusted keys, threshold, whether it is to be accepted)"""
