//! What the rings carry: the entries, and their encoding as 64-bit words.
//!
//! Every value of every word decodes to something: an unknown opcode, flag or code stays what it is,
//! so that the reader can refuse it by name. Nothing here judges an entry, except
//! [`SubmissionEntry::has_unknown_bits`].

mod completion;
mod key;
mod submission;

pub use completion::{CompletionCode, CompletionEntry, ResultWord};
pub use key::Key;
pub use submission::{EntryFlags, Opcode, SubmissionEntry};
