//! Which engines are wanted, and which are taken.

use std::{fmt, str::FromStr};

use dmaring::Builder;
use dmaring_cpu::CpuEngine;

use crate::{args::EmulatedArguments, emulated::Emulated};

/// What `--engine` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineSpec {
    /// The best engine there is.
    Auto,
    /// The CPU.
    Cpu,
    /// The emulated I/OAT device.
    Emulated,
}

/// Every name that `--engine` knows.
const KNOWN: [EngineSpec; 3] = [EngineSpec::Auto, EngineSpec::Cpu, EngineSpec::Emulated];

impl EngineSpec {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Emulated => "emulated",
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
        KNOWN
            .into_iter()
            .find(|spec| spec.name() == text)
            .ok_or_else(|| String::from("no such engine: use auto, cpu or emulated"))
    }
}

/// The engines that were taken, and why.
#[derive(Debug)]
pub(crate) struct Selection {
    cpu: Option<CpuEngine>,
    emulated: Option<Emulated>,
    reason: &'static str,
}

impl Selection {
    /// Takes the engines that `specs` name; nothing named is `auto`.
    ///
    /// # Errors
    ///
    /// A message if one is named twice, `auto` besides another, an option of the emulated device without
    /// it, or if the device does not start.
    pub(crate) fn of(specs: &[EngineSpec], options: &EmulatedArguments) -> Result<Self, String> {
        for (number, spec) in specs.iter().enumerate() {
            if *spec == EngineSpec::Auto && specs.len() > 1 {
                return Err(String::from("--engine auto chooses by itself: name no other engine"));
            }
            if specs.iter().take(number).any(|earlier| earlier == spec) {
                return Err(format!("--engine {spec} is given twice: name it once"));
            }
        }
        let emulated = specs.contains(&EngineSpec::Emulated);
        if let Some(option) = options.given().filter(|_| !emulated) {
            return Err(format!("{option} is of the emulated device: add --engine emulated"));
        }
        let automatic = specs.is_empty() || specs.contains(&EngineSpec::Auto);
        let cpu = automatic || specs.contains(&EngineSpec::Cpu);
        Ok(Self {
            cpu: cpu.then(CpuEngine::new),
            emulated: if emulated { Some(Emulated::start(options)?) } else { None },
            reason: if automatic {
                "auto: the only engine here that is no emulation"
            } else {
                "named with --engine"
            },
        })
    }

    /// The engines in words, with the reason.
    pub(crate) fn describe(&self) -> String {
        let cpu = self.cpu.as_ref().map(|cpu| format!("cpu, {} instructions", cpu.instructions()));
        let emulated = self.emulated.as_ref().map(Emulated::describe);
        let engines: Vec<_> = cpu.into_iter().chain(emulated).collect();
        format!("{} ({})", engines.join("; "), self.reason)
    }

    /// Gives the engines to a runtime. What comes back is kept until the runtime has ended.
    pub(crate) fn add_to(self, mut builder: Builder) -> (Builder, Option<Emulated>) {
        if let Some(cpu) = self.cpu {
            builder = builder.engine(cpu);
        }
        let mut emulated = self.emulated;
        if let Some(emulated) = &mut emulated {
            builder = emulated.add_to(builder);
        }
        (builder, emulated)
    }
}

#[cfg(test)]
mod tests {
    use super::{EngineSpec, KNOWN, Selection};
    use crate::args::EmulatedArguments;

    const PLAIN: EmulatedArguments =
        EmulatedArguments { preset: None, channels: None, fault_plan: None };

    #[test]
    fn every_known_name_parses_and_others_are_told_what_is_known() {
        for spec in KNOWN {
            assert_eq!(spec.to_string().parse(), Ok(spec));
        }
        for text in ["", "CPU", "ioat", "0000:00:04.0"] {
            let message = text.parse::<EngineSpec>().unwrap_err();
            assert!(KNOWN.iter().all(|spec| message.contains(spec.name())), "{message}");
        }
    }

    #[test]
    fn the_selection_says_why() {
        let describe = |specs: &[_]| Selection::of(specs, &PLAIN).unwrap().describe();
        let auto = describe(&[]);
        assert!(auto.starts_with("cpu, ") && auto.contains("auto: "), "{auto}");
        assert_eq!(describe(&[EngineSpec::Auto]), auto);
        assert!(!describe(&[EngineSpec::Cpu]).contains("auto"));
        let both = describe(&[EngineSpec::Cpu, EngineSpec::Emulated]);
        assert!(both.contains("cpu, ") && both.contains("emulated I/OAT"), "{both}");
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |specs: &[_]| Selection::of(specs, &PLAIN).unwrap_err();
        let twice = refused(&[EngineSpec::Cpu, EngineSpec::Cpu]);
        assert!(twice.contains("--engine cpu is given twice"), "{twice}");
        for specs in [[EngineSpec::Auto, EngineSpec::Cpu], [EngineSpec::Auto, EngineSpec::Auto]] {
            assert!(refused(&specs).contains("auto chooses by itself"));
        }
        let options = EmulatedArguments { channels: Some(2), ..PLAIN };
        let message = Selection::of(&[EngineSpec::Cpu], &options).unwrap_err();
        assert!(
            message.contains("--channels") && message.contains("--engine emulated"),
            "{message}"
        );
    }
}
