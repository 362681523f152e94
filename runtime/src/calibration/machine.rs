//! What a calibration holds for: the machine and the engines.

use std::fs;

use serde::{Deserialize, Serialize};

/// What is known of an engine besides what it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineFacts {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) max_transfer: u64,
    /// Whether it is the host's CPU.
    pub(crate) host_memory: bool,
    pub(crate) node: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Machine {
    /// The processor's name, as the kernel has it.
    processor: String,
    /// Whether one thread drives all engines, or each is driven by its own, and so on: the setting's name.
    pollers: String,
    /// In order.
    pub(super) engines: Vec<EngineFacts>,
}

impl Machine {
    /// This machine with these engines.
    pub(super) fn here(engines: &[EngineFacts], pollers: &str) -> Self {
        let mut engines = engines.to_vec();
        engines.sort();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self { processor: processor(&cpuinfo), pollers: pollers.to_owned(), engines }
    }

    /// What `other` has that this has not, or the other way round; the first of it, in words.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self.processor != other.processor {
            return Some(format!("on processor {}, not {}", self.processor, other.processor));
        }
        if self.pollers != other.pollers {
            return Some(format!("with pollers {}, not {}", self.pollers, other.pollers));
        }
        let names = |engines: &[EngineFacts]| {
            let names: Vec<_> = engines.iter().map(|engine| engine.name.as_str()).collect();
            names.join(", ")
        };
        let (ours, theirs) = (names(&self.engines), names(&other.engines));
        if ours != theirs {
            return Some(format!("with engines {ours}, not {theirs}"));
        }
        let mut pairs = self.engines.iter().zip(&other.engines);
        let (one, _) = pairs.find(|(one, other)| one != other)?;
        let EngineFacts { name, max_transfer, node, .. } = one;
        let node = node.map_or("no known node".to_owned(), |node| format!("node {node}"));
        Some(format!("with engine {name} of {max_transfer} bytes a transfer on {node}"))
    }
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(name: &str, node: Option<u32>) -> EngineFacts {
        EngineFacts { name: name.into(), max_transfer: 1 << 20, host_memory: false, node }
    }

    #[test]
    fn the_order_of_engines_is_no_difference_and_everything_else_is() {
        let machine = |engines: &[EngineFacts]| Machine::here(engines, "one");
        let two = machine(&[engine("a", None), engine("b", Some(1))]);
        assert_eq!(two.difference(&machine(&[engine("b", Some(1)), engine("a", None)])), None);
        let text = two.difference(&machine(&[engine("a", None)])).unwrap();
        assert_eq!(text, "with engines a, b, not a");
        let moved = machine(&[engine("a", None), engine("b", Some(0))]);
        assert!(
            two.difference(&moved)
                .unwrap()
                .contains("engine b of 1048576 bytes a transfer on node 1")
        );
        let pollers = Machine { pollers: "per engine".into(), ..two.clone() };
        assert!(two.difference(&pollers).unwrap().contains("pollers one, not per engine"));
        let elsewhere = Machine { processor: "other".into(), ..two.clone() };
        assert!(two.difference(&elsewhere).unwrap().contains("not other"));
    }

    #[test]
    fn the_processor_is_the_kernels_name_for_it() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: A 1: B\nflags\t: x\n"), "A 1: B");
        assert_eq!(processor(""), "unknown");
        assert_eq!(processor("model name\t: \n"), "unknown");
    }
}
