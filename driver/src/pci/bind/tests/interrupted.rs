//! Killed at any write, and what others have done since.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// Runs `act` until it is killed before a write; false if it ended before.
fn killed(kernel: &FakeKernel, number: usize, act: impl FnOnce()) -> bool {
    kernel.kill_at(Some(number));
    let killed = catch_unwind(AssertUnwindSafe(act)).is_err();
    kernel.kill_at(None);
    killed
}

/// Unbinding restores what was there, and so does unbinding after binding again.
fn expect_no_loss(what: &str, mut set_up: impl FnMut() -> (Tree, FakeKernel, State)) {
    for binds in [false, true] {
        let (tree, kernel, before) = set_up();
        let binder = binder(&tree, &kernel);
        if binds {
            binder.bind(address()).unwrap();
            assert_eq!(state(&tree), (Some("vfio-pci".into()), Some("vfio-pci".into())), "{what}");
        }
        binder.unbind(address()).unwrap();
        assert_eq!(state(&tree), before, "{what}, binds: {binds}");
        assert!(!record_exists(&tree), "{what}");
    }
}

type State = (Option<String>, Option<String>);

#[test]
fn no_kill_while_binding_loses_what_was_there() {
    for (driver, name) in BEFORE {
        let mut kills = 0;
        for number in 0..4 {
            expect_no_loss(&format!("{driver:?} {name:?} write {number}"), || {
                let (tree, kernel) = machine_with(driver, name);
                let before = state(&tree);
                let binder = binder(&tree, &kernel);
                let act = || drop(binder.bind(address()));
                kills += usize::from(killed(&kernel, number, act));
                (tree, kernel, before)
            });
        }
        assert!(kills >= 4, "{driver:?} {name:?}: {kills}");
    }
}

#[test]
fn no_kill_while_a_failed_binding_is_taken_back_loses_what_was_there() {
    for number in 3..5 {
        expect_no_loss(&format!("write {number}"), || {
            let (tree, kernel) = machine();
            let binder = binder(&tree, &kernel);
            kernel.fail(&[2]);
            assert!(killed(&kernel, number, || drop(binder.bind(address()))));
            kernel.fail(&[]);
            (tree, kernel, with("ioatdma"))
        });
    }
}

#[test]
fn no_kill_while_unbinding_loses_what_was_there() {
    for (driver, name) in BEFORE {
        let mut kills = 0;
        for number in 0..5 {
            expect_no_loss(&format!("{driver:?} {name:?} write {number}"), || {
                let (tree, kernel) = machine_with(driver, name);
                let before = state(&tree);
                let binder = binder(&tree, &kernel);
                binder.bind(address()).unwrap();
                let act = || drop(binder.unbind(address()));
                kills += usize::from(killed(&kernel, number, act));
                (tree, kernel, before)
            });
        }
        assert!(kills >= 4, "{driver:?} {name:?}: {kills}");
    }
}

#[test]
fn a_function_left_half_way_says_what_it_had() {
    let (tree, kernel) = machine();
    let binder = binder(&tree, &kernel);
    assert!(killed(&kernel, 2, || drop(binder.bind(address()))));
    assert_eq!(state(&tree), (None, Some("vfio-pci".into())));
    let bound = binder.bind(address()).unwrap();
    assert_eq!((bound.changed, bound.previous.as_deref()), (true, Some("ioatdma")));
}

#[test]
fn going_on_and_failing_gives_back_what_was_there_at_first() {
    let (tree, kernel) = machine();
    let binder = binder(&tree, &kernel);
    assert!(killed(&kernel, 2, || drop(binder.bind(address()))));
    kernel.fail(&[1]);
    let error = binder.bind(address()).unwrap_err();
    assert!(error.to_string().contains("has been given back what it had"), "{error}");
    assert_eq!(state(&tree), with("ioatdma"));
    assert!(!record_exists(&tree));
}

/// Bound, taken away by hand, and so with a record that nothing removed.
fn stale() -> (Tree, FakeKernel) {
    let (tree, kernel) = machine();
    binder(&tree, &kernel).bind(address()).unwrap();
    tree.remove(&format!("bus/pci/devices/{ADDRESS}/driver"));
    tree.function(ADDRESS, 0x2021);
    assert!(record_exists(&tree));
    (tree, kernel)
}

#[test]
fn an_old_record_is_not_of_what_somebody_else_bound() {
    let (tree, kernel) = stale();
    // As with new_id: without an override.
    tree.function(ADDRESS, 0x2021).driver("vfio-pci");
    kernel.writes();
    let error = binder(&tree, &kernel).unbind(address()).unwrap_err();
    assert!(matches!(error, BindError::NotOurs { .. }), "{error}");
    assert!(kernel.writes().is_empty());
}

#[test]
fn an_old_record_goes_when_the_function_is_seen_without_it() {
    let (tree, kernel) = stale();
    assert!(!binder(&tree, &kernel).unbind(address()).unwrap().changed);
    assert!(!record_exists(&tree));
    let (tree, kernel) = stale();
    tree.function(ADDRESS, 0x2021).driver("uio_pci_generic");
    let binder = binder(&tree, &kernel);
    assert_eq!(binder.bind(address()).unwrap().previous.as_deref(), Some("uio_pci_generic"));
    binder.unbind(address()).unwrap();
    assert_eq!(state(&tree), with("uio_pci_generic"));
}

#[test]
fn a_kill_while_unbinding_does_not_take_what_somebody_else_has_since() {
    let (tree, kernel) = machine();
    let binder = binder(&tree, &kernel);
    binder.bind(address()).unwrap();
    assert!(killed(&kernel, 2, || drop(binder.unbind(address()))));
    tree.function(ADDRESS, 0x2021).driver("uio_pci_generic");
    kernel.writes();
    assert!(!binder.unbind(address()).unwrap().changed);
    assert!(kernel.writes().is_empty() && !record_exists(&tree));
}
