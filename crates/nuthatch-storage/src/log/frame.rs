//! The bytes of a segment's header and of its frames' headers.
//!
//! ```text
//! segment | preamble 16 | salt 8 | first sequence 8 | created 8 | checksum 4 | flags 4 |
//! frame   | marker 4 | checksum 4 | checksum of the payload 4 | length 4 | flags 4 | count 4
//!         | first sequence 8 | time 8 | synced 8 | length bytes of whole records |
//! ```
//!
//! A frame's first checksum is over the salt, the frame's offset in the file, and the header behind it; with the
//! payload's checksum it covers the payload too. Two of them, because then a header can be believed, and frames
//! be searched for, without reading what they hold.

use crate::Sequence;
use crate::error::StorageError;
use crate::files::{FileKind, PREAMBLE_BYTES};

pub(crate) const SEGMENT_HEADER_BYTES: usize = 48;
pub(crate) const FRAME_HEADER_BYTES: usize = 48;

/// The most that one frame takes.
pub const MAX_PAYLOAD_BYTES: u64 = u32::MAX as u64;

/// Begins every frame. No text, and no two of its bytes are alike, so that it is found where it begins.
pub(crate) const MARKER: [u8; 4] = *b"\xf7NF\x9a";

const BEGINS_ANEW: u32 = 1;

const GOES_ON: u32 = 1;
const SEAL: u32 = 1 << 1;

/// Where the fields that a frame's checksum covers begin.
const COVERED: usize = 8;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("within the header"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("within the header"))
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// A random number that enters all checksums of the segment.
    pub salt: u64,
    /// The sequence of its first record.
    pub first: Sequence,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Whether it begins a log, rather than continuing the segment before it.
    pub begins_anew: bool,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..PREAMBLE_BYTES].copy_from_slice(&FileKind::Segment.preamble());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.created_ms.to_le_bytes());
        let flags = if self.begins_anew { BEGINS_ANEW } else { 0 };
        bytes[44..].copy_from_slice(&flags.to_le_bytes());
        let checksum = Self::checksum(&bytes);
        bytes[40..44].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header whose preamble is of a known version.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, &'static str> {
        if u32_at(bytes, 40) != Self::checksum(bytes) {
            return Err("the header's checksum differs");
        }
        let flags = u32_at(bytes, 44);
        if flags & !BEGINS_ANEW != 0 {
            return Err("the header has unknown flags");
        }
        Ok(Self {
            salt: u64_at(bytes, 16),
            first: u64_at(bytes, 24),
            created_ms: u64_at(bytes, 32),
            begins_anew: flags & BEGINS_ANEW != 0,
        })
    }

    fn checksum(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..40]), &bytes[44..])
    }
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The length of its records, in bytes.
    pub length: u32,
    /// How many records it has.
    pub count: u32,
    /// Whether the next frame belongs to the same group.
    pub goes_on: bool,
    /// Whether it has no records and says that another segment follows.
    pub is_seal: bool,
    /// The sequence of its first record, or of the next segment's.
    pub first: Sequence,
    /// When its first record was applied, or earlier, in milliseconds since 1970.
    pub time_ms: u64,
    /// Up to where its file was synced when it was written.
    pub synced_bytes: u64,
    /// Of its records' bytes.
    pub(crate) payload_checksum: u32,
}

impl Frame {
    pub(crate) fn of(
        records: &[u8],
        count: u64,
        goes_on: bool,
        first: Sequence,
        time_ms: u64,
        synced_bytes: u64,
    ) -> Result<Self, StorageError> {
        assert!(count > 0, "a frame has records");
        let len = records.len() as u64;
        // Each record takes a byte at least, so the count is the smaller number.
        let too_large = |_| StorageError::TooLarge {
            len,
            max: MAX_PAYLOAD_BYTES,
        };
        Ok(Self {
            length: u32::try_from(len).map_err(too_large)?,
            count: u32::try_from(count).map_err(too_large)?,
            goes_on,
            is_seal: false,
            first,
            time_ms,
            synced_bytes,
            payload_checksum: crc32c::crc32c(records),
        })
    }

    pub(crate) fn seal(next: Sequence, time_ms: u64, synced_bytes: u64) -> Self {
        Self {
            length: 0,
            count: 0,
            goes_on: false,
            is_seal: true,
            first: next,
            time_ms,
            synced_bytes,
            payload_checksum: crc32c::crc32c(&[]),
        }
    }

    /// The sequence after its last record.
    pub(crate) fn end(&self) -> Sequence {
        self.first.saturating_add(u64::from(self.count))
    }

    /// The frame's length in the file.
    pub(crate) fn total_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.length)
    }

    pub(crate) fn encode(&self, salt: u64, offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&MARKER);
        bytes[8..12].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        let goes_on = if self.goes_on { GOES_ON } else { 0 };
        let seal = if self.is_seal { SEAL } else { 0 };
        bytes[16..20].copy_from_slice(&(goes_on | seal).to_le_bytes());
        bytes[20..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes[40..].copy_from_slice(&self.synced_bytes.to_le_bytes());
        let checksum = Self::checksum(&bytes, salt, offset);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at `offset` of a segment with this salt, if one is there.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], salt: u64, offset: u64) -> Option<Self> {
        if bytes[..4] != MARKER || u32_at(bytes, 4) != Self::checksum(bytes, salt, offset) {
            return None;
        }
        let flags = u32_at(bytes, 16);
        let frame = Self {
            length: u32_at(bytes, 12),
            count: u32_at(bytes, 20),
            goes_on: flags & GOES_ON != 0,
            is_seal: flags & SEAL != 0,
            first: u64_at(bytes, 24),
            time_ms: u64_at(bytes, 32),
            synced_bytes: u64_at(bytes, 40),
            payload_checksum: u32_at(bytes, 8),
        };
        frame.is_sensible(flags, offset).then_some(frame)
    }

    /// Whether a writer can have written it. One that none can have written, under a right checksum, is as
    /// good as none.
    fn is_sensible(&self, flags: u32, offset: u64) -> bool {
        let flags_are_known = matches!(flags, 0 | GOES_ON | SEAL);
        flags_are_known
            && self.is_seal == (self.count == 0)
            && self.is_seal == (self.length == 0)
            && self.count <= self.length
            && self.first.checked_add(u64::from(self.count)).is_some()
            && self.synced_bytes <= offset
    }

    fn checksum(bytes: &[u8; FRAME_HEADER_BYTES], salt: u64, offset: u64) -> u32 {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&salt.to_le_bytes());
        place[8..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&place), &bytes[COVERED..])
    }
}
