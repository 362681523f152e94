//! Whether DST holds what SRC does: both are read back and compared.

use dmaring::{Error, Region};
use serde::Serialize;

use super::{plan::Plan, progress::Progress};

/// How much is compared at a time, in bytes.
const CHUNK: usize = 1 << 20;

/// The first byte that is not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// Where in SRC, in bytes.
    pub(crate) source_offset: u64,
    /// Where in DST, in bytes.
    pub(crate) destination_offset: u64,
    /// What SRC holds there.
    pub(crate) source: u8,
    /// What DST holds there.
    pub(crate) destination: u8,
}

/// Compares the two ranges of a plan. `None`: they are equal.
pub(crate) fn compare(
    source: &Region,
    destination: &Region,
    plan: &Plan,
    progress: &mut Progress,
) -> Result<Option<Difference>, Error> {
    let mut one = vec![0; CHUNK];
    let mut other = vec![0; CHUNK];
    let mut done = 0;
    while done < plan.size {
        let part = usize::try_from(plan.size - done).map_or(CHUNK, |left| left.min(CHUNK));
        let (one, other) = (&mut one[..part], &mut other[..part]);
        source.read_at(plan.source_offset + done, one)?;
        destination.read_at(plan.destination_offset + done, other)?;
        if let Some(at) = first_difference(one, other) {
            return Ok(Some(Difference {
                source_offset: plan.source_offset + done + at as u64,
                destination_offset: plan.destination_offset + done + at as u64,
                source: one[at],
                destination: other[at],
            }));
        }
        done += part as u64;
        progress.set(done);
    }
    Ok(None)
}

fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    one.iter().zip(other).position(|(one, other)| one != other)
}

#[cfg(test)]
mod tests {
    use dmaring::Runtime;
    use dmaring_cpu::CpuEngine;

    use super::{CHUNK, Difference, compare};
    use crate::copy::{
        pattern,
        plan::{Change, Plan},
        progress::Progress,
    };

    #[test]
    fn the_first_difference_is_found_wherever_it_is() {
        let runtime = Runtime::builder().engine(CpuEngine::new()).build().unwrap();
        let size = 2 * CHUNK as u64 + 100;
        let change = Change::None;
        let plan = Plan {
            source_offset: 3,
            destination_offset: 9,
            size,
            block: size,
            depth: 1,
            change,
            durable: false,
        };
        let source = runtime.allocate(plan.source_end() as usize).unwrap();
        let destination = runtime.allocate(plan.destination_end() as usize + 1).unwrap();
        pattern::write(&source, 3, size).unwrap();
        pattern::write(&destination, 9, size).unwrap();
        let found = || compare(&source, &destination, &plan, &mut Progress::hidden()).unwrap();
        // A byte on either side of the range is not compared.
        destination.write_at(8, &[0xee]).unwrap();
        destination.write_at(plan.destination_end(), &[0xee]).unwrap();
        assert_eq!(found(), None);
        for offset in [size - 1, CHUNK as u64, CHUNK as u64 - 1, 0] {
            let mut byte = [0];
            source.read_at(3 + offset, &mut byte).unwrap();
            destination.write_at(9 + offset, &[!byte[0]]).unwrap();
            let difference = Difference {
                source_offset: 3 + offset,
                destination_offset: 9 + offset,
                source: byte[0],
                destination: !byte[0],
            };
            assert_eq!(found(), Some(difference));
        }
    }
}
