//! What of a processor decides which of its instructions are used.

use std::arch::x86_64::__cpuid;

/// Zen 3 and Zen 4.
pub(super) const ZEN_3: u32 = 0x19;
/// Zen 5.
pub(super) const ZEN_5: u32 = 0x1a;

/// The family of one of AMD's processors.
pub(super) fn amd_family() -> Option<u32> {
    let vendor = __cpuid(0);
    let is_known = is_amd([vendor.ebx, vendor.edx, vendor.ecx]) && vendor.eax >= 1;
    is_known.then(|| family(__cpuid(1).eax))
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
        // EPYC 9005 (Turin), EPYC 7003 (Milan), EPYC 7002 (Rome), Xeon Gold of the third generation.
        let signatures = [0x00b0_0f21, 0x00a0_0f11, 0x0083_0f10, 0x0006_06a6];
        assert_eq!(signatures.map(family), [0x1a, 0x19, 0x17, 6]);
        let words = |name: &[u8; 12]| {
            let word = |at: usize| {
                u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]])
            };
            [word(0), word(4), word(8)]
        };
        assert!(is_amd(words(b"AuthenticAMD")) && !is_amd(words(b"GenuineIntel")));
    }
}
