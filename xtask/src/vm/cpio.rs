//! The archive that the kernel unpacks as its first file system: cpio in the "newc" form.
//!
//! Each entry is a header of 110 ASCII bytes, the name with its zero, the data, both padded to a multiple of four; an
//! entry called `TRAILER!!!` ends it. Source: `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux.

/// An archive in memory.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: std::collections::BTreeSet<String>,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Archive {
    /// Adds a directory, and those above it, unless they are there.
    pub(crate) fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return;
        }
        self.parent(path);
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file with these permissions.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, data: &[u8]) {
        self.parent(path);
        self.entry(path, REGULAR | permissions, (0, 0), data);
    }

    /// Adds a character device.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// The archive with its end.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.trim_matches('/').rsplit_once('/') {
            self.directory(parent);
        }
    }

    /// A file of 4 GiB or more has no form here; none of this size is ever put into a machine's memory.
    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), data: &[u8]) {
        let path = path.trim_start_matches('/');
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, user, group, links, time, size, device (two), device of the node (two), name's length, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, length(data.len()), 0, 0, major, minor];
        for field in fields.into_iter().chain([length(path.len() + 1), 0]) {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    /// Typed from the format's description.
    #[test]
    fn an_entry_is_the_bytes_of_the_format() {
        let mut archive = Archive::default();
        archive.file("/init", 0o755, b"hello");
        let bytes = archive.finish();
        let header = "070701\
             00000001000081ed0000000000000000\
             00000001000000000000000500000000\
             00000000000000000000000000000005\
             00000000init\0\0";
        // 110 bytes of header and a name of five fill 116 with one byte of padding.
        assert_eq!(&bytes[..header.len()], header.as_bytes());
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::default();
        archive.file("a/b/one", 0o644, b"");
        archive.file("a/b/two", 0o644, b"");
        archive.directory("a");
        let text = String::from_utf8(archive.finish()).unwrap();
        let names: Vec<_> =
            text.split("070701").skip(1).map(|entry| entry[104..].trim_end_matches('\0')).collect();
        assert_eq!(names, ["a", "a/b", "a/b/one", "a/b/two", "TRAILER!!!"]);
    }
}
