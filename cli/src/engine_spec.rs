//! Which engines are wanted, as the command line names them.

use std::{fmt, str::FromStr};

use dmaring_driver::pci::Address;

/// What `--engine` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineSpec {
    /// The best engines there are.
    Auto,
    /// The CPU.
    Cpu,
    /// The emulated I/OAT device.
    Emulated,
    /// An I/OAT function.
    Function(Address),
}

impl EngineSpec {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    ///
    /// A message if one is named twice, or `auto` besides another.
    pub(crate) fn check(specs: &[Self]) -> Result<(), String> {
        for (number, spec) in specs.iter().enumerate() {
            if *spec == Self::Auto && specs.len() > 1 {
                return Err(String::from("--engine auto chooses by itself: name no other engine"));
            }
            if specs.iter().take(number).any(|earlier| earlier == spec) {
                return Err(format!("--engine {spec} is given twice: name it once"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for EngineSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Emulated => f.write_str("emulated"),
            Self::Function(address) => address.fmt(f),
        }
    }
}

impl FromStr for EngineSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "emulated" => Ok(Self::Emulated),
            _ => text.parse().map(Self::Function).map_err(|_| {
                String::from(
                    "no such engine: use auto, cpu, emulated, or the address of an I/OAT function, as 0000:00:04.0",
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EngineSpec;

    #[test]
    fn every_known_name_parses_and_others_are_told_what_is_known() {
        for text in ["auto", "cpu", "emulated", "0000:00:04.0"] {
            let spec: EngineSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!("00:04.0".parse(), "0000:00:04.0".parse::<EngineSpec>());
        for text in ["", "CPU", "ioat", "0000:00:04"] {
            let message = text.parse::<EngineSpec>().unwrap_err();
            for known in ["auto", "cpu", "emulated", "0000:00:04.0"] {
                assert!(message.contains(known), "{message}");
            }
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let refused = |texts: &[&str]| {
            let specs: Vec<EngineSpec> = texts.iter().map(|text| text.parse().unwrap()).collect();
            EngineSpec::check(&specs).unwrap_err()
        };
        for twice in [["cpu", "cpu"], ["0000:00:04.0", "00:04.0"]] {
            let message = refused(&twice);
            assert!(message.contains(&format!("--engine {} is given twice", twice[0])));
        }
        for texts in [["auto", "cpu"], ["auto", "auto"], ["0000:00:04.0", "auto"]] {
            assert!(refused(&texts).contains("auto chooses by itself"));
        }
    }
}
