//! An I/OAT function and what surrounds it.

use dmaring_driver::pci::{
    Function, GroupState, Holder, Sysfs, SysfsError, bind::VFIO_DRIVER, group_state, holders,
};

use super::Roots;

/// An I/OAT function and what surrounds it.
#[derive(Debug)]
pub(crate) struct FunctionFacts {
    pub(crate) function: Function,
    /// The functions of its group that keep VFIO from giving it away.
    pub(crate) in_the_way: Vec<Function>,
    /// Whether its group was made up by vfio's no-IOMMU mode.
    pub(crate) unprotected: bool,
    pub(crate) holders: Vec<Holder>,
    /// The node of its group.
    pub(crate) node: Option<GroupState>,
}

impl FunctionFacts {
    /// Every I/OAT function.
    pub(super) fn look(roots: &Roots, sysfs: &Sysfs) -> Result<Vec<Self>, String> {
        let functions = sysfs.ioat_functions().map_err(|error| error.to_string())?;
        let facts = functions.into_iter().map(|function| Self::of(roots, sysfs, function));
        facts.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    fn of(roots: &Roots, sysfs: &Sysfs, function: Function) -> Result<Self, SysfsError> {
        let group = function.iommu_group;
        let members = group.map_or_else(|| Ok(Vec::new()), |group| sysfs.group_members(group))?;
        let in_the_way = members
            .into_iter()
            .filter(|member| member.address != function.address && member.holds_group_back())
            .collect();
        Ok(Self {
            in_the_way,
            unprotected: group.is_some_and(|group| sysfs.is_no_iommu_group(group)),
            holders: holders(sysfs, &roots.proc, &roots.dev, &function)?,
            node: group.map(|group| group_state(&roots.dev, group)),
            function,
        })
    }

    /// Whether `vfio-pci` has it.
    pub(crate) fn is_bound(&self) -> bool {
        self.function.driver.as_deref() == Some(VFIO_DRIVER)
    }
}
