//! VT-d's tables, built by hand in the guest's memory.

use crate::rig::Ram;

pub(crate) const READ: u64 = 1;
pub(crate) const WRITE: u64 = 2;
pub(crate) const LARGE: u64 = 0x80;

/// Tables from 1 MiB on, the root table first.
pub(crate) struct Tables<'a> {
    ram: &'a Ram,
    next: u64,
}

/// The root table.
pub(crate) const ROOT: u64 = 0x10_0000;
/// The context table of bus 0.
pub(crate) const CONTEXT: u64 = 0x10_1000;

impl<'a> Tables<'a> {
    /// A root entry for bus 0 and an empty context table.
    pub(crate) fn new(ram: &'a Ram) -> Self {
        ram.set_word(ROOT, CONTEXT | 1);
        Self { ram, next: 0x10_2000 }
    }

    /// A context entry of `devfn` for page tables of this many levels; gives the topmost table.
    pub(crate) fn domain(&mut self, devfn: u64, levels: u64) -> u64 {
        let top = self.page();
        self.context(devfn, top | 1, levels - 2);
        top
    }

    pub(crate) fn context(&self, devfn: u64, low: u64, high: u64) {
        self.ram.set_word(CONTEXT + 16 * devfn, low);
        self.ram.set_word(CONTEXT + 16 * devfn + 8, high);
    }

    /// Maps the page of `level` at `iova`, with rights at every level; gives the address of each entry, the
    /// topmost first.
    pub(crate) fn map(&mut self, top: (u64, u64), iova: u64, to: u64, level: u64) -> Vec<u64> {
        let (mut table, levels) = top;
        let mut entries = Vec::new();
        for at in (level..=levels).rev() {
            let entry = table + 8 * (iova >> (12 + 9 * (at - 1)) & 0x1ff);
            entries.push(entry);
            if at == level {
                let large = if level > 1 { LARGE } else { 0 };
                self.ram.set_word(entry, to | large | READ | WRITE);
            } else {
                if self.ram.word(entry) & 3 == 0 {
                    let page = self.page();
                    self.ram.set_word(entry, page | READ | WRITE);
                }
                table = self.ram.word(entry) & !0xfff;
            }
        }
        entries
    }

    fn page(&mut self) -> u64 {
        self.next += 0x1000;
        self.next - 0x1000
    }
}
