//! Which engines are taken, and why.

use dmaring::Builder;
use dmaring_cpu::CpuEngine;
use dmaring_driver::{
    pci::{Address, Function, Sysfs, bind::VFIO_DRIVER},
    vfio::Container,
};

use crate::{
    args::EmulatedArguments, emulated::Emulated, engine_spec::EngineSpec, hardware::Hardware,
};

/// The engines that were taken, and why.
#[derive(Debug)]
pub(crate) struct Selection {
    cpu: Option<CpuEngine>,
    emulated: Option<Emulated>,
    hardware: Hardware,
    reason: String,
    automatic: bool,
}

/// What a copy asks of its engines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The NUMA node to be near to.
    pub(crate) near: Option<u32>,
    /// What the CPU alone can read, where SRC is that.
    pub(crate) cpu: Option<String>,
}

impl Selection {
    /// Takes the engines that `specs` name; nothing named is `auto`, which begins with functions on the NUMA node
    /// wanted.
    ///
    /// # Errors
    ///
    /// A message if the names contradict each other, for an option of the emulated device without it, and if one of
    /// those named cannot be had.
    pub(crate) fn of(
        specs: &[EngineSpec],
        options: &EmulatedArguments,
        wanted: Wanted,
    ) -> Result<Self, String> {
        EngineSpec::check(specs)?;
        let emulated = specs.contains(&EngineSpec::Emulated);
        if let Some(option) = options.given().filter(|_| !emulated) {
            return Err(format!("{option} is of the emulated device: add --engine emulated"));
        }
        if specs.is_empty() || specs.contains(&EngineSpec::Auto) {
            return Ok(Self::automatic(wanted.near).reading(wanted.cpu));
        }
        if let Some(source) = wanted.cpu.filter(|_| !specs.contains(&EngineSpec::Cpu)) {
            return Err(format!(
                "SRC {source}: only the CPU is known to read a BAR: add --engine cpu, or --engine-reads-mmio if the platform is known to allow it"
            ));
        }
        let mut hardware = Hardware::default();
        for spec in specs {
            if let EngineSpec::Function(address) = spec {
                hardware.open(*address).map_err(|why| format!("--engine {spec}: {why}"))?;
            }
        }
        Ok(Self {
            cpu: specs.contains(&EngineSpec::Cpu).then(CpuEngine::new),
            emulated: if emulated { Some(Emulated::start(options)?) } else { None },
            hardware,
            reason: String::from("named with --engine"),
            automatic: false,
        })
    }

    /// Adds the CPU to what `auto` took, to be compared with it.
    pub(crate) fn with_cpu(mut self) -> Self {
        if self.automatic && self.cpu.is_none() {
            self.cpu = Some(CpuEngine::new());
        }
        self
    }

    /// The CPU, where a copy could not be prepared with what `auto` took.
    pub(crate) fn instead(functions: &str, why: &str) -> Self {
        Self::cpu(format!("auto: {functions} cannot do this copy: {why}"))
    }

    /// Every function that can be opened, else the CPU.
    fn automatic(near: Option<u32>) -> Self {
        let functions = match Sysfs::new().ioat_functions() {
            Ok(functions) => functions,
            Err(error) => {
                return Self::cpu(format!("auto: I/OAT functions are not known: {error}"));
            }
        };
        let mut hardware = Hardware::default();
        let left = take(functions, near, |address| hardware.open(address));
        let reason = left.reason(hardware.is_empty());
        if hardware.is_empty() {
            return Self::cpu(reason);
        }
        Self { cpu: None, emulated: None, hardware, reason, automatic: true }
    }

    /// With a CPU beside the functions, where it alone reads SRC.
    fn reading(mut self, source: Option<String>) -> Self {
        if let Some(source) = source.filter(|_| self.cpu.is_none()) {
            self.cpu = Some(CpuEngine::new());
            self.reason.push_str(&format!("; the CPU reads {source}"));
        }
        self
    }

    fn cpu(reason: String) -> Self {
        Self {
            cpu: Some(CpuEngine::new()),
            emulated: None,
            hardware: Hardware::default(),
            reason,
            automatic: true,
        }
    }

    /// Whether the CPU may do instead: `auto` took something else.
    pub(crate) fn may_fall_back(&self) -> bool {
        self.automatic && !self.hardware.is_empty()
    }

    /// The container of the functions that were taken.
    pub(crate) fn container(&self) -> Option<Container> {
        self.hardware.container()
    }

    /// The addresses of the functions that were taken.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.hardware.addresses()
    }

    /// The functions that were taken.
    pub(crate) fn functions(&self) -> String {
        self.hardware.names()
    }

    /// The engines in words, with the reason.
    pub(crate) fn describe(&self) -> String {
        let cpu = self.cpu.as_ref().map(|cpu| format!("cpu, {} instructions", cpu.instructions()));
        let emulated = self.emulated.as_ref().map(Emulated::describe);
        let hardware = (!self.hardware.is_empty()).then(|| self.hardware.describe());
        let engines: Vec<_> = cpu.into_iter().chain(emulated).chain(hardware).collect();
        format!("{} ({})", engines.join("; "), self.reason)
    }

    /// Gives the engines to a runtime. What comes back is kept until the runtime has ended.
    pub(crate) fn add_to(self, mut builder: Builder) -> (Builder, Option<Emulated>) {
        builder = self.hardware.add_to(builder);
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

/// The functions that `auto` did not take.
#[derive(Debug, Default, PartialEq, Eq)]
struct Left {
    /// Those that are not bound to `vfio-pci`.
    unbound: Vec<Address>,
    /// Those that could not be opened, and why.
    refused: Vec<(Address, String)>,
}

/// Opens the functions that are bound to `vfio-pci`, those on the node `near` first.
fn take(
    mut functions: Vec<Function>,
    near: Option<u32>,
    mut open: impl FnMut(Address) -> Result<(), String>,
) -> Left {
    functions
        .sort_by_key(|function| (near.is_some() && function.numa_node != near, function.address));
    let mut left = Left::default();
    for function in functions {
        let address = function.address;
        if function.driver.as_deref() != Some(VFIO_DRIVER) {
            left.unbound.push(address);
        } else if let Err(why) = open(address) {
            left.refused.push((address, why));
        }
    }
    left
}

impl Left {
    /// Why `auto` took what it took.
    fn reason(&self, nothing_taken: bool) -> String {
        let mut reasons: Vec<_> = self
            .refused
            .iter()
            .map(|(address, why)| {
                // Most reasons begin with the address.
                let again = format!("{address} ");
                format!("not {address}: {}", why.strip_prefix(&again).unwrap_or(why))
            })
            .collect();
        if !self.unbound.is_empty() {
            let unbound: Vec<_> = self.unbound.iter().map(ToString::to_string).collect();
            let all = unbound.join(" ");
            reasons.push(format!("not bound to vfio-pci: {all}: `sudo dmaring bind {all}`"));
        }
        let found = match (nothing_taken, reasons.is_empty()) {
            (true, true) => return String::from("auto: there is no I/OAT function"),
            (true, false) => "auto: no I/OAT function can be used",
            (false, true) => return String::from("auto: every I/OAT function"),
            (false, false) => "auto: every I/OAT function that can be used",
        };
        format!("{found}; {}", reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use dmaring_driver::pci::Sysfs;

    use super::{Left, Selection, Wanted, take};
    use crate::{args::EmulatedArguments, engine_spec::EngineSpec, machine::tree::Tree};

    const PLAIN: EmulatedArguments =
        EmulatedArguments { preset: None, channels: None, fault_plan: None };

    #[test]
    fn the_selection_says_why() {
        let describe =
            |specs: &[_]| Selection::of(specs, &PLAIN, Wanted::default()).unwrap().describe();
        let auto = describe(&[]);
        assert!(auto.contains("(auto: "), "{auto}");
        assert_eq!(describe(&[EngineSpec::Auto]), auto);
        assert!(!describe(&[EngineSpec::Cpu]).contains("auto"));
        let both = describe(&[EngineSpec::Cpu, EngineSpec::Emulated]);
        assert!(both.contains("cpu, ") && both.contains("emulated I/OAT"), "{both}");
    }

    #[test]
    fn options_without_their_engine_are_refused() {
        let options = EmulatedArguments { channels: Some(2), ..PLAIN };
        let message = Selection::of(&[EngineSpec::Cpu], &options, Wanted::default()).unwrap_err();
        assert!(
            message.contains("--channels") && message.contains("--engine emulated"),
            "{message}"
        );
    }

    #[test]
    fn a_named_function_that_cannot_be_had_is_refused_by_name() {
        let spec = "7ffffffe:00:04.0".parse().unwrap();
        let message =
            Selection::of(&[EngineSpec::Cpu, spec], &PLAIN, Wanted::default()).unwrap_err();
        assert!(message.starts_with("--engine 7ffffffe:00:04.0: "), "{message}");
        assert!(message.contains("dmaring list"), "{message}");
    }

    #[test]
    fn a_source_that_the_cpu_alone_reads_gets_a_cpu_or_is_refused() {
        let of = |specs: &[_]| {
            let cpu = Some(String::from("pci:0000:00:0b.0:bar2"));
            Selection::of(specs, &PLAIN, Wanted { near: None, cpu })
        };
        assert!(of(&[EngineSpec::Emulated, EngineSpec::Cpu]).is_ok());
        assert!(of(&[]).unwrap().describe().contains("cpu, "));
        let message = of(&[EngineSpec::Emulated]).unwrap_err();
        assert!(message.contains("--engine cpu") && message.contains("--engine-reads-mmio"));
    }

    #[test]
    fn the_cpu_that_takes_the_place_of_functions_says_why() {
        let selection = Selection::instead("0000:00:04.0", "too much");
        assert!(!selection.may_fall_back());
        let text = selection.describe();
        assert!(
            text.starts_with("cpu, ")
                && text.contains("0000:00:04.0 cannot do this copy: too much")
        );
    }

    #[test]
    fn functions_near_the_destination_are_opened_first_and_what_is_left_is_said() {
        let tree = Tree::empty();
        for (address, node) in [("0000:00:04.0", "0"), ("0000:80:04.0", "1"), ("0000:80:04.1", "1")]
        {
            tree.function(address, "7", Some("vfio-pci"));
            tree.write(&format!("sys/bus/pci/devices/{address}/numa_node"), node);
        }
        tree.function("0000:00:04.2", "8", Some("ioatdma"));
        tree.function("0000:00:04.3", "9", None);
        let functions = Sysfs::at(tree.path("sys")).ioat_functions().unwrap();
        let opened = |near| {
            let mut opened = Vec::new();
            let left = take(functions.clone(), near, |address| {
                opened.push(address.to_string());
                if address.function() == 1 { Err(format!("{address} is in use")) } else { Ok(()) }
            });
            (opened, left)
        };
        let (order, left) = opened(Some(1));
        assert_eq!(order, ["0000:80:04.0", "0000:80:04.1", "0000:00:04.0"]);
        assert_eq!(opened(None).0, ["0000:00:04.0", "0000:80:04.0", "0000:80:04.1"]);
        let rest = "not 0000:80:04.1: is in use; not bound to vfio-pci: 0000:00:04.2 0000:00:04.3: \
                    `sudo dmaring bind 0000:00:04.2 0000:00:04.3`";
        let some = format!("auto: every I/OAT function that can be used; {rest}");
        assert_eq!(left.reason(false), some);
        assert_eq!(left.reason(true), format!("auto: no I/OAT function can be used; {rest}"));
        assert_eq!(Left::default().reason(false), "auto: every I/OAT function");
        assert_eq!(Left::default().reason(true), "auto: there is no I/OAT function");
    }
}
