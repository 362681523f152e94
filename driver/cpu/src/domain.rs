//! The host's own addresses as an address space.
#![allow(unsafe_code, reason = "implements the DmaMap contract; holds no unsafe block")]

use std::{
    ptr::NonNull,
    sync::{Arc, OnceLock},
};

use dmaring_engine::{DmaMap, Iova, MapError, Rights};

/// The address space of every CPU engine of the process.
pub(crate) fn host() -> Arc<dyn DmaMap> {
    static HOST: OnceLock<Arc<HostAddresses>> = OnceLock::new();
    let host = HOST.get_or_init(|| Arc::new(HostAddresses));
    Arc::<HostAddresses>::clone(host)
}

/// Every mapping of the process is reachable as it is: mapping only tells the address.
#[derive(Debug)]
struct HostAddresses;

// SAFETY: (1) the address returned is that of the memory itself; (2) rights are not enforced beyond
// those of the process's own page tables, which cannot tell the CPU engine from the rest of the
// process; (3) CPU engines touch memory only for transfers, and `unmap`'s caller swears that none
// is outstanding; what is ahead of one they prefetch within the call, which is no access.
unsafe impl DmaMap for HostAddresses {
    fn granule(&self) -> usize {
        1
    }

    unsafe fn map(
        &self,
        memory: NonNull<u8>,
        _length: usize,
        _rights: Rights,
    ) -> Result<Iova, MapError> {
        // Exposed, so that the engine may make a pointer of the number again.
        Ok(Iova::new(memory.as_ptr().expose_provenance() as u64))
    }

    unsafe fn unmap(&self, _iova: Iova, _length: usize) -> Result<(), MapError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::host;
    use std::sync::Arc;

    #[test]
    fn there_is_one_domain() {
        assert!(Arc::ptr_eq(&host(), &host()));
        assert_eq!(host().granule(), 1);
    }
}
