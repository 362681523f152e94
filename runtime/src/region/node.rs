//! On which NUMA node memory is.
//!
//! `move_pages` without nodes to move to says where pages are; source: move_pages(2). A page that nobody has touched yet is
//! nowhere (`-ENOENT`), and says nothing: a node is known only if some page is somewhere and no two are apart.
#![allow(unsafe_code, reason = "island: asks the kernel where pages are")]

use std::ptr::NonNull;

/// How many pages are asked for, evenly spread.
const SAMPLES: usize = 16;
const PAGE: usize = 4096;

/// The node of the pages of `length` bytes at `base`, if it is one and known.
pub(super) fn of(base: NonNull<u8>, length: usize) -> Option<u32> {
    let step = (length / SAMPLES).next_multiple_of(PAGE).max(PAGE);
    let mut pages = [std::ptr::null_mut(); SAMPLES];
    let mut count = 0;
    for (page, offset) in pages.iter_mut().zip((0..length).step_by(step)) {
        *page = base.as_ptr().wrapping_add(offset).cast();
        count += 1;
    }
    let mut nodes = [-1; SAMPLES];
    query(&mut pages, &mut nodes, count).then(|| common(&nodes[..count]))?
}

/// The one node among these; a negative number is a page that is nowhere.
fn common(nodes: &[i32]) -> Option<u32> {
    let mut known = nodes.iter().filter_map(|&node| u32::try_from(node).ok());
    let first = known.next()?;
    known.all(|node| node == first).then_some(first)
}

/// Fills in the node of each page. `false`: the system does not say.
#[cfg(not(miri))]
fn query(
    pages: &mut [*mut libc::c_void; SAMPLES],
    nodes: &mut [i32; SAMPLES],
    count: usize,
) -> bool {
    // SAFETY: (1) the arrays have `SAMPLES` elements, no fewer than `count`, and outlive the call; (2) without target
    // nodes nothing is moved, and the addresses are looked up, never accessed: one that is not mapped is an error of
    // its own.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0 as libc::c_long,
            count,
            pages.as_mut_ptr(),
            std::ptr::null::<i32>(),
            nodes.as_mut_ptr(),
            0 as libc::c_long,
        )
    };
    answer == 0
}

#[cfg(miri)]
fn query(_: &mut [*mut libc::c_void; SAMPLES], _: &mut [i32; SAMPLES], _: usize) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_on_one_node_have_it_and_pages_on_two_or_nowhere_have_none() {
        assert_eq!(common(&[]), None);
        assert_eq!(common(&[-2, -2]), None);
        assert_eq!(common(&[-2, 1, -14, 1]), Some(1));
        assert_eq!(common(&[0, 1]), None);
    }

    #[test]
    #[cfg(not(miri))]
    fn touched_memory_is_on_a_node_of_the_machine_or_the_system_does_not_say() {
        let mut bytes = vec![1u8; 100_000];
        let base = NonNull::new(bytes.as_mut_ptr()).unwrap();
        if let Some(node) = of(base, bytes.len()) {
            let path = format!("/sys/devices/system/node/node{node}");
            assert!(std::path::Path::new(&path).exists(), "{path}");
        }
    }
}
