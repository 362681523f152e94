//! What the cases are written in: commands that must end so, jobs in the background, bytes behind the devices.

use std::{
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use super::{
    machine::{Finished, Machine},
    model::Status,
    qemu::DIMM_BYTES,
};
use crate::failure::{Failure, Outcome};

/// What a command may take unless its case says otherwise.
const LIMIT: Duration = Duration::from_secs(120);
/// Bytes of an NVDIMM.
const DIMM: usize = DIMM_BYTES as usize;

impl Machine {
    /// Runs a command, whatever comes of it.
    pub(crate) fn run(&mut self, command: &str) -> Outcome<Finished> {
        self.run_showing(command, LIMIT, &mut |_| ())
    }

    /// Runs a command that must end with `code`, and returns what it wrote.
    pub(crate) fn ends(&mut self, code: i32, command: &str) -> Outcome<String> {
        let finished = self.run(command)?;
        if finished.code == code {
            return Ok(finished.text);
        }
        let text = finished.text;
        Err(Failure::new(format!("`{command}` ended with {}, not {code}\n{text}", finished.code)))
    }

    /// Runs a command that must succeed.
    pub(crate) fn does(&mut self, command: &str) -> Outcome<String> {
        self.ends(0, command)
    }

    /// Runs a command that must be refused with exit code 2 and a message that has each of `words`.
    pub(crate) fn refuses(&mut self, command: &str, words: &[&str]) -> Outcome {
        let text = self.ends(2, command)?;
        says(&text, words)
    }

    /// Starts a simple command in the background.
    pub(crate) fn start(&mut self, job: &str, command: &str) -> Outcome {
        let at = format!("/run/{job}");
        let inner = format!("echo $$ >{at}.pid; exec {command}");
        // Whoever waits for the job reads its exit code from the pipe; the code stays there until then.
        self.does(&format!(
            "rm -f {at}.*; mkfifo {at}.exit; \
             (setsid sh -c '{inner}' >{at}.out 2>&1 </dev/null; echo $? >{at}.exit) >/dev/null 2>&1 & \
             until [ -s {at}.pid ]; do usleep 1000; done"
        ))
        .map(drop)
    }

    /// Waits for the end of a background command.
    pub(crate) fn join(&mut self, job: &str) -> Outcome<Finished> {
        self.run(&format!("read code </run/{job}.exit; cat /run/{job}.out; exit $code"))
    }

    /// The process id of a background command.
    pub(crate) fn pid(&mut self, job: &str) -> Outcome<String> {
        self.does(&format!("cat /run/{job}.pid")).map(|text| text.trim().to_owned())
    }

    /// Asks again until the answer is yes; the machine runs for a while between two questions.
    pub(crate) fn until(
        &mut self,
        what: &str,
        mut question: impl FnMut(&mut Self) -> Outcome<bool>,
    ) -> Outcome {
        let end = Instant::now() + LIMIT;
        while !question(self)? {
            if Instant::now() > end {
                return Err(Failure::new(format!("not within {} s: {what}", LIMIT.as_secs())));
            }
            self.does("usleep 20000")?;
        }
        Ok(())
    }

    /// Waits until a function has carried out as many descriptors as it was told to before its pause.
    pub(crate) fn until_paused(&mut self, slot: &str) -> Outcome {
        self.until("the middle of a copy", |machine| {
            Ok(machine.status(slot)?.text("paused")? == "yes")
        })
    }

    /// The model's state of a function.
    pub(crate) fn status(&mut self, slot: &str) -> Outcome<Status> {
        self.model()?.status(slot)
    }

    /// Fails unless nobody drives the function: no process of ours runs and it may not reach memory.
    pub(crate) fn is_released(&mut self, slot: &str) -> Outcome {
        let left = self.run("pidof dmaring")?;
        if left.code == 0 {
            return Err(Failure::new(format!("a process is left: {}", left.text.trim())));
        }
        let status = self.status(slot)?;
        if status.text("bus-master")? == "off" {
            return Ok(());
        }
        Err(Failure::new(format!("{slot} is left with bus mastering on: {status:?}")))
    }

    /// Takes every function from its driver, unloads the drivers and resets the overrides: as after the boot.
    pub(crate) fn strip(&mut self) -> Outcome {
        self.does(
            "for f in /sys/bus/pci/devices/*; do \
             case $(cat $f/class) in 0x0880*) ;; *) continue ;; esac; \
             if [ -e $f/driver ]; then echo ${f##*/} >$f/driver/unbind; fi; \
             case $f in *:09.0) echo none ;; *) echo ;; esac >$f/driver_override; done; rm -rf /run/dmaring; \
             for m in dmatest ioatdma vfio_pci vfio_iommu_type1; do \
             if grep -q \"^$m \" /proc/modules; then modprobe -r $m; fi; done",
        )
        .map(drop)
    }

    /// All bytes of an NVDIMM.
    pub(crate) fn bytes(&self, dimm: usize) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; DIMM];
        let read = self.dimm(dimm)?.read_exact_at(&mut bytes, 0);
        read.map_err(Failure::of(format!("cannot read the file of NVDIMM {dimm}")))?;
        Ok(bytes)
    }

    /// Where the data of a device begins in the bytes of its NVDIMM: before it the kernel keeps its own.
    pub(crate) fn data(&mut self, dimm: usize) -> Outcome<usize> {
        let text = self.does(&format!(
            "cat /sys/bus/dax/devices/dax{dimm}.0/resource /sys/bus/nd/devices/region{dimm}/resource"
        ))?;
        let number = |text: &str| usize::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let mut numbers = text.split_whitespace().map(number);
        let offset = match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(device), Some(region)) => device.checked_sub(region),
            _ => None,
        };
        offset.filter(|offset| *offset < DIMM).ok_or_else(|| {
            Failure::new(format!("dax{dimm}.0 begins at no place in its region: {text}"))
        })
    }

    /// Fills the data of an NVDIMM with what `seed` gives, and returns all its bytes.
    pub(crate) fn fill(&mut self, dimm: usize, seed: u64) -> Outcome<Vec<u8>> {
        let begin = self.data(dimm)?;
        let data = random(seed, DIMM - begin);
        let written = self.dimm(dimm)?.write_all_at(&data, begin as u64);
        written.map_err(Failure::of(format!("cannot write the file of NVDIMM {dimm}")))?;
        self.bytes(dimm)
    }

    /// Makes vfio-pci the driver of these functions, by the command, and of no others.
    pub(crate) fn bind(&mut self, functions: &[&str]) -> Outcome {
        self.strip()?;
        self.does("modprobe -a vfio-pci vfio_iommu_type1")?;
        self.does(&format!("dmaring bind {}", functions.join(" "))).map(drop)
    }
}

/// A range of two devices that a copy is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) source: usize,
    pub(crate) destination: usize,
    pub(crate) length: usize,
}

impl Range {
    /// The options of `dmaring copy` for it.
    pub(crate) fn options(&self) -> String {
        let Self { source, destination, length } = self;
        format!("--src-offset {source} --dst-offset {destination} --size {length}")
    }

    /// What all of the destination must be afterwards, the two devices having been so and their data beginning at
    /// `begin`.
    pub(crate) fn applied(&self, source: &[u8], destination: &[u8], begin: [usize; 2]) -> Vec<u8> {
        let from = begin[0] + self.source;
        let to = begin[1] + self.destination;
        let mut expected = destination.to_vec();
        expected[to..to + self.length].copy_from_slice(&source[from..from + self.length]);
        expected
    }
}

/// Fails unless `text` has each of `words`.
pub(crate) fn says(text: &str, words: &[&str]) -> Outcome {
    match words.iter().find(|word| !text.contains(**word)) {
        None => Ok(()),
        Some(missing) => Err(Failure::new(format!("`{missing}` is not in this\n{text}"))),
    }
}

/// Fails with the first difference.
pub(crate) fn equal(what: &str, expected: &[u8], found: &[u8]) -> Outcome {
    if expected == found {
        return Ok(());
    }
    let at = expected.iter().zip(found).position(|(one, other)| one != other);
    Err(Failure::new(match at {
        Some(at) => {
            let count = expected.iter().zip(found).filter(|(one, other)| one != other).count();
            let (one, other) = (expected[at], found[at]);
            format!(
                "{what}: {count} bytes differ, the first at {at:#x}: {other:#04x}, not {one:#04x}"
            )
        }
        None => format!("{what}: {} bytes, not {}", found.len(), expected.len()),
    }))
}

/// Bytes that look like noise and are the same for the same seed.
fn random(seed: u64, length: usize) -> Vec<u8> {
    // xorshift64: zero would stay zero.
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Range, equal, random, says};

    #[test]
    fn a_copy_changes_its_range_and_nothing_else() {
        let range = Range { source: 1, destination: 0, length: 2 };
        let expected = range.applied(&[9, 1, 2, 3], &[8, 8, 4, 5, 6], [1, 2]);
        assert_eq!(expected, [8, 8, 2, 3, 6]);
        assert_eq!(range.options(), "--src-offset 1 --dst-offset 0 --size 2");
    }

    #[test]
    fn bytes_depend_on_the_seed_alone() {
        assert_eq!(random(1, 1001), random(1, 1001));
        assert_ne!(random(1, 1001), random(2, 1001));
        assert_eq!(random(0, 13).len(), 13);
        assert!(random(0, 64).iter().any(|byte| *byte != 0));
    }

    #[test]
    fn the_first_difference_is_told() {
        let failure = equal("target", &[1, 2, 3], &[1, 5, 3]).unwrap_err().to_string();
        assert_eq!(failure, "target: 1 bytes differ, the first at 0x1: 0x05, not 0x02");
        assert!(equal("target", &[1], &[1, 2]).is_err());
        assert!(equal("target", &[1], &[1]).is_ok());
    }

    #[test]
    fn a_missing_word_is_told() {
        assert!(says("bound to vfio-pci", &["bound", "vfio-pci"]).is_ok());
        assert!(says("bound", &["bound", "to"]).unwrap_err().to_string().starts_with("`to`"));
    }
}
