//! The CRC-64 of RDB: the polynomial of Jones, reflected, beginning with 0.

const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9;

/// What each value of a byte adds.
const TABLE: [u64; 256] = {
    let reflected = POLYNOMIAL.reverse_bits();
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { reflected } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

pub(super) fn crc64(bytes: &[u8]) -> u64 {
    extend(0, bytes)
}

/// The checksum of what `crc` is that of, and of `bytes` behind it.
pub(super) fn extend(crc: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(crc, |crc, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::{crc64, extend};

    #[test]
    fn the_check_value_is_the_published_one() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
        assert_eq!(extend(crc64(b"1234"), b"56789"), crc64(b"123456789"));
    }
}
