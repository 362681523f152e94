//! What a guest has in its memory: a ring, tables of VT-d and of interrupt remapping.

use arbitrary::Unstructured;

use super::{
    SLOT,
    chipset::FakeChipset,
    memory::{Memory, RAM},
};
use crate::numbers::{byte, number, word};

const ROOT: u64 = 0x1000;
const CONTEXT: u64 = 0x2000;
const LEVELS: [u64; 3] = [0x3000, 0x4000, 0x5000];
const REMAPPING: u64 = 0x6000;

/// Where a channel that was started writes its completion word.
pub(super) const COMPLETION: u64 = 0x7000;

/// A number, or an address where the guest has something, or one of interrupts.
pub(super) fn value(input: &mut Unstructured<'_>) -> u64 {
    match byte(input) % 5 {
        0 => word(input, RAM),
        1 => u64::from(byte(input) % 24) << 12 | u64::from(byte(input)) << 4,
        2 => u64::from(byte(input) % 64) * 64,
        3 => 0xfee0_0000 | u64::from(number::<u16>(input)),
        _ => u64::from(byte(input)),
    }
}

/// Any word anywhere in the guest's memory.
pub(super) fn store(memory: &mut Memory, input: &mut Unstructured<'_>) {
    let at = u64::from(number::<u16>(input)) * 8 % (RAM + 0x4000);
    memory.write(at, &value(input).to_le_bytes());
}

/// A descriptor that makes sense but for its addresses and flags.
pub(super) fn describe(memory: &mut Memory, input: &mut Unstructured<'_>) {
    let (at, next, flags) = (byte(input) % 64, byte(input), byte(input));
    let operation = u64::from(flags >> 7) << 24;
    let size = u64::from(number::<u16>(input) % 9000);
    let (source, destination) = (value(input), value(input));
    let next = if next < 0xf0 { u64::from(next % 64) * 64 } else { value(input) };
    let control = u64::from(flags & 0x3f) | 0x08 | operation;
    let words = [control << 32 | size, source, destination, next];
    memory.write(u64::from(at) * 64, words.map(u64::to_le_bytes).as_flattened());
}

/// Tables that make sense, or an entry or a register that need not.
pub(super) fn translate(memory: &mut Memory, chipset: &FakeChipset, input: &mut Unstructured<'_>) {
    let context = CONTEXT + 16 * u64::from(SLOT.devfn());
    match byte(input) % 8 {
        0 | 1 => {
            same_pages(memory, context, number(input));
            let mut registers = chipset.registers();
            (registers.status, registers.root) = (registers.status | 1 << 31, ROOT);
        }
        2 => {
            // Present, fixed delivery, a vector and a destination; the table has any length.
            let entry = u64::from(byte(input)) << 40 | u64::from(byte(input)) << 16 | 1;
            memory.write(REMAPPING + 16 * u64::from(byte(input) & 7), &entry.to_le_bytes());
            let mut registers = chipset.registers();
            registers.status |= 1 << 25;
            registers.remapping = REMAPPING | u64::from(byte(input) & 0xf);
        }
        3 => chipset.registers().root = word(input, ROOT),
        4 => chipset.registers().remapping = word(input, REMAPPING),
        5 => chipset.registers().status = number(input),
        6 => memory.write(context + u64::from(byte(input) & 8), &word(input, 1).to_le_bytes()),
        _ => {
            let level = LEVELS[usize::from(byte(input)) % LEVELS.len()];
            let entry = value(input) & !0xfff | u64::from(byte(input));
            memory.write(level + 8 * u64::from(byte(input) % 24), &entry.to_le_bytes());
        }
    }
}

/// Three levels: pages stand where they are; of each, two bits say whether it is read or written.
fn same_pages(memory: &mut Memory, context: u64, rights: u64) {
    let mut put = |at: u64, word: u64| memory.write(at, &word.to_le_bytes());
    let [top, middle, low] = LEVELS;
    put(ROOT, CONTEXT | 1);
    put(context, top | 1);
    put(context + 8, 1);
    put(top, middle | 3);
    put(middle, low | 3);
    for page in 0..24 {
        put(low + 8 * page, page << 12 | rights >> (2 * page) & 3);
    }
}
