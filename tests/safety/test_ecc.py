# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facex.safety import ecc

PAYLOADS = st.integers(0, (1 << ecc.PAYLOAD_BITS) - 1)


def _soft(payload: ecc.Bits) -> np.ndarray:
    return ecc.encode(payload).astype(np.float64) * 2 - 1


@given(st.integers(0, 2**40 - 1))
def test_numbers_and_bits(number: int) -> None:
    assert ecc.to_int(ecc.to_bits(number, 40)) == number


def test_golay_words_differ_in_eight_places() -> None:
    words = ecc.golay_words()
    assert words.shape == (4096, 24)
    weights = words.sum(axis=1)
    # The weight distribution identifies the code: 1, 759, 2576, 759, 1.
    assert {int(w): int((weights == w).sum()) for w in np.unique(weights)} == {
        0: 1, 8: 759, 12: 2576, 16: 759, 24: 1,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    for a, b in rng.integers(0, 4096, (50, 2)):  # linear: sums of words are words
        assert (words[a] ^ words[b]).tolist() == words[a ^ b].tolist()


@given(PAYLOADS, st.integers(0, ecc.PAYLOAD_BITS - 1))
def test_checksum_sees_every_single_bit(number: int, place: int) -> None:
    bits = ecc.to_bits(number, ecc.PAYLOAD_BITS)
    other = bits.copy()
    other[place] ^= 1
    assert 0 <= ecc.crc12(bits) < 4096
    assert ecc.crc12(bits) != ecc.crc12(other)


@settings(max_examples=30, deadline=None)
@given(PAYLOADS, st.integers(0, 2**32 - 1))
def test_three_wrong_bits_a_word_are_corrected(number: int, seed: int) -> None:
    payload = ecc.to_bits(number, ecc.PAYLOAD_BITS)
    soft = _soft(payload)
    rng = np.random.default_rng(seed)
    for word in range(4):
        soft[24 * word + rng.permutation(24)[:3]] *= -1
    decoded = ecc.decode(soft)
    assert decoded is not None
    assert decoded[0].tolist() == payload.tolist()
    assert decoded[1].tolist() == ecc.encode(payload).tolist()


@settings(max_examples=20, deadline=None)
@given(PAYLOADS, st.integers(0, 2**32 - 1))
def test_trust_beats_the_count_of_wrong_bits(number: int, seed: int) -> None:
    # Ten of 24 bits are wrong, hopeless for hard decisions, but the reader doubts them.
    payload = ecc.to_bits(number, ecc.PAYLOAD_BITS)
    soft = _soft(payload)
    rng = np.random.default_rng(seed)
    for word in range(4):
        soft[24 * word + rng.permutation(24)[:10]] *= -0.05
    decoded = ecc.decode(soft)
    assert decoded is not None
    assert decoded[0].tolist() == payload.tolist()


def test_noise_is_rarely_a_payload() -> None:
    rng = np.random.default_rng(1)
    lucky = sum(ecc.decode(rng.normal(size=ecc.CODE_BITS)) is not None for _ in range(400))
    assert lucky <= 6  # 8 tries against 12 bits: 0.8 expected


@pytest.mark.parametrize("value", [0, (1 << 36) - 1])
def test_extreme_payloads(value: int) -> None:
    payload = ecc.to_bits(value, 36)
    decoded = ecc.decode(_soft(payload))
    assert decoded is not None
    assert ecc.to_int(decoded[0]) == value
