//! What is right about a run: of the culprit, of the others, of memory and device.

use dmaring::{Error, ErrorKind};
use dmaring_emulated::ViolationKind;

use super::{ENGINE, LONGEST, Run};
use crate::{
    cell::{Column, Policy, Row},
    common::LONG,
    waiting::Waiting,
};

impl Run {
    /// Without a CPU the culprit gets what the fault is, and nothing where there is nothing to get.
    pub(super) fn check_culprit(&mut self, culprit: usize) {
        let companion = self.cell.column == Column::DuringReset || self.cell.row == Row::StaleEpoch;
        let expected = match self.cell.row {
            _ if companion => Err(Some(1 << 9)),
            Row::PollerPanic => Err(None),
            Row::ChanErr(bit) => Err(Some(1 << bit)),
            Row::Stall => Err(Some(0)),
            Row::ShortCopy => Err(Some(1 << 9)),
            Row::AllOnes => Err(Some(u32::MAX)),
            Row::LostWriteBack | Row::DuplicateWriteBack | Row::StaleEpoch => Ok(()),
        };
        let destination = self.memory.work(culprit).destination.1;
        let source = self.memory.source(culprit).map(|(_, offset)| offset);
        let right = match (&self.said[culprit], expected) {
            (Some(Ok(_)), Ok(())) => true,
            (Some(Err(error)), Err(expected)) => match error.kind() {
                ErrorKind::Device(device) => {
                    Some(device.status.bits) == expected
                        && device.destination_offset == destination
                        && device.source_offset == source
                }
                kind => kind == ErrorKind::EngineLost && expected.is_none(),
            },
            _ => false,
        };
        let said = format!("the culprit got {:?}", self.said[culprit]);
        self.check(right, &said);
    }

    /// Where all but the culprit succeeded, each of their parts was made once.
    pub(super) fn check_made_once(&mut self, works: &[usize], culprit: usize, made: u64) {
        let failed: Vec<_> = works.iter().filter(|&&work| !self.said_ok(work)).collect();
        if failed.iter().any(|&&work| work != culprit) {
            return;
        }
        let ok = works.iter().filter(|&&work| self.said_ok(work));
        let parts: u64 = ok.map(|&work| self.memory.work(work).length.div_ceil(LONGEST)).sum();
        self.check(made == parts, &format!("{made} parts were made of {parts}"));
    }

    /// Everybody else's operations are made, unless nothing is left that could make them.
    pub(super) fn check_others(&mut self, works: &[usize], culprit: Option<usize>) {
        let has_cpu = self.policy == Policy::RetryOnCpu;
        let may_fail = match self.cell.row {
            Row::PollerPanic => true,
            Row::AllOnes => !has_cpu,
            _ => false,
        };
        // Which faults are retried is the policy's; the culprit of one that is not gets the fault's own error.
        let mut own = usize::from(has_cpu);
        for &work in works.iter().filter(|&&work| Some(work) != culprit) {
            if may_fail || self.said_ok(work) {
                continue;
            }
            if own > 0 && self.has_own_error(work) {
                own -= 1;
                continue;
            }
            self.complaints.push(format!("operation {work} got {:?}", self.said[work]));
        }
    }

    /// Whether an operation got the error that the row's bit of CHANERR is.
    fn has_own_error(&self, work: usize) -> bool {
        let (Row::ChanErr(bit), Some(Err(error))) = (self.cell.row, &self.said[work]) else {
            return false;
        };
        matches!(error.kind(), ErrorKind::Device(device) if device.status.bits == 1 << bit)
    }

    /// Whether the runtime works on, and the engine, if it has to be asked back.
    pub(super) fn go_on(&mut self) -> String {
        let engine = &self.runtime.stats().engines[0];
        let mut words = "works";
        if engine.lost || engine.retired {
            let restored = Waiting::new(self.runtime.restore_engine(ENGINE)).wait();
            words = match restored {
                Some(Ok(())) => "lost, then restored",
                Some(Err(error)) if error.kind() == ErrorKind::EngineLost => "lost for good",
                Some(Err(_)) => "closed",
                None => "restoring it never ended",
            };
        }
        let probes: Vec<_> = (0..2).map(|_| self.memory.plan(&mut self.random, LONGEST)).collect();
        self.submit(&probes);
        let made = probes.iter().filter(|&&probe| self.said_ok(probe)).count();
        let error = probes.iter().find_map(|&probe| self.said[probe].as_ref()?.as_ref().err());
        if error.map(Error::kind) == Some(ErrorKind::Closed) {
            words = "closed";
        }
        let expected =
            if words == "closed" || words == "lost for good" && self.policy == Policy::Fail {
                0
            } else {
                2
            };
        self.check(made == expected, &format!("{made} of 2 operations were made afterwards"));
        self.check(self.device.held_words() == 0, "the late completion word never arrived");
        words.to_owned()
    }

    /// Ends the runtime, and asks memory and device what they saw. How many bytes changed that were nobody's.
    pub(super) fn end(&mut self) -> usize {
        let ended = Waiting::new(self.runtime.shutdown(LONG)).wait();
        let panicked = self.cell.row == Row::PollerPanic;
        let right = match &ended {
            Some(Ok(())) => !panicked,
            Some(Err(error)) => panicked && error.kind() == ErrorKind::EngineLost,
            None => false,
        };
        self.check(right, &format!("the shutdown ended with {ended:?}"));
        self.check(self.runtime.stats().in_flight == 0, "something is in flight at the end");
        let (lies, outside) = self.memory.compare(|work| self.said_ok(work));
        self.complaints.extend(lies);
        self.check(outside == 0, &format!("{outside} bytes changed outside all destinations"));
        let domain = self.device.domain();
        self.check(domain.faults() == 0, &format!("the IOMMU refused {:?}", domain.fault_list()));
        self.check(domain.misuse().is_empty(), &format!("{:?}", domain.misuse()));
        // A doorbell may be on its way when a channel halts.
        let late = ViolationKind::CountWhileHalted;
        let violations = self.device.violations();
        let rules = violations.iter().all(|violation| violation.kind == late);
        self.check(rules, &format!("the driver broke rules: {violations:?}"));
        outside
    }

    pub(super) fn check(&mut self, holds: bool, complaint: &str) {
        if !holds {
            self.complaints.push(complaint.to_owned());
        }
    }
}
