//! `dmaring bind` and `dmaring unbind`.
//!
//! All functions are checked before the first is changed: a refusal leaves every one as it was.

use std::io::{self, Write};

use dmaring_driver::pci::{
    Address, BindError, Binder,
    bind::{Bound, Unbound},
};

use crate::{args::BindArguments, doctor::checks::function::release, failure::Failure};

pub(crate) fn bind(arguments: &BindArguments) -> Result<(), Failure> {
    let binder = Binder::new();
    let addresses = &arguments.addresses;
    check(addresses, |address| binder.check_bind(address))?;
    let mut bound = Vec::new();
    for address in addresses {
        let one = binder.bind(*address).map_err(|error| failure(error, changed(&bound)))?;
        say(&bound_line(&one))?;
        bound.push(one);
    }
    for one in &bound {
        for other in &one.held_back_by {
            if !addresses.contains(&other.address) {
                say(&format!(
                    "warning: VFIO keeps group {} back as long as a host driver has {}: {}",
                    one.group,
                    other.address,
                    release(other)
                ))?;
            }
        }
    }
    Ok(())
}

pub(crate) fn unbind(arguments: &BindArguments) -> Result<(), Failure> {
    let binder = Binder::new();
    check(&arguments.addresses, |address| binder.check_unbind(address))?;
    let mut any = false;
    for address in &arguments.addresses {
        let one = binder.unbind(*address).map_err(|error| failure(error, any))?;
        say(&unbound_line(&one))?;
        any |= one.changed;
    }
    Ok(())
}

fn check(
    addresses: &[Address],
    check: impl Fn(Address) -> Result<(), BindError>,
) -> Result<(), Failure> {
    addresses
        .iter()
        .try_for_each(|address| check(*address))
        .map_err(|error| Failure::Refused(error.to_string()))
}

fn changed(bound: &[Bound]) -> bool {
    bound.iter().any(|one| one.changed)
}

/// A refusal, unless something was changed before or by this.
fn failure(error: BindError, changed: bool) -> Failure {
    let message = error.to_string();
    if changed || error.is_midway() { Failure::Failed(message) } else { Failure::Refused(message) }
}

fn bound_line(bound: &Bound) -> String {
    let Bound { address, group, .. } = bound;
    if !bound.changed {
        return format!("{address}: is bound to vfio-pci already, group {group}");
    }
    let previous = bound.previous.as_deref().unwrap_or("no driver");
    format!("{address}: bound to vfio-pci, group {group}; it had {previous}")
}

fn unbound_line(unbound: &Unbound) -> String {
    let address = unbound.address;
    let driver = unbound.driver.as_deref().unwrap_or("no driver");
    if unbound.changed {
        format!("{address}: unbound from vfio-pci; it has {driver} again")
    } else {
        format!("{address}: is not bound to vfio-pci; it has {driver}")
    }
}

/// A reader that has left is no failure: what is done is done.
fn say(line: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("the output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use dmaring_driver::pci::BindError;

    use super::failure;
    use crate::failure::Failure;

    #[test]
    fn a_refusal_after_a_change_is_a_failure() {
        let error = || BindError::NoIommu { address: "0000:00:04.0".parse().unwrap() };
        assert!(matches!(failure(error(), false), Failure::Refused(_)));
        assert!(matches!(failure(error(), true), Failure::Failed(_)));
    }
}
