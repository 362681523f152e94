use std::process;

use super::{Error, User};

fn busy(pids: &[u32]) -> String {
    let user = |pid: &u32| User { pid: *pid, command: "copier".to_owned() };
    let (address, users) = ("0000:00:05.0".parse().unwrap(), pids.iter().map(user).collect());
    Error::Busy { address, group: 7, users }.to_string()
}

#[test]
fn who_is_in_the_way_is_named_with_what_ends_it() {
    assert!(busy(&[812]).ends_with("by pid 812 (copier); `sudo kill 812` ends it"));
    assert!(busy(&[812, 900]).ends_with("; `sudo kill 812 900` ends them"));
    assert!(
        busy(&[process::id()]).contains("this process") && !busy(&[process::id()]).contains("kill")
    );
    assert!(busy(&[]).contains("`sudo fuser -v /dev/vfio/*`"));
}

#[test]
fn what_vfio_allows_of_the_registers_is_in_words() {
    let error = |flags| {
        let address = "0000:00:05.0".parse().unwrap();
        Error::Registers { address, bytes: 4096, flags }.to_string()
    };
    assert!(error(0b011).contains("4096 bytes, for reading, writing: 16384"), "{}", error(3));
    assert!(error(0).contains("for nothing") && error(0).contains("lspci -vs 0000:00:05.0"));
}
