//! The machine's serial ports as the host has them: what was printed, and where a command's output ends.

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver},
    },
    thread,
};

use crate::failure::{Failure, Outcome};

/// What the kernel printed, in a file and to be asked for.
#[derive(Debug)]
pub(crate) struct Console {
    text: Arc<Mutex<Vec<u8>>>,
}

impl Console {
    /// Reads the port to its end, copying it to the file `log`.
    pub(crate) fn read(mut port: UnixStream, log: PathBuf) -> Outcome<Self> {
        let mut file =
            File::create(&log).map_err(Failure::of(format!("cannot create {}", log.display())))?;
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = port.read(&mut buffer) {
                // The file is for people; a full disk must not stop the machine.
                let _ = file.write_all(&buffer[..length]);
                let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&buffer[..length]);
            }
        });
        Ok(Self { text })
    }

    /// All that was printed.
    pub(crate) fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The last `count` lines.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// Chunks of a port as they come; the channel ends with the machine.
pub(crate) fn chunks(mut port: UnixStream) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = port.read(&mut buffer) {
            if sender.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A piece of the output port's stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Something that a command wrote.
    Text(Vec<u8>),
    /// The end of command `id`.
    Exit { id: u32, code: i32 },
}

/// Finds the ends of commands in the stream: byte 0x1e, `exit ID CODE`, a newline. What looks otherwise is text.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// What may be the beginning of a marker.
    held: Vec<u8>,
}

const MARK: u8 = 0x1e;
/// A marker is no longer: two numbers and a word.
const LONGEST: usize = 32;

impl Output {
    /// Takes the next bytes of the stream and returns what is certain by now.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        for &byte in bytes {
            if self.held.is_empty() && byte != MARK {
                text.push(byte);
                continue;
            }
            if byte == MARK {
                // What was held had no end.
                text.append(&mut self.held);
            }
            self.held.push(byte);
            if byte == b'\n' {
                match marker(&self.held) {
                    Some(exit) => {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(exit);
                        self.held.clear();
                    }
                    None => text.append(&mut self.held),
                }
            } else if self.held.len() > LONGEST {
                text.append(&mut self.held);
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        pieces
    }
}

fn marker(held: &[u8]) -> Option<Piece> {
    let text = std::str::from_utf8(held.get(1..)?).ok()?;
    let (id, code) = text.strip_prefix("exit ")?.strip_suffix('\n')?.split_once(' ')?;
    Some(Piece::Exit { id: id.parse().ok()?, code: code.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::{Output, Piece};

    fn text(bytes: &[u8]) -> Piece {
        Piece::Text(bytes.to_vec())
    }

    #[test]
    fn the_end_of_a_command_stands_behind_its_output() {
        let mut output = Output::default();
        let pieces = output.take(b"one\ntwo\x1eexit 12 7\nmore");
        assert_eq!(pieces, [text(b"one\ntwo"), Piece::Exit { id: 12, code: 7 }, text(b"more")]);
    }

    #[test]
    fn a_marker_may_come_in_any_pieces() {
        let stream = b"a\x1eexit 1 0\nb\x1eexit 2 137\n";
        for cut in 0..stream.len() {
            let mut output = Output::default();
            let mut exits = Vec::new();
            let mut written = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                for piece in output.take(part) {
                    match piece {
                        Piece::Text(bytes) => written.extend(bytes),
                        Piece::Exit { id, code } => exits.push((id, code)),
                    }
                }
            }
            assert_eq!(
                (exits.as_slice(), written.as_slice()),
                (&[(1, 0), (2, 137)][..], &b"ab"[..])
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_marker_is_text() {
        for stream in [&b"\x1eexit one 0\n"[..], b"\x1e\n", b"\x1eexit 99999999999 0\n"] {
            assert_eq!(Output::default().take(stream), [text(stream)]);
        }
        let endless = [b"\x1e".as_slice(), &[b'x'; 100]].concat();
        assert_eq!(Output::default().take(&endless), [text(&endless)]);
        let pieces = Output::default().take(b"\x1ebegun\x1eexit 3 0\n");
        assert_eq!(pieces, [text(b"\x1ebegun"), Piece::Exit { id: 3, code: 0 }]);
    }
}
