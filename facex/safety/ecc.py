# SPDX-License-Identifier: Apache-2.0
"""The error correction of the invisible mark: a checksum inside four extended Golay words.

36 bits of payload + 12 bits of CRC = 48 bits = four words of 12 bits, each of which becomes a
word of the extended binary Golay code (24, 12, 8). A Golay code has only 4,096 words, so the
most likely one is found exactly, by comparing the soft readings with all of them (maximum
likelihood, about 2 dB better than correcting hard bits). The checksum joins the four words: the
second-best words are tried too, in the order of their likelihood, until the checksum agrees.

Bits are numpy arrays of 0 and 1, most significant bit first. Soft readings are real numbers whose
sign is the bit (positive is 1) and whose magnitude is the trust in it.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

PAYLOAD_BITS: Final = 36
CODE_BITS: Final = 96
_WORDS: Final = 4
_WORD_BITS: Final = 12
_GOLAY_POLYNOMIAL: Final = 0b101011100011
"""x^11 + x^9 + x^7 + x^6 + x^5 + x + 1 generates the cyclic Golay code (23, 12, 7)."""
_CRC_POLYNOMIAL: Final = 0x80F
"""x^12 + x^11 + x^3 + x^2 + x + 1, the usual CRC-12."""
_CHOICES_PER_WORD: Final = 3
_TRIES: Final = 8


def to_bits(value: int, width: int) -> Bits:
    """Write a number as bits.

    Args:
        value: 0 <= value < 2 ** width.
        width: number of bits.

    Returns:
        ``(width,)`` of 0 and 1, most significant first.
    """
    return np.array([(value >> (width - 1 - i)) & 1 for i in range(width)], dtype=np.uint8)


def to_int(bits: Bits) -> int:
    """Read bits, ``(width,)`` of 0 and 1 and most significant first, as a number."""
    return int("".join("1" if bit else "0" for bit in bits), 2)


def crc12(bits: Bits) -> int:
    """Checksum of bits ``(n,)``: the remainder modulo the CRC-12 polynomial, 0 to 4095."""
    register = 0xFFF
    for bit in bits:
        carry = (register >> 11) ^ int(bit)
        register = (register << 1) & 0xFFF
        if carry:
            register ^= _CRC_POLYNOMIAL
    return register


@cache
def golay_words() -> Bits:
    """Return all words of the extended Golay code: ``(4096, 24)``; row i encodes the number i."""
    words = np.zeros((1 << _WORD_BITS, 2 * _WORD_BITS), dtype=np.uint8)
    for message in range(1 << _WORD_BITS):
        remainder = message << 11
        for shift in range(_WORD_BITS - 1, -1, -1):
            if remainder >> (shift + 11) & 1:
                remainder ^= _GOLAY_POLYNOMIAL << shift
        words[message, :23] = to_bits(message << 11 | remainder, 23)
    words[:, 23] = words.sum(axis=1) % 2
    words.setflags(write=False)
    return words


@cache
def _antipodal_words() -> Floats:
    signs: Floats = golay_words().astype(np.float64) * 2 - 1
    return signs


def encode(payload: Bits) -> Bits:
    """Add checksum and parity to a payload.

    Args:
        payload: ``(36,)`` bits.

    Returns:
        ``(96,)`` bits.
    """
    message = np.concatenate([payload, to_bits(crc12(payload), 12)])
    numbers = [to_int(word) for word in message.reshape(_WORDS, _WORD_BITS)]
    return golay_words()[numbers].reshape(CODE_BITS)


def decode(soft: Floats) -> tuple[Bits, Bits] | None:
    """Find the most likely payload whose checksum agrees.

    Args:
        soft: ``(96,)`` soft readings.

    Returns:
        The payload ``(36,)`` and its whole code word ``(96,)``, or None when no combination of
        likely words has a right checksum.
    """
    scores = soft.reshape(_WORDS, 2 * _WORD_BITS) @ _antipodal_words().T
    best = np.argsort(-scores, axis=1)[:, :_CHOICES_PER_WORD]
    loss = np.take_along_axis(scores, best, axis=1)
    loss = loss[:, :1] - loss
    choices = product(range(_CHOICES_PER_WORD), repeat=_WORDS)
    ranked = sorted(choices, key=lambda pick: sum(loss[i, j] for i, j in enumerate(pick)))
    for pick in ranked[:_TRIES]:
        numbers = [int(best[i, j]) for i, j in enumerate(pick)]
        message = np.concatenate([to_bits(number, _WORD_BITS) for number in numbers])
        payload, check = message[:PAYLOAD_BITS], message[PAYLOAD_BITS:]
        if crc12(payload) == to_int(check):
            return payload, golay_words()[numbers].reshape(CODE_BITS)
    return None
