//! What futures said, held against memory; and what is done about those that said nothing.

use std::error::Error as _;

use dmaring::{Error, ErrorKind, StatusKind};
use futures::executor::block_on;

use super::{Player, built::one, poll, task::Mark};
use crate::{
    args::Defect,
    counts,
    plan::{Fate, Manner, Operation, Place, Work},
};

/// The lot of the first region that fences write.
const FENCES: Place = Place { region: 0, lot: 0 };
/// How many bytes a fence writes.
const FENCED: u64 = 8;

impl Player<'_> {
    /// Frees a lot: claims, drops or settles what has it. `false`: it cannot be known when it is free.
    pub(super) fn frees(&mut self, place: Place) -> Result<bool, String> {
        while let Some(user) = self.regions[place.region].lots[place.lot].user {
            match self.tasks.get(&user).map(|task| task.fate) {
                Some(Fate::Claimed | Fate::Awaited) => self.claim(user)?,
                Some(Fate::Kept) => {
                    // Its future stays, and will have nothing to tell of memory.
                    let marks = self.tasks.get(&user).map(|task| task.marks.clone());
                    self.doubts.retain(|mark| mark.task != user);
                    self.doubts.extend(marks.unwrap_or_default());
                    if !self.settle()? {
                        return Ok(false);
                    }
                }
                Some(_) => {
                    if let Some(task) = self.tasks.remove(&user) {
                        self.lose(task, "dropped");
                    }
                }
                None => {
                    if !self.settle()? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Waits until all that was submitted before is over, and looks at what is in doubt. `false`: that cannot be known.
    fn settle(&mut self) -> Result<bool, String> {
        if self.closed {
            return Ok(false);
        }
        self.counts.settlings += 1;
        self.counts.operations += 1;
        let fence = Operation {
            work: Work::Source(0),
            to: FENCES,
            offset: 0,
            length: FENCED,
            fenced: true,
            timeout: None,
            on_error: None,
        };
        let mark = self.mark(0, &fence, None);
        let future = one(self.built(&fence), Manner::AtOnce);
        let outcome = {
            let number = self.number;
            let _note =
                self.life.run.watch.wait(|| format!("submitter {number}: a fence of 8 bytes"));
            block_on(future).pop()
        };
        match outcome {
            Some(Ok(_)) => {
                self.count("ok");
                self.look_at_doubts()?;
                self.counts.bytes_checked +=
                    self.regions[FENCES.region].succeeded(FENCES.lot, &mark.change)?;
                Ok(true)
            }
            Some(Err(error)) => {
                let kind = self.judge(&mark, &error)?;
                self.doubts.push(mark);
                // It has begun, and so all before it had ended.
                let begun = matches!(kind, ErrorKind::Device(_));
                if begun {
                    self.look_at_doubts()?;
                }
                Ok(begun)
            }
            None => Err("a future of one operation told no outcome".to_owned()),
        }
    }

    /// What is in doubt is over: looks what has come of it.
    fn look_at_doubts(&mut self) -> Result<(), String> {
        for mark in std::mem::take(&mut self.doubts) {
            self.note(&mark, "settled");
            let region = &mut self.regions[mark.place.region];
            if region.generation == mark.generation {
                self.counts.bytes_checked += region.over(mark.place.lot, &mark.change)?;
            }
            self.free(&mark);
        }
        Ok(())
    }

    /// Takes what the operations of a future said.
    pub(super) fn resolve(
        &mut self,
        marks: Vec<Mark>,
        chained: bool,
        outcomes: Vec<Result<u64, Error>>,
    ) -> Result<(), String> {
        if chained {
            return self.resolve_chain(marks, outcomes);
        }
        if marks.len() != outcomes.len() {
            let (marks, outcomes) = (marks.len(), outcomes.len());
            return Err(format!("{marks} operations told {outcomes} outcomes"));
        }
        for (mark, outcome) in marks.into_iter().zip(outcomes) {
            match outcome {
                Ok(bytes) => self.succeeded(&mark, Some(bytes))?,
                Err(error) => self.failed(mark, &error)?,
            }
        }
        Ok(())
    }

    fn resolve_chain(
        &mut self,
        marks: Vec<Mark>,
        mut outcomes: Vec<Result<u64, Error>>,
    ) -> Result<(), String> {
        let (Some(outcome), Ok([first, mut second])) =
            (outcomes.pop(), <[Mark; 2]>::try_from(marks))
        else {
            return Err("a chain told no outcome".to_owned());
        };
        let error = match outcome {
            Ok(bytes) => {
                self.check_written(&first, None)?;
                return self.succeeded(&second, Some(bytes));
            }
            Err(error) => error,
        };
        if error.kind() != ErrorKind::Aborted {
            // The first one's lot is free when the second is over, which reads it.
            self.check_written(&first, None)?;
            return self.failed(second, &error);
        }
        self.count("aborted");
        let Some(why) = error.source().and_then(|source| source.downcast_ref::<Error>()) else {
            return Err(format!("a chain was aborted and does not say why: {error}"));
        };
        self.failed(first, why)?;
        if self.has(&second) {
            self.counts.bytes_checked +=
                self.regions[second.place.region].untouched(second.place.lot, &second.change)?;
        }
        // It has not begun, and reads nothing.
        second.reads = None;
        self.free(&second);
        Ok(())
    }

    fn succeeded(&mut self, mark: &Mark, bytes: Option<u64>) -> Result<(), String> {
        self.check_written(mark, bytes)?;
        self.free(mark);
        Ok(())
    }

    fn check_written(&mut self, mark: &Mark, bytes: Option<u64>) -> Result<(), String> {
        self.count("ok");
        self.note(mark, "ok");
        let length = mark.change.bytes.len() as u64;
        if let Some(bytes) = bytes.filter(|bytes| *bytes != length) {
            return Err(format!("{bytes} bytes were written, it says, of {length}"));
        }
        if self.has(mark) {
            self.counts.bytes_checked +=
                self.regions[mark.place.region].succeeded(mark.place.lot, &mark.change)?;
        }
        Ok(())
    }

    fn failed(&mut self, mark: Mark, error: &Error) -> Result<(), String> {
        let kind = self.judge(&mark, error)?;
        if !self.has(&mark) {
            self.free(&mark);
            return Ok(());
        }
        let region = &mut self.regions[mark.place.region];
        match kind {
            ErrorKind::Device(_) => {
                self.counts.bytes_checked += region.over(mark.place.lot, &mark.change)?;
                self.free(&mark);
            }
            ErrorKind::Closed => {
                self.counts.bytes_checked += region.untouched(mark.place.lot, &mark.change)?;
                self.free(&mark);
            }
            _ => self.doubts.push(mark),
        }
        Ok(())
    }

    /// Whether an error is one that there may be.
    fn judge(&mut self, mark: &Mark, error: &Error) -> Result<ErrorKind, String> {
        let kind = error.kind();
        let ending = self.life.is_ending();
        let (name, allowed) = match kind {
            ErrorKind::TimedOut => ("timed out", mark.may.time_out),
            ErrorKind::Device(error) => {
                let faulty = self.life.plan.engines.faulty;
                ("device error", mark.may.fail || faulty && !is_for_a_cpu(error.status.kind))
            }
            ErrorKind::EngineLost => ("engine lost", mark.may.fail),
            ErrorKind::Shutdown => ("shutdown", ending),
            ErrorKind::Closed => ("closed", ending),
            _ => ("other", false),
        };
        self.closed |= ending;
        self.count(name);
        self.note(mark, name);
        if allowed {
            return Ok(kind);
        }
        let (length, may) = (mark.change.bytes.len(), mark.may);
        let kind = self.regions[mark.place.region].kind().name();
        let source = self.life.plan.source.kind.name();
        Err(format!(
            "an operation of {length} bytes to a region, {kind}, the source being {source}, may not fail like this \
             ({may:?}): {error:?}"
        ))
    }

    /// The runtime has ended: every future tells its outcome at once, and memory no longer changes.
    pub(super) fn end(&mut self) -> Result<(), String> {
        for mut task in std::mem::take(&mut self.tasks).into_values() {
            let std::task::Poll::Ready(outcomes) = poll(&mut task.future) else {
                return Err(format!("pending after the runtime's end: {}", task.describe()));
            };
            self.counts.kept += task.marks.len() as u64;
            self.resolve(task.marks, task.chained, outcomes)?;
        }
        self.look_at_doubts()?;
        if self.life.run.plant == Some(Defect::StrayByte)
            && self.number == 0
            && let Some(held) = self.regions.last()
        {
            let length = held.region().len();
            let [byte] = held.model(length as usize - 1, 1) else { return Ok(()) };
            let _ = held.region().write_at(length - 1, &[!byte]);
        }
        for held in &self.regions {
            self.counts.bytes_checked += held.check_all()?;
        }
        Ok(())
    }

    /// Whether the lot that an operation writes is still its own: its region was not replaced, and it was not settled.
    fn has(&self, mark: &Mark) -> bool {
        let region = &self.regions[mark.place.region];
        region.generation == mark.generation && region.lots[mark.place.lot].user == Some(mark.task)
    }

    /// An operation is over: its lots are nobody's.
    fn free(&mut self, mark: &Mark) {
        let lots = [Some((mark.place, mark.generation)), mark.reads];
        for (place, generation) in lots.into_iter().flatten() {
            let region = &mut self.regions[place.region];
            let lot = &mut region.lots[place.lot];
            if region.generation == generation && lot.user == Some(mark.task) {
                lot.user = None;
            }
        }
    }

    /// Notes what became of a task in the history of its lot.
    pub(super) fn note(&mut self, mark: &Mark, what: &str) {
        let region = &mut self.regions[mark.place.region];
        if region.generation == mark.generation {
            region.lots[mark.place.lot].note(mark.task, what.to_owned());
        }
    }

    fn count(&mut self, kind: &str) {
        counts::add(&mut self.counts.futures, kind, 1);
    }
}

/// Whether a CPU is to save what failed in this way, as [`dmaring::OnError::RetryOnCpu`] promises. Faulty runtimes alone fail.
fn is_for_a_cpu(kind: StatusKind) -> bool {
    !matches!(kind, StatusKind::Read | StatusKind::Integrity | StatusKind::Unspecified)
}
