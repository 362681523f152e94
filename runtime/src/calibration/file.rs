//! Keeping a calibration: one JSON object, with a version.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{Calibration, EngineFacts, machine::Machine};
use crate::{
    error::{Error, ErrorKind},
    placement::Striping,
};

/// What the file says that it is.
const FORMAT: &str = "dmaring calibration";
const VERSION: u32 = 1;
/// The longest file that is read, in bytes: a hundred times what one of eight engines has.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct File<C> {
    format: String,
    version: u32,
    calibration: C,
}

impl Calibration {
    /// Writes it to a file, which is replaced if there is one.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) or [`Permission`](ErrorKind::Permission).
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        fs::write(path, self.to_json()).map_err(|error| Error::system(path.display(), error))
    }

    /// Reads what [`save`](Self::save) has written. Whether it fits is found out when it is put to use.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) or [`Permission`](ErrorKind::Permission); [`Unsupported`](ErrorKind::Unsupported) for a file
    /// that is none of ours, has another version, or says what cannot be.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |error| Error::system(path.display(), error);
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > LONGEST {
            let why = format!("{length} bytes are more than the {LONGEST} a calibration can have");
            return Err(refused(path, why));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        Self::from_json(&text).map_err(|why| refused(path, why))
    }

    fn to_json(&self) -> String {
        let file = File { format: FORMAT.to_owned(), version: VERSION, calibration: self };
        // Numbers, names and lists: there is nothing in it that JSON has not.
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let file: File<serde_json::Value> =
            serde_json::from_str(text).map_err(|error| format!("no calibration: {error}"))?;
        if file.format != FORMAT {
            return Err(format!("no calibration: its format is {:?}", file.format));
        }
        if file.version != VERSION {
            return Err(format!(
                "version {} of the format is not version {VERSION}, which is read: measure again",
                file.version
            ));
        }
        let calibration: Self = serde_json::from_value(file.calibration)
            .map_err(|error| format!("no calibration: {error}"))?;
        calibration.check()?;
        Ok(calibration)
    }

    /// Refuses what was never measured.
    fn check(&self) -> Result<(), String> {
        for comparisons in [&self.kinds, &self.stripes, &self.bounces] {
            if !comparisons.is_sorted_by(|one, next| one.bytes < next.bytes) {
                return Err("no calibration: its lengths are not in order".into());
            }
        }
        let short = self.splits.iter().find(|split| split.stripe < Striping::LEAST);
        if let Some(split) = short {
            let least = Striping::LEAST;
            return Err(format!(
                "a stripe of {} bytes is below the least of {least}",
                split.stripe
            ));
        }
        Ok(())
    }

    /// Refuses a calibration that was measured elsewhere, or with other engines.
    pub(crate) fn check_machine(
        &self,
        engines: &[EngineFacts],
        pollers: &str,
    ) -> Result<(), String> {
        match self.machine.difference(&Machine::here(engines, pollers)) {
            None => Ok(()),
            Some(difference) => {
                Err(format!("the calibration was measured {difference}: measure again"))
            }
        }
    }
}

fn refused(path: &Path, why: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{}: {why}", path.display()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::calibration::{Comparison, Split, Timing};

    pub(crate) fn example() -> Calibration {
        let engine = |name: &str, host_memory| EngineFacts {
            name: name.into(),
            max_transfer: 1 << 16,
            host_memory,
            node: (!host_memory).then_some(1),
        };
        let time = |nanoseconds| Timing { nanoseconds, lower: 1, upper: 9, samples: 5 };
        let comparison =
            |bytes, first, second| Comparison { bytes, first: time(first), second: time(second) };
        let split = |engines, nanoseconds| Split {
            bytes: 1 << 24,
            engines,
            cpu: false,
            stripe: 1 << 20,
            time: time(nanoseconds),
        };
        Calibration {
            machine: Machine::here(&[engine("cpu", true), engine("channel", false)], "one"),
            nodes: [None, Some(1)],
            kinds: vec![comparison(64, 1, 2), comparison(4096, 2, 1)],
            splits: vec![split(1, 100), split(2, 60)],
            stripes: vec![comparison(1 << 21, 1, 2), comparison(1 << 22, 2, 1)],
            bounces: vec![comparison(1024, 1, 2), comparison(2048, 2, 1)],
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("calibration.json");
        example().save(&path).unwrap();
        assert_eq!(Calibration::load(&path).unwrap(), example());
        let error = Calibration::load(directory.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        fs::write(&path, vec![b' '; LONGEST as usize + 1]).unwrap();
        assert_eq!(Calibration::load(&path).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn what_is_not_ours_or_cannot_be_is_refused_and_why() {
        let text = example().to_json();
        assert_eq!(Calibration::from_json(&text), Ok(example()));
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            Calibration::from_json(&text.replace(from, to)).unwrap_err()
        };
        assert!(changed("\"version\": 1", "\"version\": 2").contains("version 2"));
        assert!(changed("dmaring calibration", "else").contains("its format is \"else\""));
        assert!(changed("\"bytes\": 64", "\"bytes\": 4096").contains("not in order"));
        assert!(changed("\"bytes\": 1024", "\"bytes\": 2048").contains("not in order"));
        assert!(changed("\"stripe\": 1048576", "\"stripe\": 0").contains("stripe of 0 bytes"));
        assert!(changed("\"nodes\"", "\"knots\"").contains("knots"));
        assert!(changed("\"samples\": 5", "\"samples\": -5").contains("no calibration"));
        for text in ["", "{}", "[]", "null", "{\"format\":1}"] {
            assert!(Calibration::from_json(text).unwrap_err().contains("no calibration"));
        }
    }

    #[test]
    fn the_course_is_what_was_measured() {
        let course = example().course();
        assert_eq!(course.cpu_below, 4096);
        assert_eq!(course.striping, Striping { from: 1 << 22, stripe: 1 << 20 });
        assert_eq!((course.engines, course.cpu_joins), (2, false));
        let slow = Calibration { kinds: example().kinds[..1].to_vec(), ..example() };
        assert_eq!(slow.course().cpu_below, u64::MAX, "the CPU was faster at every length");
        let whole = Calibration { stripes: Vec::new(), ..example() };
        assert_eq!(whole.course().striping, Striping::OFF);
        let text = example().to_string();
        assert!(text.contains("faster from 4096 bytes on (ratio 2.00"), "{text}");
        assert!(text.contains("from 4194304 bytes on copies are striped: engines 2"), "{text}");
    }
}
