//! Faults of every class, injected from outside while the command copies.
//!
//! Each is injected twice, into a copy by the function alone and into one in which the CPU may do again what the
//! function failed to do. It happens at the second descriptor of a block of four: a planned one by the model's count, another
//! one while the function is paused there. So it hits, and the model's own counters have to say that it did. A copy that must be right is
//! compared as a whole, and one that must fail has to name why and leave every byte outside of its destination alone.
//! Behind each pair the function copies once more with nothing wrong.

use std::time::{Duration, Instant};

use crate::{
    failure::{Failure, Outcome},
    vm::{
        cases::copy::SKX,
        machine::{Finished, Machine},
        steps::{Range, equal, says},
    },
};

const SLOT: &str = "05.0";
const MIB: usize = 1 << 20;
/// What one operation copies: descriptors of 1 MiB each.
const BLOCK: usize = 4 * MIB;
/// What is copied when something happens: operations that are all in flight together.
const LENGTH: usize = 2 * BLOCK;
/// What a copy may take after its fault, the 2 s of a hang among it. Software emulation on a busy host is slow.
const LIMIT: Duration = Duration::from_secs(30);
/// What unbinding a function in use may take: less than the 10 s after which the kernel asks again.
const UNBIND: Duration = Duration::from_secs(8);
/// What an operation says that found no engine.
const NO_ENGINE: &str = "every engine that could do it is lost or retired";
const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";

/// What a fault is made of, and what the function alone comes to.
struct Case {
    name: &'static str,
    fault: Fault,
    alone: End,
    /// No CPU is sent after it.
    is_bad_data: bool,
}

enum Fault {
    /// The model's plan. It counts from the null descriptor of the channel's start.
    Plan(&'static str),
    /// All ones from every register.
    Unplug,
    /// Somebody else resets the function, through sysfs.
    Reset,
    /// Somebody unbinds the function's driver.
    Unbind,
}

/// What a copy by the function alone comes to.
#[derive(Clone, Copy)]
enum End {
    Right,
    /// One operation fails, and the message says this.
    Fails(&'static str),
    /// No operation that has not ended by then succeeds: one that the function had says this, and one that it did not have yet
    /// that there is no engine.
    Lost(&'static str),
}

const CASES: &[Case] = &[
    planned(
        "source address",
        "nth=3:chanerr=0",
        End::Fails("source address refused (error bits 0x1)"),
    ),
    planned(
        "destination address",
        "nth=3:chanerr=1",
        End::Fails("destination address refused (error bits 0x2)"),
    ),
    planned(
        "next descriptor",
        "nth=3:chanerr=2",
        End::Fails("descriptor refused (error bits 0x4)"),
    ),
    Case {
        is_bad_data: true,
        ..planned(
            "poison",
            "nth=3:chanerr=7",
            End::Fails("the data's integrity was lost (error bits 0x80)"),
        )
    },
    planned(
        "destination data",
        "nth=3:chanerr=9",
        End::Fails("writing the destination failed (error bits 0x200)"),
    ),
    planned("length", "nth=3:chanerr=11", End::Fails("descriptor refused (error bits 0x800)")),
    planned("write-back", "nth=3:chanerr=12", End::Fails("descriptor refused (error bits 0x1000)")),
    planned(
        "short copy",
        "nth=3:short=4097",
        End::Fails("writing the destination failed (error bits 0x200)"),
    ),
    planned("stall", "nth=3:stall", End::Fails("no progress")),
    planned("lost write-back", "nth=3:lost-writeback", End::Right),
    planned(
        "late write-back, after a reset",
        "nth=3:late-writeback=1,nth=4:chanerr=9",
        End::Fails("writing the destination failed (error bits 0x200)"),
    ),
    planned("duplicate write-back", "nth=3:duplicate-writeback", End::Right),
    Case {
        name: "reset by somebody else",
        fault: Fault::Reset,
        alone: End::Fails("reset by somebody else (error bits 0x0)"),
        is_bad_data: false,
    },
    Case {
        name: "unbind",
        fault: Fault::Unbind,
        alone: End::Lost("the host asks for the device back"),
        is_bad_data: false,
    },
    Case {
        name: "unplug",
        fault: Fault::Unplug,
        alone: End::Lost("device gone"),
        is_bad_data: false,
    },
];

const fn planned(name: &'static str, plan: &'static str, alone: End) -> Case {
    Case { name, fault: Fault::Plan(plan), alone, is_bad_data: false }
}

/// Every fault, alone and with the CPU.
pub(crate) fn faults(machine: &mut Machine) -> Outcome {
    machine.bind(&[SKX])?;
    let mut bed = Bed::new(machine)?;
    for case in CASES {
        for with_cpu in [false, true] {
            let begin = Instant::now();
            let saved = with_cpu && !case.is_bad_data;
            let end = if saved { End::Right } else { case.alone };
            let what = format!("{}{}", case.name, if with_cpu { ", with the CPU" } else { "" });
            let took = bed
                .inject(machine, &case.fault, with_cpu, end)
                .map_err(|failure| Failure::new(format!("{what}: {failure}")))?;
            println!(
                "{what}: ended after {:.1} s, {:.1} s in all",
                took.as_secs_f64(),
                begin.elapsed().as_secs_f64()
            );
        }
        let next = bed.copies(machine);
        next.map_err(|failure| Failure::new(format!("the copy after {}: {failure}", case.name)))?;
    }
    machine.strip()
}

/// The devices, and what they must hold.
struct Bed {
    begin: [usize; 2],
    source: Vec<u8>,
    destination: Vec<u8>,
    /// How many copies there have been: each copies from another place, so that it changes what it writes.
    copies: usize,
}

impl Bed {
    fn new(machine: &mut Machine) -> Outcome<Self> {
        let begin = [machine.data(0)?, machine.data(1)?];
        let (source, destination) = (machine.fill(0, 41)?, machine.fill(1, 42)?);
        Ok(Self { begin, source, destination, copies: 0 })
    }

    fn next(&mut self, length: usize) -> Range {
        self.copies += 1;
        Range { source: self.copies * 97 * 64, destination: 32 * MIB + 12345, length }
    }

    /// Has a fault happen in the middle of a copy, and says how long after it, or after its own start, the copy ended.
    fn inject(
        &mut self,
        machine: &mut Machine,
        fault: &Fault,
        with_cpu: bool,
        end: End,
    ) -> Outcome<Duration> {
        let range = self.next(LENGTH);
        let command = command(range, with_cpu);
        let begin = if let Fault::Plan(plan) = fault {
            machine.model()?.ask(&format!("fault-plan {SLOT} {plan}"))?;
            machine.start("copy", &command)?;
            Instant::now()
        } else {
            // The null descriptor of the channel's start, and the first of a block.
            machine.model()?.ask(&format!("pause {SLOT} 2"))?;
            machine.start("copy", &command)?;
            machine.until_paused(SLOT)?;
            let begin = Instant::now();
            happen(machine, fault)?;
            machine.model()?.ask(&format!("resume {SLOT}"))?;
            begin
        };
        if matches!(fault, Fault::Unplug) {
            // The kernel resets what a process leaves behind, and waits a minute for one that does not answer.
            machine.until("the end of the copy", |machine| {
                Ok(machine.run("dmesg | grep -q 'not ready'")?.code == 0)
            })?;
            machine.model()?.ask(&format!("plug {SLOT}"))?;
        }
        let finished = machine.join("copy")?;
        let took = begin.elapsed();
        machine.is_released(SLOT)?;
        if matches!(fault, Fault::Unbind) {
            machine.does(&format!("echo {SKX} >{DRIVER}/bind"))?;
        }
        has_happened(machine, fault, with_cpu, &finished)?;
        machine.model()?.ask(&format!("fault-plan {SLOT}"))?;
        if took > LIMIT {
            return Err(Failure::new(format!("it ended after {took:?}, not within {LIMIT:?}")));
        }
        self.judge(machine, range, end, &finished)?;
        Ok(took)
    }

    /// Compares all of the destination's device, and what the command said.
    fn judge(
        &mut self,
        machine: &mut Machine,
        range: Range,
        end: End,
        finished: &Finished,
    ) -> Outcome {
        let mut expected = range.applied(&self.source, &self.destination, self.begin);
        let found = machine.bytes(1)?;
        let right = matches!(end, End::Right);
        if finished.code != i32::from(!right) {
            return Err(Failure::new(format!(
                "it ended with {}\n{}",
                finished.code, finished.text
            )));
        }
        if let End::Fails(status) | End::Lost(status) = end {
            let is_late = matches!(end, End::Lost(_)) && finished.text.contains(NO_ENGINE);
            says(&finished.text, &[if is_late { NO_ENGINE } else { status }, "failed after"])?;
            // What an operation that failed left in its destination is nobody's business.
            let at = self.begin[1] + range.destination;
            let failed = match end {
                End::Fails(_) => self.failed_block(range, finished)?,
                _ => 0..LENGTH,
            };
            let failed = at + failed.start..at + failed.end;
            expected[failed.clone()].copy_from_slice(&found[failed]);
        }
        equal("the destination", &expected, &found)?;
        self.destination = found;
        Ok(())
    }

    /// The one operation that failed, by the message, while all others were done.
    fn failed_block(&self, range: Range, finished: &Finished) -> Outcome<std::ops::Range<usize>> {
        let offsets = (0..LENGTH).step_by(BLOCK);
        let named = |offset: &usize| {
            let place = format!(
                "failed after {} of {LENGTH} bytes, in the block at SRC offset {}:",
                LENGTH - BLOCK,
                range.source + offset
            );
            finished.text.contains(&place)
        };
        let found = offsets.into_iter().find(named);
        found.map(|offset| offset..offset + BLOCK).ok_or_else(|| {
            Failure::new(format!("another operation than one failed too\n{}", finished.text))
        })
    }

    /// A copy with nothing wrong.
    fn copies(&mut self, machine: &mut Machine) -> Outcome {
        let range = self.next(MIB + 1);
        let command = command(range, false);
        machine.does(&command)?;
        let expected = range.applied(&self.source, &self.destination, self.begin);
        self.destination = machine.bytes(1)?;
        equal(&command, &expected, &self.destination)
    }
}

fn command(range: Range, with_cpu: bool) -> String {
    let cpu = if with_cpu { " --engine cpu" } else { "" };
    format!(
        "dmaring copy --engine {SKX}{cpu} --json --no-verify --block {BLOCK} {} /dev/dax0.0 /dev/dax1.0",
        range.options()
    )
}

fn happen(machine: &mut Machine, fault: &Fault) -> Outcome {
    match fault {
        // It happens by itself.
        Fault::Plan(_) => Ok(()),
        Fault::Unplug => {
            machine.does("dmesg -c >/dev/null")?;
            machine.model()?.ask(&format!("unplug {SLOT}")).map(drop)
        }
        Fault::Reset => {
            machine.does(&format!("echo 1 >/sys/bus/pci/devices/{SKX}/reset")).map(drop)
        }
        Fault::Unbind => {
            // Whoever writes this waits until the function is closed.
            let begin = Instant::now();
            machine.does(&format!("echo {SKX} >{DRIVER}/unbind; test ! -e {DRIVER}/{SKX}"))?;
            match begin.elapsed() {
                took if took > UNBIND => {
                    Err(Failure::new(format!("unbinding took {took:?}, not {UNBIND:?} at most")))
                }
                _ => Ok(()),
            }
        }
    }
}

/// Fails unless the fault was there and was met.
fn has_happened(
    machine: &mut Machine,
    fault: &Fault,
    with_cpu: bool,
    finished: &Finished,
) -> Outcome {
    match fault {
        Fault::Plan(_) => match machine.status(SLOT)?.count("faults-fired")? {
            0 => Err(Failure::new(format!("the fault has not happened: {finished:?}"))),
            _ => Ok(()),
        },
        // The function was used again, and not the CPU instead of it.
        Fault::Reset if with_cpu => says(&finished.text, &["\"errors\":1,\"recoveries\":1"]),
        Fault::Unplug | Fault::Unbind => says(&finished.text, &["\"lost\":true"]),
        // The message says it.
        Fault::Reset => Ok(()),
    }
}
