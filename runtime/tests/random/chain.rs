//! A chain of fenced copies carries a value through its cells, whatever else is going on.

use std::mem;

use dmaring::{Region, Runtime};
use futures::executor::block_on;

use crate::{common::bytes, random::Random};

const CELL: u64 = 64;
const CELLS: u64 = 12;

/// A region for one thread's chains.
pub(crate) fn region(runtime: &Runtime) -> Region {
    runtime.allocate((CELL * CELLS) as usize).unwrap()
}

/// Sends a random value through the chain and checks every cell. Links are awaited late, forgotten or dropped.
pub(crate) fn run(random: &mut Random, chain: &Region, forgets: bool) {
    let value = random.word();
    let mut held = vec![Link::Fill(chain.fill(0, CELL, value).fence().submit())];
    for cell in 1..CELLS {
        let link = chain.copy((cell - 1) * CELL, cell * CELL, CELL).fence();
        match random.below(3) {
            0 if forgets => mem::forget(link.submit()),
            // In the ring it happens, though its future is dropped; waiting for a place it would not.
            1 => match link.try_submit() {
                Ok(submitted) => drop(submitted),
                Err(rejected) => held.push(Link::Copy(rejected.operation.submit())),
            },
            _ => held.push(Link::Copy(link.submit())),
        }
    }
    // The chain's end, for whichever links are gone.
    assert_eq!(block_on(chain.copy(0, CELL, 8).fence()).unwrap(), 8);
    for link in held {
        let written = match link {
            Link::Fill(fill) => block_on(fill),
            Link::Copy(copy) => block_on(copy),
        };
        assert_eq!(written.unwrap(), CELL);
    }
    for cell in 0..CELLS {
        let expected = value.to_le_bytes().repeat(CELL as usize / 8);
        assert_eq!(bytes(chain, cell * CELL, CELL as usize), expected, "cell {cell}");
    }
}

enum Link {
    Copy(dmaring::Copy),
    Fill(dmaring::Fill),
}
