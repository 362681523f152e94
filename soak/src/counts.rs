//! What a run has done: plain sums, of one submitter, a round, or the whole run.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Sums by a name.
pub(crate) type Named = BTreeMap<String, u64>;

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Rounds that have ended.
    pub(crate) rounds: u64,
    /// Runtimes that were started and have ended.
    pub(crate) runtimes: u64,
    /// How runtimes ended.
    pub(crate) ends: Named,
    /// Operations handed to a runtime, those of batches and chains one by one.
    pub(crate) operations: u64,
    /// What became of them, as their futures said or by what was done to these.
    pub(crate) futures: Named,
    /// Futures that were kept until their runtime had ended, and told their outcome then.
    pub(crate) kept: u64,
    /// Bytes that were compared with the model.
    pub(crate) bytes_checked: u64,
    /// Fences by which a thread learnt that what it had dropped was over.
    pub(crate) settlings: u64,
    /// Regions opened, by kind.
    pub(crate) regions: Named,
    /// Faults that happened, by kind.
    pub(crate) faults: Named,
    /// Transfers that failed in an engine.
    pub(crate) device_errors: u64,
    /// Resets by which engines recovered.
    pub(crate) resets: u64,
    /// Transfers given to an engine again that it had not begun.
    pub(crate) replayed: u64,
    /// Operations that the CPU saved.
    pub(crate) retried: u64,
    /// Engines retired because they failed too often.
    pub(crate) retirements: u64,
    /// Orders to bring an engine back, by outcome.
    pub(crate) restores: Named,
    /// Runtimes that a forgotten future keeps in memory for good.
    pub(crate) leaked_runtimes: u64,
}

impl Counts {
    /// Adds another's sums.
    pub(crate) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.rounds, other.rounds),
            (&mut self.runtimes, other.runtimes),
            (&mut self.operations, other.operations),
            (&mut self.kept, other.kept),
            (&mut self.bytes_checked, other.bytes_checked),
            (&mut self.settlings, other.settlings),
            (&mut self.device_errors, other.device_errors),
            (&mut self.resets, other.resets),
            (&mut self.replayed, other.replayed),
            (&mut self.retried, other.retried),
            (&mut self.retirements, other.retirements),
            (&mut self.leaked_runtimes, other.leaked_runtimes),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        let named = [
            (&mut self.ends, &other.ends),
            (&mut self.futures, &other.futures),
            (&mut self.regions, &other.regions),
            (&mut self.faults, &other.faults),
            (&mut self.restores, &other.restores),
        ];
        for (sums, more) in named {
            for (name, count) in more {
                add(sums, name, *count);
            }
        }
    }
}

/// Adds to one of the sums.
pub(crate) fn add(sums: &mut Named, name: &str, count: u64) {
    if count > 0 {
        match sums.get_mut(name) {
            Some(sum) => *sum += count,
            None => drop(sums.insert(name.to_owned(), count)),
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = [
            ("rounds", self.rounds),
            ("runtimes", self.runtimes),
            ("operations", self.operations),
            ("kept to the end", self.kept),
            ("bytes checked", self.bytes_checked),
            ("settling fences", self.settlings),
            ("device errors", self.device_errors),
            ("resets", self.resets),
            ("transfers replayed", self.replayed),
            ("saved by the CPU", self.retried),
            ("retirements", self.retirements),
            ("runtimes leaked", self.leaked_runtimes),
        ];
        for (name, count) in plain {
            writeln!(f, "{name:<20} {count}")?;
        }
        let named = [
            ("futures", &self.futures),
            ("faults", &self.faults),
            ("restores", &self.restores),
            ("regions", &self.regions),
            ("ends", &self.ends),
        ];
        for (name, sums) in named {
            let sums: Vec<_> = sums.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let sums = if sums.is_empty() { "none".to_owned() } else { sums.join(", ") };
            writeln!(f, "{name:<20} {sums}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, add};

    #[test]
    fn sums_add_up_by_name_and_as_a_whole() {
        let mut one = Counts { operations: 2, ..Counts::default() };
        add(&mut one.futures, "ok", 2);
        add(&mut one.futures, "dropped", 0);
        let mut all = one.clone();
        all.add(&one);
        add(&mut all.futures, "dropped", 1);
        assert_eq!(all.operations, 4);
        let text = all.to_string();
        assert!(text.contains("dropped 1, ok 4"), "{text}");
        assert_eq!(one.futures.len(), 1);
    }
}
