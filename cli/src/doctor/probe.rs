//! Opening a function, to see whether it works and what it can do.

use dmaring_driver::pci::GroupState;

use crate::machine::FunctionFacts;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probed {
    /// What its channel says of itself.
    Opened(String),
    /// It was not opened, because.
    Skipped(String),
    /// It could not be opened.
    Failed(String),
}

/// Opens a function that nobody uses, which claims and resets its channel, and closes it again. The kernel says then
/// whether other functions of the group are in the way.
pub(crate) fn probe(
    facts: &FunctionFacts,
    open: impl FnOnce() -> Result<String, String>,
) -> Probed {
    let because = if !facts.is_bound() {
        "it is not bound to vfio-pci"
    } else if facts.unprotected {
        "no IOMMU keeps it to its memory"
    } else if !facts.holders.is_empty() {
        "it is in use"
    } else if !matches!(facts.node, Some(GroupState::Free)) {
        "its group may not be opened"
    } else {
        return open().map_or_else(Probed::Failed, Probed::Opened);
    };
    Probed::Skipped(because.to_owned())
}
