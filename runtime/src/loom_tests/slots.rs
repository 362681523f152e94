//! The free list of slots: one thread takes what another puts back.

use std::sync::Arc;

use dmaring_ring::{CompletionCode, Key};
use loom::{sync::atomic::AtomicUsize, thread};

use super::{Bench, Counted, TestClient, detach_to, take_back};
use crate::inflight::Chain;

/// A slot leaves the free list and comes back while another thread is about to take it: nothing is given out twice.
#[test]
fn loom_the_free_list_gives_a_slot_to_one() {
    fn prepare(client: &TestClient, drops: &Arc<AtomicUsize>) -> Key {
        client.inflight.prepare(Counted(drops.clone()), false).map_err(drop).unwrap()
    }
    loom::model(|| {
        let bench = Bench::new();
        let (client, drops) = (bench.client.clone(), bench.drops.clone());
        let other = thread::spawn(move || {
            let (first, kept) = (prepare(&client, &drops), prepare(&client, &drops));
            take_back(&client, first);
            kept
        });
        let mine = [prepare(&bench.client, &bench.drops), prepare(&bench.client, &bench.drops)];
        let kept = other.join().unwrap();
        assert!(mine.iter().all(|key| key.index != kept.index), "given out twice");
        for key in mine.into_iter().chain([kept]) {
            take_back(&bench.client, key);
        }
        assert_eq!(bench.dropped(), 4);
    });
}

/// The same with several at a time, which come back together.
#[test]
fn loom_slots_are_taken_and_come_back_together() {
    loom::model(|| {
        let bench = Bench::new();
        let (client, drops) = (bench.client.clone(), bench.drops.clone());
        let other = thread::spawn(move || {
            let mut chain = Chain::default();
            let mut slots = client.inflight.reserve(2);
            let keys = [(); 2]
                .map(|()| slots.prepare(Counted(drops.clone()), true).map_err(drop).unwrap());
            drop(slots);
            for key in keys {
                client.resolve_all(CompletionCode::SHUTDOWN);
                detach_to(&client, key, &mut chain);
            }
            client.inflight.give_back(&mut chain);
        });
        let mine = bench.prepare(2);
        assert_ne!(mine[0].index, mine[1].index, "given out twice");
        other.join().unwrap();
        assert_eq!(bench.dropped(), 2, "what is in use here was not touched");
        mine.into_iter().for_each(|key| take_back(&bench.client, key));
        let all = bench.client.inflight.capacity();
        let keys = bench.prepare(all);
        assert_eq!(bench.client.inflight.capacity(), all, "none was lost");
        keys.into_iter().for_each(|key| take_back(&bench.client, key));
    });
}

/// A chain is walked along while another thread takes it, and puts back its first slot alone: what follows there is still in use.
#[test]
fn loom_a_chain_that_changed_is_not_taken() {
    loom::model(|| {
        let bench = Bench::new();
        bench.grow_to(3);
        let (client, drops) = (bench.client.clone(), bench.drops.clone());
        let other = thread::spawn(move || {
            let mut slots = client.inflight.reserve(2);
            let [first, kept] = [(); 2]
                .map(|()| slots.prepare(Counted(drops.clone()), false).map_err(drop).unwrap());
            drop(slots);
            take_back(&client, first);
            kept
        });
        let mine = bench.prepare(2);
        let kept = other.join().unwrap();
        assert!(mine.iter().all(|key| key.index != kept.index), "given out twice");
        mine.into_iter().chain([kept]).for_each(|key| take_back(&bench.client, key));
    });
}
