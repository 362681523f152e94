//! The checks: from facts to findings, without looking at anything.

pub(crate) mod function;
pub(crate) mod host;
pub(crate) mod iommu;
pub(crate) mod memory;
