//! Bytes to copy where there is no file: the same in every run, no two pages alike.

use dmaring::{Error, Region};

/// How many bytes are made at a time.
const CHUNK: usize = 1 << 20;

/// What a destination is filled with before the copy, so that its pages are there and bytes left out show.
const FILLER: u8 = 0xa5;

/// A sequence of bytes from a fixed seed (xorshift64*).
#[derive(Debug)]
pub(crate) struct Pattern {
    state: u64,
}

impl Default for Pattern {
    fn default() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl Pattern {
    /// Fills `buffer` with the sequence's next bytes. Its length is a multiple of 8, or it is the last one.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            let bytes = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            let length = word.len();
            word.copy_from_slice(&bytes[..length]);
        }
    }
}

/// Writes the pattern to `length` bytes at `offset` of a region.
pub(crate) fn write(region: &Region, offset: u64, length: u64) -> Result<(), Error> {
    let mut pattern = Pattern::default();
    in_chunks(region, offset, length, |chunk| pattern.fill(chunk))
}

/// Writes what is not the pattern to `length` bytes at `offset` of a region.
pub(crate) fn overwrite(region: &Region, offset: u64, length: u64) -> Result<(), Error> {
    in_chunks(region, offset, length, |chunk| chunk.fill(FILLER))
}

/// Does to a plain buffer what [`write()`] does to a region.
pub(crate) fn write_plain(buffer: &mut [u8]) {
    let mut pattern = Pattern::default();
    buffer.chunks_mut(CHUNK).for_each(|chunk| pattern.fill(chunk));
}

/// Does to a plain buffer what [`overwrite`] does to a region.
pub(crate) fn overwrite_plain(buffer: &mut [u8]) {
    buffer.fill(FILLER);
}

fn in_chunks(
    region: &Region,
    offset: u64,
    length: u64,
    mut make: impl FnMut(&mut [u8]),
) -> Result<(), Error> {
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        let part = usize::try_from(length - done).map_or(CHUNK, |left| left.min(CHUNK));
        make(&mut chunk[..part]);
        region.write_at(offset + done, &chunk[..part])?;
        done += part as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Pattern, write_plain};

    #[test]
    fn the_pattern_is_the_same_whatever_the_chunks_and_no_two_pages_are_alike() {
        let mut whole = vec![0; CHUNK + 4099];
        Pattern::default().fill(&mut whole);
        let mut chunked = vec![0; CHUNK + 4099];
        write_plain(&mut chunked);
        assert!(whole == chunked);
        let mut pages: Vec<_> = whole.chunks(4096).collect();
        pages.sort_unstable();
        assert!(pages.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
