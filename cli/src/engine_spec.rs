//! Which engines are wanted, and which are taken.

use std::{fmt, str::FromStr};

use dmaring::Builder;
use dmaring_cpu::CpuEngine;

/// What `--engine` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineSpec {
    /// The best engine there is.
    Auto,
    /// The CPU.
    Cpu,
}

/// Every name that `--engine` knows.
const KNOWN: [EngineSpec; 2] = [EngineSpec::Auto, EngineSpec::Cpu];

impl EngineSpec {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for EngineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EngineSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        KNOWN.into_iter().find(|spec| spec.name() == text).ok_or_else(|| {
            let names = KNOWN.map(Self::name).join(" or ");
            format!("no such engine: use {names}")
        })
    }
}

/// The engines that were taken, and why.
#[derive(Debug)]
pub(crate) struct Selection {
    cpu: CpuEngine,
    reason: &'static str,
}

impl Selection {
    /// Takes the engines that `specs` name; nothing named is `auto`.
    ///
    /// # Errors
    ///
    /// A message if one is named twice, or `auto` besides another.
    pub(crate) fn of(specs: &[EngineSpec]) -> Result<Self, String> {
        let reason = match specs {
            [] | [EngineSpec::Auto] => "auto: no other engine is built in",
            [EngineSpec::Cpu] => "named with --engine",
            _ if specs.contains(&EngineSpec::Auto) => {
                return Err(String::from("--engine auto chooses by itself: name no other engine"));
            }
            [first, ..] => return Err(format!("--engine {first} is given twice: name it once")),
        };
        Ok(Self { cpu: CpuEngine::new(), reason })
    }

    /// The engines in words, with the reason.
    pub(crate) fn describe(&self) -> String {
        format!("cpu, {} instructions ({})", self.cpu.instructions(), self.reason)
    }

    /// Gives the engines to a runtime.
    pub(crate) fn add_to(self, builder: Builder) -> Builder {
        builder.engine(self.cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::{EngineSpec, KNOWN, Selection};

    #[test]
    fn every_known_name_parses_and_others_are_told_what_is_known() {
        for spec in KNOWN {
            assert_eq!(spec.to_string().parse(), Ok(spec));
        }
        for text in ["", "CPU", "ioat", "0000:00:04.0"] {
            let message = text.parse::<EngineSpec>().unwrap_err();
            assert!(message.contains("auto or cpu"), "{message}");
        }
    }

    #[test]
    fn the_selection_says_why() {
        let auto = Selection::of(&[]).unwrap().describe();
        assert!(auto.starts_with("cpu, ") && auto.contains("auto: "), "{auto}");
        assert_eq!(Selection::of(&[EngineSpec::Auto]).unwrap().describe(), auto);
        assert!(!Selection::of(&[EngineSpec::Cpu]).unwrap().describe().contains("auto"));
    }

    #[test]
    fn contradictions_are_refused() {
        let twice = Selection::of(&[EngineSpec::Cpu, EngineSpec::Cpu]).unwrap_err();
        assert!(twice.contains("--engine cpu is given twice"), "{twice}");
        for specs in [[EngineSpec::Auto, EngineSpec::Cpu], [EngineSpec::Auto, EngineSpec::Auto]] {
            assert!(Selection::of(&specs).unwrap_err().contains("auto chooses by itself"));
        }
    }
}
