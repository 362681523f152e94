//! Mappings: one in every address space, all of them or none.

use std::sync::Arc;

use dmaring::{ErrorKind, Runtime};
use dmaring_engine::MapError;
use dmaring_manual::{ManualDomain, ManualEngine};
use futures::executor::block_on;

use crate::common::{bytes, eventually, pattern};

/// A runtime with an engine in each of these domains, which ends what it is given.
fn runtime(domains: &[&Arc<ManualDomain>]) -> Runtime {
    let engines = domains.iter().enumerate().map(|(n, domain)| {
        let (engine, control) =
            ManualEngine::builder().name(format!("m{n}")).domain(Arc::clone(domain)).build();
        control.release();
        engine
    });
    engines.fold(Runtime::builder(), dmaring::Builder::engine).build().unwrap()
}

#[test]
fn engines_of_one_domain_share_a_mapping() {
    let domain = Arc::new(ManualDomain::new());
    let runtime = runtime(&[&domain, &domain]);
    let region = runtime.allocate(4096).unwrap();
    assert_eq!((domain.live(), domain.total()), (1, 1));
    drop(region);
    eventually("the unmapping", || domain.live() == 0);
    assert_eq!((domain.total(), domain.violations()), (1, vec![]));
}

#[test]
fn every_domain_gets_a_mapping() {
    let domains = [Arc::new(ManualDomain::new()), Arc::new(ManualDomain::new())];
    let runtime = runtime(&[&domains[0], &domains[1]]);
    let region = runtime.register(pattern(1, 1024)).unwrap();
    assert_eq!(domains.each_ref().map(|domain| domain.live()), [1, 1]);
    // Both engines find it where their own domain has it.
    for n in 0..8 {
        assert_eq!(block_on(region.copy(0, 512 + n * 64, 64)).unwrap(), 64);
    }
    let transfers =
        runtime.stats().engines.iter().map(|engine| engine.transfers).collect::<Vec<_>>();
    assert_eq!(transfers, [4, 4]);
    drop(region);
    eventually("the unmapping", || domains.iter().all(|domain| domain.live() == 0));
    assert_eq!(domains.each_ref().map(|domain| domain.violations()), [vec![], vec![]]);
}

#[test]
fn a_domain_that_refuses_undoes_the_others() {
    let domains = [Arc::new(ManualDomain::new()), Arc::new(ManualDomain::new())];
    let runtime = runtime(&[&domains[0], &domains[1]]);
    let error = MapError::LockedMemory { needed: 69_632, limit: 65_536 };
    domains[1].refuse_map(0, error);
    let error = runtime.allocate(4096).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    for part in ["engine m1", "69632 bytes", "limit 65536 bytes", "RLIMIT_MEMLOCK"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!((domains[0].live(), domains[0].total()), (0, 1));
    assert_eq!((domains[1].live(), domains[1].total()), (0, 0));
    // The next one finds nothing in its way.
    let region = runtime.allocate(4096).unwrap();
    assert_eq!(block_on(region.fill(0, 64, 1)).unwrap(), 64);
    assert_eq!(domains.each_ref().map(|domain| domain.live()), [1, 1]);
}

#[test]
fn every_refusal_has_its_kind() {
    let domain = Arc::new(ManualDomain::new());
    let runtime = runtime(&[&domain]);
    for (error, kind) in [
        (MapError::Addresses { needed: 4096 }, ErrorKind::LimitExceeded),
        (MapError::Mappings { limit: 65_535 }, ErrorKind::LimitExceeded),
        (MapError::Unsupported, ErrorKind::Unsupported),
        (MapError::Os(22), ErrorKind::Unmapped),
    ] {
        domain.refuse_map(0, error);
        let refused = runtime.allocate(4096).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains("4096 bytes"), "{refused}");
    }
    assert_eq!((domain.live(), domain.total()), (0, 0));
}

#[test]
fn memory_that_cannot_be_unmapped_stays() {
    let domain = Arc::new(ManualDomain::new());
    let runtime = runtime(&[&domain]);
    domain.refuse_unmap(0, MapError::Os(16));
    drop(runtime.register(pattern(2, 64)).unwrap());
    // Jobs are done in order: once the second is unmapped, the first has had its turn.
    drop(runtime.register(pattern(2, 128)).unwrap());
    eventually("the second unmapping", || domain.live() == 1);
    assert_eq!(domain.violations(), []);
}

#[test]
fn mappings_are_whole_granules_around_what_was_registered() {
    let domain = Arc::new(ManualDomain::with_granule(4096));
    let runtime = runtime(&[&domain]);
    // Heap blocks of these sizes begin anywhere; the last spans several granules.
    let regions: Vec<_> =
        [100, 1000, 50_000].map(|length| runtime.register(pattern(length, length)).unwrap()).into();
    assert_eq!(domain.live(), 3);
    assert!(regions.iter().any(|region| region.as_mut_ptr().unwrap().addr().get() % 4096 != 0));
    assert_eq!(block_on(regions[0].copy_to(0, &regions[1], 900, 100)).unwrap(), 100);
    assert_eq!(block_on(regions[1].copy_to(0, &regions[2], 49_000, 1000)).unwrap(), 1000);
    assert_eq!(block_on(regions[2].copy_to(0, &regions[0], 99, 1)).unwrap(), 1);
    assert_eq!(bytes(&regions[1], 900, 100), pattern(100, 100));
    assert_eq!(bytes(&regions[2], 49_900, 100), pattern(100, 100));
    assert_eq!(bytes(&regions[0], 99, 1), pattern(50_000, 1));
    drop(regions);
    eventually("the unmapping", || domain.live() == 0);
    assert_eq!(domain.violations(), []);
}
