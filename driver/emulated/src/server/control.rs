//! The control protocol: a line asks, a line answers.

use std::{
    fmt::Display,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    str::FromStr,
};

use dmaring_ioat_spec::registers::ChannelState;

use crate::{
    FaultPlan,
    guest::{FunctionStatus, GuestFunction, Slot},
};

/// Bytes of the longest line taken.
const LINE: u64 = 64 * 1024;

/// What can be asked, as the help of the command has it.
pub const CONTROL_HELP: &str = "\
Commands on the control socket, one a line, each answered with one line that begins with `ok` or `error:`:
  fault-plan SLOT PLAN  replace the fault plan, counting from now; an empty PLAN clears it
  pause SLOT [N]        carry out no descriptors, or N more and then none; accesses and resets go on
  resume SLOT           carry them out again
  step SLOT N           carry out up to N descriptors of a paused function
  status SLOT           counts and states
  violations SLOT       what its driver did that it must not
  iommu-faults SLOT     address/access/reason of what VT-d refused
  unplug SLOT           take the function away: ones from every register
  plug SLOT             bring it back, reset, its configuration as it was
  help                  these commands
SLOT is DEVICE.FUNCTION in hexadecimal, as in 05.0.";

/// The commands in one line.
const COMMANDS: &str = "fault-plan SLOT PLAN, pause SLOT [N], resume SLOT, step SLOT N, status SLOT, \
                        violations SLOT, iommu-faults SLOT, unplug SLOT, plug SLOT, help";

/// Answers one client until it closes the connection.
pub(super) fn serve(stream: &UnixStream, functions: &[GuestFunction]) -> io::Result<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || (line.len() as u64) < LINE;
        let answer = match std::str::from_utf8(&line) {
            Ok(line) if whole => answer(functions, line.trim()),
            Ok(_) => Err(format!("a line is longer than {LINE} bytes")),
            Err(_) => Err("a line is no UTF-8".to_owned()),
        };
        let text = match answer {
            Ok(text) if text.is_empty() => "ok\n".to_owned(),
            Ok(text) => format!("ok {text}\n"),
            Err(text) => format!("error: {text}\n"),
        };
        writer.write_all(text.as_bytes())?;
        if !whole {
            return Ok(());
        }
    }
}

/// What to answer to a line, without the word at its head.
fn answer(functions: &[GuestFunction], line: &str) -> Result<String, String> {
    let (command, rest) = word(line);
    if command == "help" {
        return Ok(COMMANDS.to_owned());
    }
    let known = COMMANDS.split(", ").filter_map(|form| form.split_once(' '));
    if !known.into_iter().any(|(name, _)| name == command) {
        return Err(format!("`{command}` is no command: {COMMANDS}"));
    }
    let (slot, rest) = word(rest);
    let function = find(functions, slot)?;
    if !rest.is_empty() && !matches!(command, "fault-plan" | "step" | "pause") {
        return Err(format!("`{rest}` is too much: the form is {command} SLOT"));
    }
    match command {
        "fault-plan" => function.set_fault_plan(&parse::<FaultPlan>(rest)?),
        "pause" if !rest.is_empty() => {
            function.pause_after(number(rest, "pause SLOT N, as in pause 05.0 1")?)
        }
        "pause" => function.set_paused(true),
        "resume" => function.set_paused(false),
        "unplug" => function.unplug(),
        "plug" => function.plug(),
        "step" => return step(function, rest),
        "status" => return Ok(status(&function.status())),
        "violations" => {
            return Ok(list(function.status().violations, function.violations()));
        }
        _ => return Ok(list(function.status().iommu_faults, function.iommu_faults())),
    }
    Ok(String::new())
}

fn find<'a>(functions: &'a [GuestFunction], slot: &str) -> Result<&'a GuestFunction, String> {
    let slot: Slot = parse(slot)?;
    functions.iter().find(|function| function.slot() == slot).ok_or_else(|| {
        let there: Vec<_> = functions.iter().map(|found| found.slot().to_string()).collect();
        format!("no function at {slot}: there are {}", there.join(", "))
    })
}

fn step(function: &GuestFunction, text: &str) -> Result<String, String> {
    let number = number(text, "step SLOT N, as in step 05.0 1")?;
    if !function.status().paused {
        let slot = function.slot();
        return Err(format!("function {slot} is not paused: say `pause {slot}` first"));
    }
    function
        .step(number)
        .map(|ended| format!("executed={ended}"))
        .map_err(|error| error.to_string())
}

fn number(text: &str, form: &str) -> Result<u64, String> {
    let number = text.parse();
    number.map_err(|_| format!("`{text}` is no number of descriptors: the form is {form}"))
}

fn status(status: &FunctionStatus) -> String {
    let states = match &status.states {
        None => "gone".to_owned(),
        Some(states) => states.iter().map(|state| name(*state)).collect::<Vec<_>>().join(","),
    };
    format!(
        "executed={} faults-fired={} interrupts={} violations={} iommu-faults={} bus-master={} \
         state={states} paused={} interrupts-dropped={}",
        status.executed,
        status.faults_fired,
        status.interrupts,
        status.violations,
        status.iommu_faults,
        if status.bus_master { "on" } else { "off" },
        if status.paused { "yes" } else { "no" },
        status.interrupts_dropped,
    )
}

fn name(state: ChannelState) -> &'static str {
    match state {
        ChannelState::Active => "active",
        ChannelState::Idle => "idle",
        ChannelState::Suspended => "suspended",
        ChannelState::Halted => "halted",
        ChannelState::Armed => "armed",
        _ => "unknown",
    }
}

fn list(count: u64, items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{count}: {}", items.join("; ")).trim_end().to_owned()
}

fn word(text: &str) -> (&str, &str) {
    let (head, rest) = text.split_once(' ').unwrap_or((text, ""));
    (head, rest.trim())
}

fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
