//! What will be copied: every check that can be made before anything is changed.

use super::inspect::{End, Kind};
use crate::{args::CopyArguments, failure::Failure};

/// How much is copied from memory unless told.
const DEFAULT_SIZE: u64 = 32 << 20;

/// The longest file there can be, in bytes.
const LONGEST_FILE: u64 = i64::MAX as u64;

/// A copy that is within both ends. All lengths and offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) source_offset: u64,
    pub(crate) destination_offset: u64,
    pub(crate) size: u64,
    /// At most `size`.
    pub(crate) block: u64,
    /// How many blocks are in flight.
    pub(crate) depth: usize,
    pub(crate) change: Change,
    /// Whether each block is durable when it ends.
    pub(crate) durable: bool,
}

/// What must become of DST before it can be copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is long enough as it is.
    None,
    /// A file is made.
    Create { length: u64 },
    /// The file grows.
    Extend { from: u64, to: u64 },
}

impl Plan {
    /// Holds what was asked for against what there is.
    pub(crate) fn new(
        arguments: &CopyArguments,
        source: &End,
        destination: &End,
    ) -> Result<Self, Failure> {
        let size = source_size(arguments, source)?;
        let change = destination_change(arguments, destination, size)?;
        let plan = Self {
            source_offset: arguments.src_offset,
            destination_offset: arguments.dst_offset,
            size,
            block: arguments.block.min(size),
            depth: arguments.depth as usize,
            change,
            durable: arguments.durable,
        };
        plan.check_overlap(source, destination)?;
        Ok(plan)
    }

    /// Where SRC must not end before. `new` has checked that there is such a number.
    pub(crate) fn source_end(&self) -> u64 {
        self.source_offset.saturating_add(self.size)
    }

    /// Where DST must not end before.
    pub(crate) fn destination_end(&self) -> u64 {
        self.destination_offset.saturating_add(self.size)
    }

    fn check_overlap(&self, source: &End, destination: &End) -> Result<(), Failure> {
        let object = |end: &End| match end.kind {
            Kind::Device { object, .. } | Kind::File { object, .. } => Some(object),
            Kind::Memory | Kind::Missing => None,
        };
        let same = object(source).is_some_and(|one| object(destination) == Some(one));
        let (from, to, size) = (self.source_offset, self.destination_offset, self.size);
        if same && from.abs_diff(to) < size {
            let why = format!(
                "SRC and DST are the same and their ranges overlap: {size} bytes from offset {from} to offset {to}: \
                 use offsets at least {size} bytes apart"
            );
            return Err(destination.refused(why));
        }
        Ok(())
    }
}

/// How much is copied, all of which SRC has.
fn source_size(arguments: &CopyArguments, source: &End) -> Result<u64, Failure> {
    let refused = |why: String| Err(source.refused(why));
    let offset = arguments.src_offset;
    let length = match source.kind {
        Kind::Missing => return refused(String::from("there is no such file: check the path")),
        Kind::Memory => LONGEST_FILE,
        Kind::Device { length, .. } | Kind::File { length, .. } => length,
    };
    let left = length.saturating_sub(offset);
    if left == 0 {
        return refused(match length {
            0 => String::from("it has 0 bytes: there is nothing to copy"),
            _ => format!(
                "--src-offset {offset} is not within its {length} bytes: use less than {length}"
            ),
        });
    }
    let usual = if source.kind == Kind::Memory { DEFAULT_SIZE } else { left };
    let size = arguments.size.unwrap_or(usual);
    if size > left {
        return refused(format!(
            "{size} bytes at --src-offset {offset} are not within its {length} bytes: use --size {left} or less"
        ));
    }
    Ok(size)
}

/// What must become of DST so that it has room for `size` bytes.
fn destination_change(
    arguments: &CopyArguments,
    destination: &End,
    size: u64,
) -> Result<Change, Failure> {
    let refused = |why: String| Err(destination.refused(why));
    let offset = arguments.dst_offset;
    let end = match offset.checked_add(size) {
        Some(end) if end <= LONGEST_FILE => end,
        _ => {
            return refused(format!(
                "{size} bytes at --dst-offset {offset} end beyond the limit of {LONGEST_FILE} bytes: use less"
            ));
        }
    };
    let (length, is_file) = match destination.kind {
        Kind::Memory => return Ok(Change::None),
        Kind::Missing => return Ok(Change::Create { length: whole(end, destination.granule) }),
        Kind::Device { length, .. } => (length, false),
        Kind::File { length, .. } => (length, true),
    };
    if end <= length {
        return Ok(Change::None);
    }
    if is_file && arguments.extend {
        return Ok(Change::Extend { from: length, to: whole(end, destination.granule) });
    }
    let shorter = match length.saturating_sub(offset) {
        0 => format!("--dst-offset less than {length}"),
        room => format!("--size {room} or less"),
    };
    let remedy = match (is_file, length) {
        (true, 0) => String::from("use --extend to let it grow"),
        (true, _) => format!("use --extend to let it grow, or {shorter}"),
        (false, _) => format!("use {shorter}"),
    };
    refused(format!(
        "it has {length} bytes, and {size} bytes at --dst-offset {offset} need {end}: {remedy}"
    ))
}

/// The length that a file must have for `end` bytes.
fn whole(end: u64, granule: u64) -> u64 {
    end.checked_next_multiple_of(granule).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::inspect::Object, Change, DEFAULT_SIZE, End, Kind, Plan};
    use crate::{
        args::{Arguments, Command, CopyArguments},
        location::Location,
    };

    fn arguments(line: &str) -> CopyArguments {
        let words = ["dmaring", "copy"].into_iter().chain(line.split_whitespace());
        let Command::Copy(arguments) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("{line} is no copy");
        };
        arguments
    }

    fn end(name: &str, kind: Kind) -> End {
        End { name: name.into(), location: Location::Memory, kind, region: None, granule: 1 }
    }

    fn file(length: u64, inode: u64) -> Kind {
        Kind::File { length, object: Object::File { device: 1, inode } }
    }

    fn device(length: u64, number: u64) -> Kind {
        Kind::Device { length, object: Object::Device { number } }
    }

    fn plan(line: &str, source: Kind, destination: Kind) -> Result<Plan, String> {
        Plan::new(&arguments(line), &end("SRC", source), &end("DST", destination))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_size_is_what_the_source_has_left() {
        let plan = |line, source| plan(line, source, Kind::Memory).unwrap().size;
        assert_eq!(plan("", Kind::Memory), DEFAULT_SIZE);
        assert_eq!(plan("--size 5", Kind::Memory), 5);
        assert_eq!(plan("", file(1000, 1)), 1000);
        assert_eq!(plan("--src-offset 999", file(1000, 1)), 1);
        assert_eq!(plan("--size 7 --src-offset 1", device(8, 1)), 7);
    }

    #[test]
    fn the_source_must_have_the_bytes() {
        let error = |line, source| plan(line, source, Kind::Memory).unwrap_err();
        assert_eq!(error("", Kind::Missing), "SRC: there is no such file: check the path");
        assert_eq!(error("", file(0, 1)), "SRC: it has 0 bytes: there is nothing to copy");
        assert_eq!(
            error("--src-offset 10", file(10, 1)),
            "SRC: --src-offset 10 is not within its 10 bytes: use less than 10"
        );
        assert_eq!(
            error("--src-offset 3 --size 8", device(10, 1)),
            "SRC: 8 bytes at --src-offset 3 are not within its 10 bytes: use --size 7 or less"
        );
        assert!(error("--src-offset 18446744073709551615", Kind::Memory).contains("not within"));
        assert!(error("--size 18446744073709551615", Kind::Memory).contains("or less"));
    }

    #[test]
    fn the_destination_must_have_room() {
        let change =
            |line, destination| plan(line, file(100, 1), destination).map(|plan| plan.change);
        assert_eq!(change("", Kind::Memory), Ok(Change::None));
        assert_eq!(change("", file(100, 2)), Ok(Change::None));
        assert_eq!(change("--extend", file(100, 2)), Ok(Change::None));
        assert_eq!(change("--dst-offset 5", Kind::Missing), Ok(Change::Create { length: 105 }));
        assert_eq!(
            change("--dst-offset 5 --extend", file(50, 2)),
            Ok(Change::Extend { from: 50, to: 105 })
        );
        assert_eq!(
            change("--dst-offset 5", file(50, 2)).unwrap_err(),
            "DST: it has 50 bytes, and 100 bytes at --dst-offset 5 need 105: use --extend to let it grow, or --size 45 or less"
        );
        assert_eq!(
            change("--dst-offset 50 --extend", device(50, 2)).unwrap_err(),
            "DST: it has 50 bytes, and 100 bytes at --dst-offset 50 need 150: use --dst-offset less than 50"
        );
        let message = change("--dst-offset 9223372036854775807", Kind::Missing).unwrap_err();
        assert!(message.contains("limit of 9223372036854775807"), "{message}");
    }

    #[test]
    fn files_on_hugetlbfs_have_whole_pages() {
        let change = |kind| {
            let destination = End { granule: 2 << 20, ..end("DST", kind) };
            let arguments = arguments("--extend --dst-offset 5");
            Plan::new(&arguments, &end("SRC", file(100, 1)), &destination).unwrap().change
        };
        assert_eq!(change(Kind::Missing), Change::Create { length: 2 << 20 });
        assert_eq!(change(file(0, 2)), Change::Extend { from: 0, to: 2 << 20 });
        assert_eq!(change(file(2 << 20, 2)), Change::None);
    }

    #[test]
    fn overlap_is_found_by_what_the_ends_are() {
        let same = |line| plan(line, file(100, 7), file(100, 7));
        let message = same("--size 60 --dst-offset 40").unwrap_err();
        assert!(message.contains("at least 60 bytes apart"), "{message}");
        assert!(same("--size 50 --dst-offset 49").is_err());
        assert!(same("--size 50 --dst-offset 50").is_ok());
        assert!(same("--size 50 --src-offset 50").is_ok());
        assert!(same("").is_err());
        assert!(plan("", file(100, 7), file(100, 8)).is_ok());
        assert!(plan("", device(100, 7), device(100, 7)).is_err());
        assert!(plan("", Kind::Memory, Kind::Memory).is_ok());
    }

    #[test]
    fn a_block_is_no_longer_than_the_copy() {
        let plan = |line| plan(line, file(100, 1), Kind::Memory).unwrap();
        assert_eq!(plan("").block, 100);
        assert_eq!(plan("--block 30").block, 30);
        assert_eq!((plan("").source_end(), plan("--dst-offset 9").destination_end()), (100, 109));
    }
}
