//! How the poller passes the time between spinning and sleeping.

use dmaring_ring::watch::Monitor;

use super::{Poller, idle::Ring};

impl Poller {
    /// Dozes, then looks at everything. `busy`: something is in flight.
    ///
    /// A doze may last as long as the turns between two looks do otherwise, or longer, so a look follows each.
    #[cold]
    pub(super) fn doze(&mut self, busy: bool) {
        self.ports.iter_mut().for_each(super::Port::settle);
        let only = match self.ports.as_slice() {
            [port] => Some(|monitor: &mut dyn Monitor| port.wait(monitor)),
            _ => None,
        };
        let ring = only.as_ref().map(|ring| ring as Ring<'_>);
        self.idler.doze(busy, ring);
        self.look_soon();
    }
}
