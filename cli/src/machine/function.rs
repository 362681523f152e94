//! An I/OAT function and what surrounds it.

use dmaring_driver::pci::{
    Function, GroupState, Holder, Sysfs, SysfsError, bind::VFIO_DRIVER, group_access, group_state,
    holders,
};

use super::{Groups, Roots};

/// An I/OAT function and what surrounds it.
#[derive(Debug)]
pub(crate) struct FunctionFacts {
    pub(crate) function: Function,
    /// The functions of its group that are likely to keep VFIO from giving it away: the kernel knows.
    pub(crate) in_the_way: Vec<Function>,
    /// Whether its group was made up by vfio's no-IOMMU mode.
    pub(crate) unprotected: bool,
    pub(crate) holders: Vec<Holder>,
    /// The node of its group.
    pub(crate) node: Option<GroupState>,
}

impl FunctionFacts {
    /// Every I/OAT function.
    pub(super) fn look(roots: &Roots, sysfs: &Sysfs, groups: Groups) -> Result<Vec<Self>, String> {
        let functions = sysfs.ioat_functions().map_err(|error| error.to_string())?;
        let facts = functions.into_iter().map(|function| Self::of(roots, sysfs, function, groups));
        facts.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn of(
        roots: &Roots,
        sysfs: &Sysfs,
        function: Function,
        groups: Groups,
    ) -> Result<Self, SysfsError> {
        let group = function.iommu_group;
        let members = group.map_or_else(|| Ok(Vec::new()), |group| sysfs.group_members(group))?;
        let in_the_way = members
            .into_iter()
            .filter(|member| member.address != function.address && member.holds_group_back())
            .collect();
        let holders = holders(sysfs, &roots.proc, &roots.dev, &function)?;
        let open = groups == Groups::Opened && holders.is_empty();
        let state = if open { group_state } else { group_access };
        Ok(Self {
            in_the_way,
            unprotected: group.is_some_and(|group| sysfs.is_no_iommu_group(group)),
            holders,
            node: group.map(|group| state(&roots.dev, group)),
            function,
        })
    }

    /// Whether `vfio-pci` has it.
    pub(crate) fn is_bound(&self) -> bool {
        self.function.driver.as_deref() == Some(VFIO_DRIVER)
    }
}
