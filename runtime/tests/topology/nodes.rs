//! Operations go to engines that are near.

use dmaring::{Builder, Placement, Region, Runtime, Striping};
use dmaring_manual::{Control, Recovery};
use futures::executor::block_on;

use crate::{
    common::{LONG, READ_ERROR, bytes, eventually, never_parking, pattern, region_of},
    eight_channels, manual, moved,
};

/// Engines 0 and 1 on nodes 0 and 1, and 2 on none; regions on nodes 0 and 1.
fn three(builder: Builder) -> (Runtime, [Control; 3], [Region; 2]) {
    let (runtime, controls) = manual(builder, |number, engine| match number {
        2 => engine,
        node => engine.numa_node(node as u32),
    });
    let regions = [0, 1].map(|node| {
        let region = region_of(&runtime, &pattern(node as usize, 1 << 16));
        region.set_numa_node(Some(node));
        region
    });
    controls.iter().for_each(Control::release);
    (runtime, controls, regions)
}

/// Which engines took copies of 64 bytes between these.
fn takers(runtime: &Runtime, source: &Region, destination: &Region) -> [bool; 3] {
    let before = moved(&runtime.stats());
    let copies: Vec<_> =
        (0..12).map(|n| source.copy_to(n * 64, destination, (100 + n) * 64, 64).submit()).collect();
    copies.into_iter().for_each(|copy| assert_eq!(block_on(copy).unwrap(), 64));
    let after = moved(&runtime.stats());
    std::array::from_fn(|engine| after[engine] > before[engine])
}

#[test]
fn placement_is_local_to_the_destination_unless_told() {
    let (runtime, _controls, [zero, one]) = three(never_parking());
    assert_eq!(takers(&runtime, &zero, &one), [false, true, true]);
    assert_eq!(takers(&runtime, &one, &zero), [true, false, true]);
    assert_eq!((zero.numa_node(), one.numa_node()), (Some(0), Some(1)));
    // What is on no node, or on one without engines, is near to nobody in particular.
    one.set_numa_node(None);
    assert_eq!(takers(&runtime, &zero, &one), [true, true, true]);
    one.set_numa_node(Some(7));
    assert_eq!(takers(&runtime, &zero, &one), [false, false, true]);
}

#[test]
fn placement_is_local_to_the_source_or_anywhere_if_told() {
    let (runtime, _controls, [zero, one]) =
        three(never_parking().placement(Placement::LocalToSource));
    assert_eq!(takers(&runtime, &zero, &one), [true, false, true]);
    let filled = moved(&runtime.stats());
    let fills: Vec<_> = (0..6).map(|n| one.fill(n * 64, 64, n).submit()).collect();
    fills.into_iter().for_each(|fill| assert_eq!(block_on(fill).unwrap(), 64));
    let after = moved(&runtime.stats());
    assert_eq!(after[0], filled[0], "a fill has no source");
    assert!(after[1] > filled[1]);
    let (runtime, _controls, [zero, one]) = three(never_parking().placement(Placement::Any));
    assert_eq!(takers(&runtime, &zero, &one), [true, true, true]);
}

#[test]
fn engines_that_are_far_stand_in_for_those_that_are_lost() {
    let (runtime, [near, far]) =
        manual(never_parking(), |number, engine| engine.numa_node(number as u32));
    let region = region_of(&runtime, &pattern(1, 4096));
    region.set_numa_node(Some(0));
    near.set_recovery(Recovery::Fails { steps: 0, status: READ_ERROR });
    let copies = [1, 2].map(|n| region.copy(0, n * 512, 64).submit());
    near.wait_for_submitted(2);
    near.fail_channel(0, READ_ERROR);
    far.wait_for_submitted(1);
    far.release();
    let made = copies.map(block_on);
    assert!(made[0].is_err() && made[1].is_ok());
    assert_eq!(block_on(region.copy(0, 2048, 64)).unwrap(), 64);
    near.set_recovery(Recovery::Succeeds { steps: 0 });
    block_on(runtime.restore_engine("engine0")).unwrap();
    let again = region.copy(0, 1024, 64).submit();
    near.wait_for_submitted(1);
    near.release();
    assert_eq!(block_on(again).unwrap(), 64);
}

#[test]
fn eight_emulated_channels_on_two_nodes_copy_on_their_own_node() {
    let builder = never_parking().ring_entries(64);
    let (runtime, rigs) =
        eight_channels(builder.striping(Striping { from: 1 << 18, stripe: 1 << 16 }));
    let contents = pattern(5, 1 << 20);
    let source = region_of(&runtime, &contents);
    let destination = runtime.allocate((1 << 20) + 16).unwrap();
    source.set_numa_node(Some(0));
    for node in [0, 1] {
        destination.set_numa_node(Some(node));
        let before = moved(&runtime.stats());
        assert_eq!(
            block_on(source.copy_to(3, &destination, 5, (1 << 20) - 3)).unwrap(),
            (1 << 20) - 3
        );
        let after = moved(&runtime.stats());
        let shares: Vec<_> =
            after.iter().zip(before).map(|(after, before)| after - before).collect();
        let (near, far) = shares.split_at(4);
        let (near, far) = if node == 0 { (near, far) } else { (far, near) };
        assert!(near.iter().all(|&share| share > 0), "every channel of node {node}: {shares:?}");
        assert!(far.iter().all(|&share| share == 0), "no channel of the other: {shares:?}");
        assert_eq!(bytes(&destination, 5, (1 << 20) - 3), contents[3..]);
        destination.write_at(0, &vec![0; 1 << 20]).unwrap();
    }
    let stats = runtime.stats();
    assert_eq!(
        (stats.completed, stats.violations),
        (2, 0),
        "an operation is one, however it was split"
    );
    eventually("the end", || runtime.stats().in_flight == 0);
    block_on(runtime.shutdown(LONG)).unwrap();
    rigs.iter().for_each(|rig| rig.assert_clean());
}
