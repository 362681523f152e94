//! What of a processor decides which of its instructions are used.

use std::arch::x86_64::__cpuid;

/// The family of Zen 5, on which reading ahead was measured to be best.
const FIRST: u32 = 0x1a;

/// Whether copies that read ahead are the fastest on this processor.
///
/// Measured on AMD's family 0x1a, whose figures `docs/performance.md` has, and taken to be so on those that follow.
pub(super) fn is_best_ahead() -> bool {
    let vendor = __cpuid(0);
    is_amd([vendor.ebx, vendor.edx, vendor.ecx])
        && vendor.eax >= 1
        && family(__cpuid(1).eax) >= FIRST
}

fn is_amd(vendor: [u32; 3]) -> bool {
    vendor.map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
}

/// The family, from leaf 1's EAX: the base family and, where that is 15, the extended one added (AMD64 Architecture
/// Programmer's Manual, volume 3, `CPUID` function 1; Intel's manual, volume 2, `CPUID`, says the same).
fn family(signature: u32) -> u32 {
    let base = signature >> 8 & 0xf;
    if base == 0xf { base + (signature >> 20 & 0xff) } else { base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_vendors_are_told_apart() {
        // EPYC 9005 (Turin), EPYC 7002 (Rome), Xeon Gold of the third generation.
        assert_eq!([0x00b0_0f21, 0x0083_0f10, 0x0006_06a6].map(family), [0x1a, 0x17, 6]);
        let words = |name: &[u8; 12]| {
            let word = |at: usize| {
                u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]])
            };
            [word(0), word(4), word(8)]
        };
        assert!(is_amd(words(b"AuthenticAMD")) && !is_amd(words(b"GenuineIntel")));
    }
}
