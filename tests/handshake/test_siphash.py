# SPDX-License-Identifier: Apache-2.0
"""SipHash-2-4 against the published reference vectors, SipHash-1-3 against Python's own.

The reference (``vectors.h`` of its authors) hashes the messages 00, 00 01, 00 01 02 ... of 0 to 63
bytes under the key 00 .. 0f. A few vectors stand here to be read; all 64 are pinned by the SHA-256
of the reference's bytes, one after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256

import pytest

from ipos.handshake.siphash import siphash64, siphash64_short, siphash128

KEY = bytes(range(16))


def reference64(length: int) -> bytes:
    return siphash64(KEY, bytes(range(length))).to_bytes(8, "little")


def reference128(length: int) -> bytes:
    return siphash128(KEY, bytes(range(length))).to_bytes(16, "little")


@pytest.mark.parametrize(
    ("length", "expected"),
    [(0, "310e0edd47db6f72"), (1, "fd67dc93c539f874"), (15, "e545be4961ca29a1")],
)
def test_64_bit_vectors(length: int, expected: str) -> None:
    assert reference64(length).hex() == expected


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "a3817f04ba25a8e66df67214c7550293"),
        (1, "da87c1d86b99af44347659119b22fc45"),
        (15, "5493e99933b0a8117e08ec0f97cfc3d9"),
    ],
)
def test_128_bit_vectors(length: int, expected: str) -> None:
    assert reference128(length).hex() == expected


def test_all_published_vectors() -> None:
    assert sha256(b"".join(map(reference64, range(64)))).hexdigest() == (
        "0226a91002af9775a791b3ec5a48e643f8848d2d5774dea9be3438d5786bb58e"
    )
    assert sha256(b"".join(map(reference128, range(64)))).hexdigest() == (
        "ecfaa9fe47ff788fa834a9863ea2715a2880cd37d2b8c3c194402838428119b9"
    )


def test_the_worked_example_of_the_paper() -> None:
    assert siphash64(KEY, bytes(range(15))) == 0xA129CA6149BE45E5


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="this Python hashes otherwise")
def test_the_short_form_is_what_python_hashes_by() -> None:
    hashes = "print(*(hash(bytes(range(n))) for n in range(1, 64)))"
    without_seed = {**os.environ, "PYTHONHASHSEED": "0"}
    ran = subprocess.run([sys.executable, "-c", hashes], env=without_seed, capture_output=True)
    expected = [int(number) % 2**64 for number in ran.stdout.split()]
    assert [siphash64_short(bytes(16), bytes(range(n))) for n in range(1, 64)] == expected


def test_a_message_longer_than_its_length_byte_can_say() -> None:
    # 00 .. ff 00 .. 2b, as OpenSSL's SIPHASH computes it.
    message = bytes(i % 256 for i in range(300))
    assert siphash64(KEY, message).to_bytes(8, "little").hex() == "397811b60d710b4b"
    assert siphash128(KEY, message).to_bytes(16, "little").hex() == (
        "ce005a406d14b36d5386b5f7a7e1b311"
    )


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"16 bytes, this one is {size}"):
        siphash64(bytes(size), b"")
    with pytest.raises(ValueError, match=f"16 bytes, this one is {size}"):
        siphash128(bytes(size), b"")
