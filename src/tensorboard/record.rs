//! TFRecord framing: length, its checksum, the bytes, their checksum.

use crc::{CRC_32_ISCSI, Crc};

/// CRC-32C.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// What the format adds to a rotated checksum, so that a checksum of data that contains checksums is not degenerate.
const MASK: u32 = 0xa282_ead8;

/// `bytes` as one record: `len: u64 le`, `masked(len): u32 le`, bytes, `masked(bytes): u32 le`.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked(&length).to_le_bytes());
    record.extend_from_slice(bytes);
    record.extend_from_slice(&masked(bytes).to_le_bytes());
    record
}

/// `((crc >> 15) | (crc << 17)) + MASK`.
fn masked(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        // The check value of CRC-32C (RFC 3720, B.4: 32 bytes of zero).
        assert_eq!(CRC.checksum(&[0; 32]), 0x8a91_36aa);
    }
}
