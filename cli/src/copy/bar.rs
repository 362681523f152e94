//! BARs of PCI functions as ends of a copy.

use std::cell::RefCell;

use dmaring::{BarOptions, Region, Runtime};
use dmaring_driver::{
    pci::{Address, PeerBar, PeerPath, Sysfs, bind::VFIO_DRIVER},
    vfio::Container,
};

use crate::{hardware::chain, location::Bar};

/// How BARs are opened.
#[derive(Debug)]
pub(crate) struct Bars {
    /// That of the engines, which a function bound to vfio-pci joins.
    container: Option<Container>,
    engine_reads_mmio: bool,
    /// Those that are open: a function is opened once.
    open: RefCell<Vec<(Bar, Region)>>,
}

impl Bars {
    pub(crate) fn new(container: Option<Container>, engine_reads_mmio: bool) -> Self {
        Self { container, engine_reads_mmio, open: RefCell::default() }
    }

    /// Opens a BAR: through VFIO where the function is bound to vfio-pci, else through sysfs.
    ///
    /// # Errors
    ///
    /// One line with the reason, and with what mends it.
    pub(crate) fn open(&self, runtime: &Runtime, bar: Bar) -> Result<Region, String> {
        let mut open = self.open.borrow_mut();
        if let Some((_, region)) = open.iter().find(|(other, _)| *other == bar) {
            return Ok(region.clone());
        }
        let memory = self.map(bar)?;
        let options = match self.engine_reads_mmio {
            true => BarOptions::new().engine_reads_mmio(),
            false => BarOptions::new(),
        };
        let opened = runtime.open_bar_with(memory, options);
        let region = opened.map_err(|error| error.to_string())?;
        open.push((bar, region.clone()));
        Ok(region)
    }

    fn map(&self, Bar { address, number }: Bar) -> Result<PeerBar, String> {
        let function = Sysfs::new().function(address).map_err(|error| chain(&error))?;
        if function.driver.as_deref() != Some(VFIO_DRIVER) {
            return PeerBar::open(address, number).map_err(|error| chain(&error));
        }
        let opened = match &self.container {
            Some(container) => container.bar(address, number),
            None => Container::new().and_then(|container| container.bar(address, number)),
        };
        opened.map_err(|error| chain(&error))
    }
}

/// By which way functions reach a BAR, in words that follow the engines'.
pub(crate) fn way(functions: &[Address], bar: Bar) -> String {
    let sysfs = Sysfs::new();
    let ways: Vec<_> = functions
        .iter()
        .map(|function| {
            let way = PeerPath::between(&sysfs, *function, bar.address);
            format!("; {function} reaches {bar} {way}")
        })
        .collect();
    ways.concat()
}
